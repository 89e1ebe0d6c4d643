"""The positions of a serialised sensor_msgs/JointState, read without deserialising it: 200 times a second, beside the bag.

Encoding: OMG DDS-XTypes 1.3, 7.4.1 (plain CDR): 4 bytes of encapsulation, little-endian when the second is odd; every
primitive aligned to its size, counted from behind the encapsulation.
"""

from __future__ import annotations

import struct

import numpy as np

_HEAD = 4
_COUNT = {order: struct.Struct(f"{order}I") for order in "<>"}


def _order(data: bytes) -> str:
    return "<" if data[1] & 1 else ">"


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


def finite_positions(data: bytes) -> bool:
    """Whether every position is finite; False for bytes that are no joint state."""
    try:
        return bool(np.isfinite(positions_of(data)).all())
    except (struct.error, ValueError, IndexError):
        return False
