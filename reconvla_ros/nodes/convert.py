"""Messages <-> types; the only place that knows both."""

from __future__ import annotations

import array
import contextlib
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
from reconvla_ros.observation import transforms
from reconvla_ros.types import (
    GRIPPER_NAME,
    JOINT_NAMES,
    ActionChunk,
    ArmState,
    CameraIntrinsics,
    EeCommand,
    Pose,
)


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
    """Image -> pixels as they were sent: (H, W) or (H, W, C). Errors as `transforms.pixels_from_bytes`."""
    m = message
    return transforms.pixels_from_bytes(m.data, m.height, m.width, m.step, m.encoding, bool(m.is_bigendian))


def to_rgb(message: Image) -> NDArray[np.uint8]:
    """Image of any colour encoding we or cv_bridge know -> (H, W, 3) uint8 RGB. Errors as `transforms.color_from_bytes`."""
    if message.encoding not in transforms.COLOR_ENCODINGS:
        # Bayer patterns, YUV and the like are cv_bridge's, where an apt ROS has it; no wheel of it works with ROS 2.
        with contextlib.suppress(ImportError):
            from cv_bridge import CvBridge

            return np.ascontiguousarray(CvBridge().imgmsg_to_cv2(message, desired_encoding="rgb8"))
    return transforms.color_from_bytes(message.data, message.height, message.width, message.step, message.encoding)


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
    """JointState -> ArmState, by name in any order. Errors as `transforms.arm_state`."""
    m = message
    return transforms.arm_state(from_time(m.header.stamp), m.name, m.position, m.velocity, m.effort)


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


def to_withdrawal(chunk: ActionChunk, now_ns: int) -> ChunkMessage:
    """A chunk without steps, which takes `chunk` back: the arm decelerates and holds."""
    return ChunkMessage(header=header(now_ns, "base_link"), task_id=chunk.task_id, sequence=chunk.sequence)


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
        gripper=np.array([transforms.opening(v) for v in message.gripper]),
        confidence=np.array(message.confidence, dtype=np.float64),
        token_ids=tuple(message.token_ids),
        prefix_steps=message.prefix_steps,
    )


def from_ee_command(message: EndEffectorCommand) -> EeCommand:
    """Message -> EeCommand; a NaN gripper means keep, any other non-finite value is refused."""
    _require_base_link("ee_command", message.header.frame_id)
    gripper = None if math.isnan(message.gripper) else transforms.opening(message.gripper)
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
