"""Bytes and names as ROS messages carry them -> arrays and states as this package uses them; no ROS needed.

The live graph and the reader of bags call the same functions, so both see the same Observation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reconvla_ros.errors import ObservationError, choices
from reconvla_ros.tables import OPENING_DIGITS
from reconvla_ros.types import GRIPPER_NAME, JOINT_NAMES, ArmState

Buffer = bytes | bytearray | memoryview | NDArray[np.uint8]

# encoding of sensor_msgs/Image -> (type, channels, order of the channels that makes RGB; None = holds no colour)
ENCODINGS: dict[str, tuple[type, int, tuple[int, ...] | None]] = {
    "rgb8": (np.uint8, 3, (0, 1, 2)),
    "bgr8": (np.uint8, 3, (2, 1, 0)),
    "rgba8": (np.uint8, 4, (0, 1, 2)),
    "bgra8": (np.uint8, 4, (2, 1, 0)),
    "mono8": (np.uint8, 1, (0, 0, 0)),
    "8UC3": (np.uint8, 3, (0, 1, 2)),
    "8UC1": (np.uint8, 1, None),
    "16UC1": (np.uint16, 1, None),
    "mono16": (np.uint16, 1, None),
    "32FC1": (np.float32, 1, None),
}
COLOR_ENCODINGS = tuple(name for name, entry in ENCODINGS.items() if entry[2] is not None)
DEPTH_ENCODINGS = ("16UC1", "mono16")


def pixels_from_bytes(
    data: Buffer, height: int, width: int, step: int, encoding: str, big_endian: bool = False
) -> NDArray:
    """Data of a sensor_msgs/Image -> (H, W) or (H, W, C) as sent; a view where the rows are packed.

    Raises:
        ObservationError: an encoding that is not known (lists those that are), or too few bytes.
    """
    if encoding not in ENCODINGS:
        raise ObservationError(f"image encoding {choices(encoding, ENCODINGS)}")
    kind, channels, _ = ENCODINGS[encoding]
    pixel = channels * np.dtype(kind).itemsize
    buffer = np.frombuffer(data, dtype=np.uint8)
    if height <= 0 or width <= 0 or step < width * pixel or len(buffer) < height * step:
        raise ObservationError(
            f"{encoding} image: {len(buffer)} bytes do not hold {height} rows of {width} pixels of {pixel} bytes "
            f"at step {step}"
        )
    rows = buffer[: height * step].reshape(height, step)[:, : width * pixel]
    pixels: NDArray = np.ascontiguousarray(rows).view(np.dtype(kind).newbyteorder(">" if big_endian else "<"))
    pixels = pixels.astype(kind, copy=False)
    return pixels.reshape((height, width) if channels == 1 else (height, width, channels))


def color_from_bytes(data: Buffer, height: int, width: int, step: int, encoding: str) -> NDArray[np.uint8]:
    """Data of a sensor_msgs/Image -> (H, W, 3) uint8 RGB; a view when it already is packed RGB.

    Raises:
        ObservationError: an encoding that is not colour (lists those that are), or too few bytes.
    """
    if encoding not in COLOR_ENCODINGS:
        raise ObservationError(f"colour encoding {choices(encoding, COLOR_ENCODINGS)}")
    pixels = pixels_from_bytes(data, height, width, step, encoding)
    order = ENCODINGS[encoding][2]
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if order == (0, 1, 2) and pixels.shape[2] == 3:
        return pixels
    return np.ascontiguousarray(pixels[:, :, list(order or ())])


def depth_from_bytes(
    data: Buffer, height: int, width: int, step: int, encoding: str, big_endian: bool = False
) -> NDArray[np.uint16]:
    """Data of a sensor_msgs/Image -> (H, W) uint16 [mm], 0 = no measurement.

    Raises:
        ObservationError: an encoding that is not 16-bit depth, or too few bytes.
    """
    if encoding not in DEPTH_ENCODINGS:
        raise ObservationError(f"depth encoding {choices(encoding, DEPTH_ENCODINGS)}")
    return pixels_from_bytes(data, height, width, step, encoding, big_endian)


def arm_state(
    stamp_ns: int,
    names: Sequence[str],
    position: Sequence[float],
    velocity: Sequence[float],
    effort: Sequence[float],
) -> ArmState:
    """A sensor_msgs/JointState, in any order of joints -> ArmState. Gripper position is the total opening [m].

    Raises:
        ObservationError: a joint or one of its figures is not there; nothing is filled in with zeros.
        ShapeError: a figure is not finite.
    """
    index = {name: i for i, name in enumerate(names)}
    wanted = (*JOINT_NAMES, GRIPPER_NAME)
    absent = [name for name in wanted if name not in index]
    if absent:
        raise ObservationError(f"joint_states lacks {', '.join(absent)}; it names: {', '.join(names) or 'nothing'}")
    for field, values in (("position", position), ("velocity", velocity), ("effort", effort)):
        if len(values) != len(names):
            raise ObservationError(f"joint_states.{field}: {len(names)} joints are named, {len(values)} values given")
    order = [index[name] for name in JOINT_NAMES]
    gripper = index[GRIPPER_NAME]
    return ArmState(
        stamp_ns=stamp_ns,
        position=np.asarray([position[i] for i in order]),
        velocity=np.asarray([velocity[i] for i in order]),
        effort=np.asarray([effort[i] for i in order]),
        gripper=float(position[gripper]),
        gripper_effort=float(effort[gripper]),
    )


def opening(value: float) -> float:
    """An opening of a message [m] as it was meant, to what the bus counts; NaN stays."""
    return round(float(value), OPENING_DIGITS)
