"""Bytes and names as ROS messages carry them -> arrays and states as this package uses them; no ROS needed.

The live graph and the reader of bags call the same functions, so both see the same Observation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reconvla_ros.errors import ObservationError, choices
from reconvla_ros.types import GRIPPER_NAME, JOINT_NAMES, ArmState

Buffer = bytes | bytearray | memoryview | NDArray[np.uint8]

# encoding of sensor_msgs/Image -> (channels, order that makes RGB)
COLOR_ENCODINGS: dict[str, tuple[int, tuple[int, int, int]]] = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
}
DEPTH_ENCODINGS = ("16UC1", "mono16")


def _rows(data: Buffer, height: int, width: int, step: int, pixel: int, what: str) -> NDArray[np.uint8]:
    """The pixels as (height, width * pixel) bytes, row padding cut off."""
    buffer = np.frombuffer(data, dtype=np.uint8)
    if height <= 0 or width <= 0 or step < width * pixel or len(buffer) < height * step:
        raise ObservationError(
            f"{what}: {len(buffer)} bytes do not hold {height} rows of {width} pixels of {pixel} bytes at step {step}"
        )
    return buffer[: height * step].reshape(height, step)[:, : width * pixel]


def color_from_bytes(data: Buffer, height: int, width: int, step: int, encoding: str) -> NDArray[np.uint8]:
    """Data of a sensor_msgs/Image -> (H, W, 3) uint8 RGB; a view when it already is packed RGB.

    Raises:
        ObservationError: an encoding that is not colour (lists those that are), or too few bytes.
    """
    if encoding not in COLOR_ENCODINGS:
        raise ObservationError(f"image encoding {choices(encoding, COLOR_ENCODINGS)}")
    channels, order = COLOR_ENCODINGS[encoding]
    pixels = _rows(data, height, width, step, channels, f"{encoding} image").reshape(height, width, channels)
    if order == (0, 1, 2) and channels == 3:
        return pixels
    return np.ascontiguousarray(pixels[:, :, list(order)])


def depth_from_bytes(
    data: Buffer, height: int, width: int, step: int, encoding: str, big_endian: bool = False
) -> NDArray[np.uint16]:
    """Data of a sensor_msgs/Image -> (H, W) uint16 [mm], 0 = no measurement.

    Raises:
        ObservationError: an encoding that is not 16-bit depth, or too few bytes.
    """
    if encoding not in DEPTH_ENCODINGS:
        raise ObservationError(f"depth encoding {choices(encoding, DEPTH_ENCODINGS)}")
    rows = np.ascontiguousarray(_rows(data, height, width, step, 2, f"{encoding} image"))
    return rows.view(">u2" if big_endian else "<u2").astype(np.uint16, copy=False)


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
