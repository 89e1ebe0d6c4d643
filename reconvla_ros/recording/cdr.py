"""What can be read off a serialised message (CDR) without deserialising it: its stamp, and whether its figures are finite.

Encoding: OMG DDS-XTypes 1.3, 7.4.1 (plain CDR): 4 bytes of encapsulation, little-endian when the second is odd; every
primitive aligned to its size, counted from behind the encapsulation.
"""

from __future__ import annotations

import struct

import numpy as np

_HEAD = 4
_STAMP = {order: struct.Struct(f"{order}iI") for order in "<>"}
_COUNT = {order: struct.Struct(f"{order}I") for order in "<>"}


def _order(data: bytes) -> str:
    return "<" if data[1] & 1 else ">"


def stamp_of(data: bytes) -> int:
    """Stamp [ns] of a message that begins with a std_msgs/Header."""
    seconds, nanoseconds = _STAMP[_order(data)].unpack_from(data, _HEAD)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def positions_of(data: bytes) -> np.ndarray:
    """`position` of a serialised sensor_msgs/JointState (n,) [rad or m].

    Raises:
        struct.error, ValueError: bytes that are none.
    """
    order = _order(data)
    count = _COUNT[order]
    at = _after_text(data, _HEAD + 8, count)  # header: stamp, frame_id
    names, at = _length(data, at, count)
    for _ in range(names):
        at = _after_text(data, at, count)
    number, at = _length(data, at, count)
    if number:
        at += -(at - _HEAD) % 8
    return np.frombuffer(data, dtype=f"{order}f8", count=number, offset=at)


def _length(data: bytes, at: int, count: struct.Struct) -> tuple[int, int]:
    at += -(at - _HEAD) % 4
    return int(count.unpack_from(data, at)[0]), at + 4


def _after_text(data: bytes, at: int, count: struct.Struct) -> int:
    size, at = _length(data, at, count)
    return at + size


class JointFigures:
    """Whether the positions of joint states are finite; remembers where they stand in messages of one shape."""

    def __init__(self) -> None:
        self._where: tuple[int, int, int] = (0, 0, 0)  # length of the message, offset and count of the positions

    def finite(self, data: bytes) -> bool:
        """False for figures that are not, and for bytes that are no joint state."""
        try:
            size, at, number = self._where
            if size != len(data):
                found = positions_of(data)
                at = len(data) - 4 if not len(found) else _offset(found, data)
                self._where = (len(data), at, len(found))
                return bool(np.isfinite(found).all())
            return bool(np.isfinite(np.frombuffer(data, dtype=f"{_order(data)}f8", count=number, offset=at)).all())
        except (struct.error, ValueError, IndexError):
            return False


def _offset(found: np.ndarray, data: bytes) -> int:
    return int(found.__array_interface__["data"][0] - np.frombuffer(data, np.uint8).__array_interface__["data"][0])
