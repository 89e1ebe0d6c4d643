"""Messages as they came off the wire: what can be learnt from them without deserialising."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from reconvla_ros.errors import ReconVlaError, ShapeError
from reconvla_ros.nodes.convert import to_rgb


def stamp_of(data: bytes) -> int:
    """Capture stamp [ns] of a message that begins with a header (CDR: 4 bytes of encapsulation, then sec, nanosec)."""
    order = "<" if data[1] & 1 else ">"
    seconds, nanoseconds = struct.unpack_from(f"{order}iI", data, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def thinned(
    use: Callable[[bytes], None], spacing_ns: int, complain: Callable[[str], object]
) -> Callable[[bytes], None]:
    """A callback that passes on the messages at least `spacing_ns` from the last one passed on (or stamped before it).

    What `use` refuses with an error of ours is told to `complain`, the first time and each 100th.
    """
    last, refused = -spacing_ns, 0

    def callback(data: bytes) -> None:
        nonlocal last, refused
        stamp = stamp_of(data)
        if abs(stamp - last) < spacing_ns:
            return
        last = stamp
        try:
            use(data)
        except ReconVlaError as error:
            if refused % 100 == 0:
                complain(str(error))
            refused += 1

    return callback


def raw_to_rgb(data: bytes) -> NDArray[np.uint8]:
    """Serialised Image of any colour encoding -> (H, W, 3) RGB."""
    return to_rgb(deserialize_message(data, Image))


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
