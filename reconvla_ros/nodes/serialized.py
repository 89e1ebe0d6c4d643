"""Messages as they are on the wire: what can be read from their bytes, and images written as bytes, without a message between.

An image is 0.9 MB. `deserialize_message` and `publish(message)` copy it twice each on their way through C; its bytes are read in
place, and put together once. What is on the wire is the same: any other node reads and writes it as an ordinary Image.
"""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from reconvla_ros.errors import ObservationError, ReconVlaError, ShapeError
from reconvla_ros.nodes.convert import to_rgb
from reconvla_ros.observation import transforms

# Encapsulation of plain CDR (DDSI-RTPS 2.2, 10.2.1.2): big and little endian. ROS 2 middleware sends images as nothing else.
_PLAIN_CDR = {b"\0\0": ">", b"\0\1": "<"}
_ORIGIN = 4  # alignment counts from behind the encapsulation


def stamp_of(data: bytes) -> int:
    """Capture stamp [ns] of a message that begins with a header (CDR: 4 bytes of encapsulation, then sec, nanosec).

    Raises:
        ObservationError: bytes that end before the stamp does.
    """
    if len(data) < _ORIGIN + 8:
        raise ObservationError(f"message of {len(data)} bytes is cut off: a header begins with {_ORIGIN + 8}")
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
        try:
            stamp = stamp_of(data)
            if abs(stamp - last) < spacing_ns:
                return
            last = stamp
            use(data)
        except ReconVlaError as error:
            if refused % 100 == 0:
                complain(str(error))
            refused += 1

    return callback


@dataclass(frozen=True)
class ImageBytes:
    """A serialised sensor_msgs/Image: its fields, and where its data lies.

    Attributes:
        height, width: [px]. step: bytes a row. encoding: as ROS names them. big_endian: of the pixels.
        data: the pixels in place, no copy.
    """

    height: int
    width: int
    encoding: str
    big_endian: bool
    step: int
    data: memoryview


class _Reader:
    """Plain CDR from front to back."""

    def __init__(self, data: bytes, order: str, at: int) -> None:
        self._data, self._format, self._at = data, struct.Struct(order + "I"), at

    def number(self) -> int:
        """The next uint32."""
        self._at += -(self._at - _ORIGIN) % 4
        value: int = self._format.unpack_from(self._data, self._at)[0]
        self._at += 4
        return value

    def octet(self) -> int:
        """The next uint8."""
        self._at += 1
        return self._data[self._at - 1]

    def octets(self) -> memoryview:
        """The next sequence of uint8, or the text of a string with its end; IndexError when it is cut off."""
        count = self.number()
        begin, self._at = self._at, self._at + count
        if self._at > len(self._data):
            raise IndexError(f"{count} bytes announced at {begin}, {len(self._data) - begin} left")
        return memoryview(self._data)[begin : self._at]


def image_of(data: bytes) -> ImageBytes | None:
    """Serialised Image -> its fields; None for bytes in another representation than plain CDR.

    Raises:
        ObservationError: bytes that end before the image does.
    """
    order = _PLAIN_CDR.get(data[:2])
    if order is None:
        return None
    try:
        reader = _Reader(data, order, _ORIGIN + 8)  # behind the stamp
        reader.octets()  # frame_id
        height, width = reader.number(), reader.number()
        encoding = bytes(reader.octets()).rstrip(b"\0").decode("utf-8", "replace")
        big_endian = reader.octet() != 0
        return ImageBytes(height, width, encoding, big_endian, reader.number(), reader.octets())
    except (struct.error, IndexError) as error:
        raise ObservationError(f"image message of {len(data)} bytes is cut off: {error}") from error


def image_bytes(pixels: NDArray, encoding: str, stamp_ns: int, frame_id: str) -> bytes:
    """Pixels (H, W) or (H, W, C) -> the bytes of `convert.to_image`'s message, for `publish`; one copy."""
    pixels = np.ascontiguousarray(pixels)
    order = "<" if sys.byteorder == "little" else ">"
    head = bytearray((0, order == "<", 0, 0))
    head += struct.pack(order + "iI", stamp_ns // 1_000_000_000, stamp_ns % 1_000_000_000)

    def align() -> None:
        head.extend(bytes(-(len(head) - _ORIGIN) % 4))

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
