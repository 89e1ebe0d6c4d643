"""Episodes for tests, written by the recorder's own writer from messages that `rosbags` serialised: no ROS needed."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from reconvla_ros.recording.bag import BagWriter
from reconvla_ros.recording.episode import Episode, EpisodeStore
from reconvla_ros.recording.metadata import TopicQos
from reconvla_ros.recording.repair import NOTE, note_of
from reconvla_ros.recording.schema import MessageSchema

ROOT = Path(__file__).resolve().parents[2]
T0 = 1_700_000_000_000_000_000
AT = datetime.datetime(2026, 1, 31, 14, 25, 1, tzinfo=datetime.timezone.utc)
NAMES = [*(f"joint{i}" for i in range(1, 7)), "gripper"]
TYPES = {
    "camera_base/color/image_raw": "sensor_msgs/msg/Image",
    "camera_base/color/camera_info": "sensor_msgs/msg/CameraInfo",
    "camera_base/aligned_depth_to_color/image_raw": "sensor_msgs/msg/Image",
    "camera_wrist/color/image_raw": "sensor_msgs/msg/Image",
    "camera_wrist/aligned_depth_to_color/image_raw": "sensor_msgs/msg/Image",
    "joint_states": "sensor_msgs/msg/JointState",
    "arm/ee_pose": "geometry_msgs/msg/PoseStamped",
    "arm/action_trace": "reconvla_ros/msg/ActionTrace",
    "arm/status": "reconvla_ros/msg/ArmStatus",
}
STORE = get_typestore(Stores.ROS2_JAZZY)
for _path in (ROOT / "msg" / "ActionTrace.msg", ROOT / "msg" / "ArmStatus.msg"):
    STORE.register(get_types_from_msg(_path.read_text(), f"reconvla_ros/msg/{_path.stem}"))
Row = tuple[int, str, bytes]  # log time [ns], topic, serialised


def schema(kind: str) -> MessageSchema:
    text, type_hash = STORE.generate_msgdef(kind, ros_version=2)
    return MessageSchema(kind, text, type_hash)


def _make(kind: str, **fields: Any) -> Any:
    return STORE.types[kind](**fields)


def header(at: int, frame: str = "base_link") -> Any:
    time = _make("builtin_interfaces/msg/Time", sec=at // 1_000_000_000, nanosec=at % 1_000_000_000)
    return _make("std_msgs/msg/Header", stamp=time, frame_id=frame)


def serialised(message: Any, kind: str) -> bytes:
    return bytes(STORE.serialize_cdr(message, kind))


def image(at: int, depth: bool = False, value: int = 100) -> bytes:
    data = np.full(8 * 6 * (2 if depth else 3), value, dtype=np.uint8)
    message = _make("sensor_msgs/msg/Image", header=header(at), height=6, width=8, is_bigendian=0, data=data,
                    encoding="16UC1" if depth else "rgb8", step=16 if depth else 24)  # fmt: skip
    return serialised(message, "sensor_msgs/msg/Image")


def joints(at: int, value: float = 0.1) -> bytes:
    position = np.full(7, value)
    message = _make("sensor_msgs/msg/JointState", header=header(at), name=NAMES, position=position,
                    velocity=np.zeros(7), effort=np.zeros(7))  # fmt: skip
    return serialised(message, "sensor_msgs/msg/JointState")


def pose(x: float) -> Any:
    """35 degrees from tool down, 0.2 m high, as in the ready position: inside the joint margins for x in 0.2..0.33 m."""
    point = _make("geometry_msgs/msg/Point", x=x, y=0.0, z=0.2)
    turn = _make("geometry_msgs/msg/Quaternion", x=0.0, y=math.cos(0.304), z=0.0, w=math.sin(0.304))
    return _make("geometry_msgs/msg/Pose", position=point, orientation=turn)


def tcp(at: int, x: float) -> bytes:
    message = _make("geometry_msgs/msg/PoseStamped", header=header(at), pose=pose(x))
    return serialised(message, "geometry_msgs/msg/PoseStamped")


def trace(at: int, x: float, verdict: int = 0) -> bytes:
    nothing = pose(math.nan)
    message = _make(
        "reconvla_ros/msg/ActionTrace", PASSED=0, CLAMPED=1, REFUSED=2, header=header(at), source="policy", task_id="t",
        chunk_sequence=0, chunk_step=0, verdict=verdict, reason="workspace" if verdict else "", detail="",
        requested_pose=pose(x), requested_gripper=0.05, filtered_pose=nothing if verdict == 2 else pose(x),
        filtered_gripper=0.05, applied_position=np.full(6, 0.1), applied_gripper=0.05, measured_position=np.full(6, 0.1),
    )  # fmt: skip
    return serialised(message, "reconvla_ros/msg/ActionTrace")


def rows(seconds: float = 2.0, camera_rate: int = 10, begin: int = T0) -> list[Row]:
    """A sound episode: two RGB-D cameras, joints and TCP at 50 Hz, a target every 0.1 s moving 1 mm a step in x."""
    found: list[Row] = []
    for k in range(int(seconds * camera_rate)):
        at = begin + k * 1_000_000_000 // camera_rate
        for name, kind in TYPES.items():
            if kind == "sensor_msgs/msg/Image":
                found.append((at + 5_000_000, name, image(at, "depth" in name, 40 + k)))
    for k in range(int(seconds * 50)):
        at = begin + k * 20_000_000
        found += [
            (at + 1_000_000, "joint_states", joints(at)),
            (at + 1_000_000, "arm/ee_pose", tcp(at, 0.3 + 2e-4 * k)),
        ]
    for k in range(int(seconds * 10) - 5):
        at = begin + 200_000_000 + k * 100_000_000
        found.append((at, "arm/action_trace", trace(at, 0.3 + 1e-3 * k)))
    return sorted(found, key=lambda row: row[0])


def write(
    root: Path,
    messages: Iterable[Row] | None = None,
    *,
    outcome: str = "success",
    namespace: str = "",
    change: Callable[[BagWriter], None] | None = None,
    **sidecar: Any,
) -> tuple[EpisodeStore, str]:
    """An episode on disk, closed unless `change` ended the process of writing in its own way."""
    store = EpisodeStore(root)
    episode: Episode = store.plan("put fruit in bowl", "Ada", ["test"], AT)
    bag = BagWriter(store.folder(episode), chunk_size=4000)
    store.begin(episode)
    bag.add_note(NOTE, note_of(episode))
    for name, kind in TYPES.items():
        bag.add_topic(f"{namespace}/{name}", schema(kind), [TopicQos()])
    for at, name, data in rows() if messages is None else messages:
        bag.write(f"{namespace}/{name}", data, at, at)
    if change is not None:
        change(bag)
        return store, episode.name
    done = bag.close()
    store.finish(episode, outcome, AT + datetime.timedelta(seconds=2), counts=dict(done.counts), bytes=done.bytes,
                 duration=(done.end_ns - done.start_ns) / 1e9, started_ns=done.start_ns, **sidecar)  # fmt: skip
    return store, episode.name


def crash(bag: BagWriter) -> None:
    """For `write(change=...)`: the recorder is gone, after it handed everything to the system."""
    bag.flush()
    bag._stream.close()
