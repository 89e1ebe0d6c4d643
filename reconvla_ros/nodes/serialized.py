"""Messages as they are on the wire: what can be read from their bytes, and images written as bytes, without a message between.

An image is 0.9 MB. `deserialize_message` and `publish(message)` copy it twice each on their way through C; its bytes are read in
place, and put together once. What is on the wire is the same: any other node reads and writes it as an ordinary Image.
"""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from reconvla_ros.errors import ReconVlaError, ShapeError
from reconvla_ros.nodes.convert import to_rgb
from reconvla_ros.observation import transforms
from reconvla_ros.observation.cdr import ORIGIN, Thinner, image_of, stamp_of


def thinned(
    use: Callable[[bytes], None], spacing_ns: int, complain: Callable[[str], object]
) -> Callable[[bytes], None]:
    """A callback that passes on the first message of each slot of `spacing_ns` by stamp (0 = every one).

    What `use` refuses with an error of ours is told to `complain`, the first time and each 100th.
    """
    thinner, refused = Thinner(spacing_ns), 0

    def callback(data: bytes) -> None:
        nonlocal refused
        try:
            if thinner.takes(stamp_of(data)):
                use(data)
        except ReconVlaError as error:
            if refused % 100 == 0:
                complain(str(error))
            refused += 1

    return callback


def image_bytes(pixels: NDArray, encoding: str, stamp_ns: int, frame_id: str) -> bytes:
    """Pixels (H, W) or (H, W, C) -> the bytes of `convert.to_image`'s message, for `publish`; one copy."""
    pixels = np.ascontiguousarray(pixels)
    order = "<" if sys.byteorder == "little" else ">"
    head = bytearray((0, order == "<", 0, 0))
    head += struct.pack(order + "iI", stamp_ns // 1_000_000_000, stamp_ns % 1_000_000_000)

    def align() -> None:
        head.extend(bytes(-(len(head) - ORIGIN) % 4))

    for text, numbers in ((frame_id, pixels.shape[:2]), (encoding, ())):
        raw = text.encode() + b"\0"
        head += struct.pack(order + "I", len(raw)) + raw
        if numbers:
            align()
            head += struct.pack(order + "II", *numbers)
    head.append(sys.byteorder == "big")
    align()
    head += struct.pack(order + "II", pixels.strides[0], pixels.nbytes)
    return b"".join((head, pixels.data.cast("B")))


def raw_to_rgb(data: bytes) -> NDArray[np.uint8]:
    """Serialised Image of any colour encoding -> (H, W, 3) RGB; a read-only view into `data` when that is packed RGB.

    Raises:
        ObservationError: no colour image, or one that is cut off.
    """
    image = image_of(data)
    if image is None or image.encoding not in transforms.COLOR_ENCODINGS:
        return to_rgb(deserialize_message(data, Image))  # cv_bridge's encodings are its business, with a whole message
    return transforms.color_from_bytes(image.data, image.height, image.width, image.step, image.encoding)


def compressed_to_rgb(data: bytes) -> NDArray[np.uint8]:
    """Serialised CompressedImage (JPEG or PNG) -> (H, W, 3) RGB.

    Raises:
        ShapeError: bytes that are no picture.
    """
    message = deserialize_message(data, CompressedImage)
    try:
        with PilImage.open(io.BytesIO(bytes(message.data))) as picture:
            return np.asarray(picture.convert("RGB"))
    except OSError as error:
        raise ShapeError(f"compressed image ({message.format!r}, {len(message.data)} bytes): {error}") from error
