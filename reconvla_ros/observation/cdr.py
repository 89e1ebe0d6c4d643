"""What an Observation needs, read from messages as they are on the wire: image, joint state, pose, and their stamps.

The live graph and the reader of bags call the same functions. Encoding: OMG DDS-XTypes 1.3, 7.4.1 (plain CDR): 4 bytes of
encapsulation, little-endian when the second is odd; every primitive aligned to its size, counted from behind it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reconvla_ros.errors import ObservationError
from reconvla_ros.observation import transforms
from reconvla_ros.types import ArmState, Pose

# Encapsulation of plain CDR (DDSI-RTPS 2.2, 10.2.1.2): big and little endian. ROS 2 middleware sends images as nothing else.
PLAIN_CDR = {b"\0\0": ">", b"\0\1": "<"}
ORIGIN = 4  # alignment counts from behind the encapsulation
# Joints and poses come at 200 Hz; a sample each 15 ms is nearer to an image than it matters and costs a quarter.
STATE_SPACING_NS = 15_000_000
Buffer = bytes | memoryview


def stamp_of(data: Buffer) -> int:
    """Capture stamp [ns] of a message that begins with a header (CDR: 4 bytes of encapsulation, then sec, nanosec).

    Raises:
        ObservationError: bytes that end before the stamp does.
    """
    if len(data) < ORIGIN + 8:
        raise ObservationError(f"message of {len(data)} bytes is cut off: a header begins with {ORIGIN + 8}")
    order = "<" if data[1] & 1 else ">"
    seconds, nanoseconds = struct.unpack_from(f"{order}iI", data, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


class Thinner:
    """Takes the first message of each slot of `spacing_ns` by stamp (0 = every one).

    Slots lie on the clock, not behind the first message heard: whoever listens, since whenever, takes the same messages.
    """

    def __init__(self, spacing_ns: int) -> None:
        self._spacing, self._slot = spacing_ns, -1

    def takes(self, stamp_ns: int) -> bool:
        """Whether the message of this stamp is used."""
        if self._spacing <= 0:
            return True
        slot = stamp_ns // self._spacing
        if slot == self._slot:
            return False
        self._slot = slot
        return True


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


class Reader:
    """Plain CDR from front to back; struct.error or IndexError where it is cut off."""

    def __init__(self, data: Buffer, order: str, at: int = ORIGIN) -> None:
        self._data, self._order, self._at = data, order, at
        self._format = struct.Struct(order + "I")

    def number(self) -> int:
        """The next uint32."""
        self._at += -(self._at - ORIGIN) % 4
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

    def text(self) -> str:
        """The next string."""
        return bytes(self.octets()).rstrip(b"\0").decode("utf-8", "replace")

    def float32(self) -> float:
        """The next float32."""
        self._at += -(self._at - ORIGIN) % 4
        (value,) = struct.unpack_from(self._order + "f", self._data, self._at)
        self._at += 4
        return float(value)

    def doubles(self, count: int | None = None) -> NDArray[np.float64]:
        """The next `count` float64, or the next sequence of them (n,)."""
        number = self.number() if count is None else count
        if number:
            self._at += -(self._at - ORIGIN) % 8
        if self._at + 8 * number > len(self._data):
            raise IndexError(f"{number} doubles announced at {self._at}, {len(self._data) - self._at} bytes left")
        values = np.frombuffer(self._data, f"{self._order}f8", number, self._at)
        self._at += 8 * number
        return values.astype(np.float64)


def _order(data: Buffer, what: str) -> str:
    order = PLAIN_CDR.get(bytes(data[:2]))
    if order is None:
        raise ObservationError(f"{what}: not plain CDR (encapsulation {bytes(data[:2]).hex() or 'missing'})")
    return order


def image_of(data: Buffer) -> ImageBytes | None:
    """Serialised Image -> its fields; None for bytes in another representation than plain CDR.

    Raises:
        ObservationError: bytes that end before the image does.
    """
    order = PLAIN_CDR.get(bytes(data[:2]))
    if order is None:
        return None
    try:
        reader = Reader(data, order, ORIGIN + 8)  # behind the stamp
        reader.octets()  # frame_id
        height, width = reader.number(), reader.number()
        encoding = reader.text()
        big_endian = reader.octet() != 0
        return ImageBytes(height, width, encoding, big_endian, reader.number(), reader.octets())
    except (struct.error, IndexError) as error:
        raise ObservationError(f"image message of {len(data)} bytes is cut off: {error}") from error


def color_of(data: Buffer) -> NDArray[np.uint8]:
    """Serialised Image of a colour encoding this package knows -> (H, W, 3) RGB; a view into `data` when that is packed RGB.

    Raises:
        ObservationError: no such image, or one that is cut off.
    """
    image = image_of(data)
    if image is None:
        raise ObservationError(f"image: not plain CDR (encapsulation {bytes(data[:2]).hex() or 'missing'})")
    return transforms.color_from_bytes(image.data, image.height, image.width, image.step, image.encoding)


def joint_state_of(data: Buffer) -> ArmState:
    """Serialised JointState -> ArmState.

    Raises:
        ObservationError, ShapeError: cut off, or as `transforms.arm_state`.
    """
    try:
        reader = Reader(data, _order(data, "joint_states"), ORIGIN + 8)
        reader.octets()  # frame_id
        names = [reader.text() for _ in range(reader.number())]
        position, velocity, effort = reader.doubles(), reader.doubles(), reader.doubles()
    except (struct.error, IndexError) as error:
        raise ObservationError(f"joint_states message of {len(data)} bytes is cut off: {error}") from error
    return transforms.arm_state(stamp_of(data), names, position, velocity, effort)  # type: ignore[arg-type]


def pose_of(data: Buffer) -> Pose:
    """Serialised PoseStamped -> Pose.

    Raises:
        ObservationError, ShapeError: cut off, not finite, or a quaternion that is not of unit length.
    """
    try:
        reader = Reader(data, _order(data, "pose"), ORIGIN + 8)
        reader.octets()  # frame_id
        values = reader.doubles(7)
    except (struct.error, IndexError) as error:
        raise ObservationError(f"pose message of {len(data)} bytes is cut off: {error}") from error
    return Pose(values[:3], values[3:])
