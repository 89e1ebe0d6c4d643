"""Messages <-> types; the only place that knows both."""

from __future__ import annotations

import array
import math
import sys

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Point, PoseStamped, Quaternion
from geometry_msgs.msg import Pose as PoseMessage
from nav_msgs.msg import Path
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Header

from reconvla_ros.errors import ShapeError, choices
from reconvla_ros.msg import ActionChunk as ChunkMessage
from reconvla_ros.msg import EndEffectorCommand
from reconvla_ros.types import (
    GRIPPER_NAME,
    JOINT_NAMES,
    ActionChunk,
    ArmState,
    CameraIntrinsics,
    EeCommand,
    Pose,
)

# encoding -> (dtype, channels, order of the channels that gives RGB; None = not a colour image)
_ENCODINGS: dict[str, tuple[type, int, tuple[int, ...] | None]] = {
    "rgb8": (np.uint8, 3, (0, 1, 2)),
    "bgr8": (np.uint8, 3, (2, 1, 0)),
    "rgba8": (np.uint8, 4, (0, 1, 2)),
    "bgra8": (np.uint8, 4, (2, 1, 0)),
    "mono8": (np.uint8, 1, (0, 0, 0)),
    "8UC1": (np.uint8, 1, None),
    "8UC3": (np.uint8, 3, (0, 1, 2)),
    "16UC1": (np.uint16, 1, None),
    "mono16": (np.uint16, 1, None),
    "32FC1": (np.float32, 1, None),
}


def to_time(stamp_ns: int) -> Time:
    """Nanoseconds since the epoch -> Time."""
    return Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def from_time(stamp: Time) -> int:
    """Time -> nanoseconds since the epoch."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def header(stamp_ns: int, frame_id: str) -> Header:
    """A header."""
    return Header(stamp=to_time(stamp_ns), frame_id=frame_id)


def to_image(pixels: NDArray, encoding: str, stamp_ns: int, frame_id: str) -> Image:
    """Pixels (H, W) or (H, W, C) -> Image. One copy: `Image.data` takes an array.array as it is, bytes it would check."""
    pixels = np.ascontiguousarray(pixels)
    message = Image(header=header(stamp_ns, frame_id), height=pixels.shape[0], width=pixels.shape[1])
    message.encoding = encoding
    message.is_bigendian = int(sys.byteorder == "big")
    message.step = pixels.strides[0]
    data = array.array("B")
    data.frombytes(pixels.data.cast("B"))
    message._data = data
    return message


def from_image(message: Image) -> NDArray:
    """Image -> pixels as they were sent: (H, W) or (H, W, C), a view where the rows are not padded.

    Raises:
        ShapeError: an encoding that is not known (named, with the choices) or too few bytes.
    """
    if message.encoding not in _ENCODINGS:
        raise ShapeError(f"image encoding {choices(message.encoding, _ENCODINGS)}")
    dtype, channels, _ = _ENCODINGS[message.encoding]
    row = message.width * channels * np.dtype(dtype).itemsize
    raw = np.frombuffer(message.data, np.uint8)
    if message.step < row or raw.size < message.height * message.step:
        raise ShapeError(
            f"image {message.width}x{message.height} {message.encoding}: needs {row} bytes a row and "
            f"{message.height} rows, got step {message.step} and {raw.size} bytes"
        )
    rows = raw[: message.height * message.step].reshape(message.height, message.step)[:, :row]
    pixels: NDArray = np.ascontiguousarray(rows).view(dtype)
    if bool(message.is_bigendian) != (sys.byteorder == "big"):
        pixels = pixels.byteswap()
    shape = (message.height, message.width) if channels == 1 else (message.height, message.width, channels)
    return pixels.reshape(shape)


def to_rgb(message: Image) -> NDArray[np.uint8]:
    """Image of any known colour encoding -> (H, W, 3) uint8 RGB.

    Raises:
        ShapeError: an encoding that holds no colour.
    """
    pixels = from_image(message)
    order = _ENCODINGS[message.encoding][2]
    if order is None:
        colour = [name for name, entry in _ENCODINGS.items() if entry[2] is not None]
        raise ShapeError(f"image encoding for a colour view: {choices(message.encoding, colour)}")
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    return pixels if order == (0, 1, 2) and pixels.shape[2] == 3 else np.ascontiguousarray(pixels[:, :, list(order)])


def to_camera_info(intrinsics: CameraIntrinsics, stamp_ns: int, frame_id: str) -> CameraInfo:
    """Pinhole -> CameraInfo (plumb_bob)."""
    i = intrinsics
    return CameraInfo(
        header=header(stamp_ns, frame_id),
        height=i.height,
        width=i.width,
        distortion_model="plumb_bob",
        d=[float(v) for v in i.distortion],
        k=[i.fx, 0.0, i.cx, 0.0, i.fy, i.cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[i.fx, 0.0, i.cx, 0.0, 0.0, i.fy, i.cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


def to_joint_state(state: ArmState) -> JointState:
    """ArmState -> JointState: joint1..joint6 [rad], gripper = total opening [m]."""
    return JointState(
        header=header(state.stamp_ns, "base_link"),
        name=[*JOINT_NAMES, GRIPPER_NAME],
        position=[*map(float, state.position), float(state.gripper)],
        velocity=[*map(float, state.velocity), 0.0],
        effort=[*map(float, state.effort), float(state.gripper_effort)],
    )


def from_joint_state(message: JointState) -> ArmState:
    """JointState -> ArmState, by name in any order.

    Raises:
        ShapeError: a joint is missing, or a value is not finite. A joint is never assumed to be zero.
    """
    index = {name: i for i, name in enumerate(message.name)}
    missing = [n for n in (*JOINT_NAMES, GRIPPER_NAME) if n not in index or index[n] >= len(message.position)]
    if missing:
        raise ShapeError(f"joint_states: missing {', '.join(missing)} (has: {', '.join(message.name)})")

    def column(values: list[float]) -> list[float]:
        return [values[index[n]] if index[n] < len(values) else 0.0 for n in JOINT_NAMES]

    return ArmState(
        stamp_ns=from_time(message.header.stamp),
        position=np.array(column(message.position)),
        velocity=np.array(column(message.velocity)),
        effort=np.array(column(message.effort)),
        gripper=float(message.position[index[GRIPPER_NAME]]),
    )


def to_pose(pose: Pose) -> PoseMessage:
    """Pose -> geometry_msgs/Pose."""
    x, y, z = map(float, pose.position)
    qx, qy, qz, qw = map(float, pose.quaternion)
    return PoseMessage(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))


def from_pose(message: PoseMessage) -> Pose:
    """geometry_msgs/Pose -> Pose; a quaternion that is not of unit length is refused."""
    p, q = message.position, message.orientation
    return Pose(np.array([p.x, p.y, p.z]), np.array([q.x, q.y, q.z, q.w]))


def to_pose_stamped(pose: Pose, stamp_ns: int, frame_id: str = "base_link") -> PoseStamped:
    """Pose -> PoseStamped."""
    return PoseStamped(header=header(stamp_ns, frame_id), pose=to_pose(pose))


def to_chunk(chunk: ActionChunk) -> ChunkMessage:
    """ActionChunk -> message."""
    nanoseconds = round(chunk.step_dt * 1e9)
    return ChunkMessage(
        header=header(chunk.stamp_ns, "base_link"),
        task_id=chunk.task_id,
        sequence=chunk.sequence,
        step_dt=Duration(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000),
        anchor=to_pose(chunk.anchor),
        poses=[to_pose(chunk.pose(k)) for k in range(chunk.steps)],
        gripper=[float(v) for v in chunk.gripper],
        confidence=[float(v) for v in chunk.confidence],
        token_ids=list(chunk.token_ids),
        prefix_steps=chunk.prefix_steps,
    )


def from_chunk(message: ChunkMessage) -> ActionChunk:
    """Message -> ActionChunk.

    Raises:
        ShapeError: a frame other than base_link, a length that does not fit, an entry that is not finite.
    """
    _require_base_link("action_chunk", message.header.frame_id)
    poses = [from_pose(p) for p in message.poses]
    if not poses:
        raise ShapeError("action_chunk.poses: expected at least one step, got 0")
    return ActionChunk(
        stamp_ns=from_time(message.header.stamp),
        task_id=message.task_id,
        sequence=message.sequence,
        step_dt=message.step_dt.sec + message.step_dt.nanosec * 1e-9,
        anchor=from_pose(message.anchor),
        positions=np.array([p.position for p in poses]),
        quaternions=np.array([p.quaternion for p in poses]),
        gripper=np.array(message.gripper, dtype=np.float64),
        confidence=np.array(message.confidence, dtype=np.float64),
        token_ids=tuple(message.token_ids),
        prefix_steps=message.prefix_steps,
    )


def from_ee_command(message: EndEffectorCommand) -> EeCommand:
    """Message -> EeCommand; a NaN gripper means keep, any other non-finite value is refused."""
    _require_base_link("ee_command", message.header.frame_id)
    gripper = None if math.isnan(message.gripper) else float(message.gripper)
    return EeCommand(from_time(message.header.stamp), message.source, from_pose(message.pose), gripper)


def to_path(chunk: ActionChunk) -> Path:
    """The steps of a chunk as a Path for rviz."""
    poses = [
        to_pose_stamped(chunk.pose(k), chunk.stamp_ns + round((k + 1) * chunk.step_dt * 1e9))
        for k in range(chunk.steps)
    ]
    return Path(header=header(chunk.stamp_ns, "base_link"), poses=poses)


def _require_base_link(name: str, frame_id: str) -> None:
    if frame_id.lstrip("/") != "base_link":
        raise ShapeError(f"{name}.header.frame_id: {choices(frame_id, ['base_link'])}")
