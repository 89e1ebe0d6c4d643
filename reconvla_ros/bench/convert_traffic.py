"""Episodes for `reconvla bench convert`: what the graph records (two RGB-D streams at 30 Hz, joints, TCP, actions), made up."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np

from reconvla_ros.errors import SetupError
from reconvla_ros.graph import CAMERAS
from reconvla_ros.recording.bag import BagWriter
from reconvla_ros.recording.episode import EpisodeStore
from reconvla_ros.recording.schema import MessageSchema
from reconvla_ros.recording.settings import COLOR, DEPTH
from reconvla_ros.types import GRIPPER_NAME, JOINT_NAMES

WIDTH, HEIGHT, CAMERA_RATE, STATE_RATE = 640, 480, 30, 200
BEGIN = 1_700_000_000_000_000_000  # [ns]
_AT = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
_TRACE = """std_msgs/Header header\nstring source\nstring task_id\nuint32 chunk_sequence\nint16 chunk_step\nuint8 verdict
string reason\nstring detail\ngeometry_msgs/Pose requested_pose\nfloat32 requested_gripper\ngeometry_msgs/Pose filtered_pose
float32 filtered_gripper\nfloat64[6] applied_position\nfloat32 applied_gripper\nfloat64[6] measured_position\n"""


class Maker:
    """Serialises the messages with `rosbags`.

    Raises:
        SetupError: it is not installed.
    """

    def __init__(self) -> None:
        try:
            from rosbags.typesys import Stores, get_types_from_msg, get_typestore
        except ImportError as error:
            raise SetupError("bench convert needs rosbags; remedy: pip install -r requirements/test.txt") from error
        self._store = get_typestore(Stores.ROS2_JAZZY)
        self._store.register(get_types_from_msg(_TRACE, "reconvla_ros/msg/ActionTrace"))
        noise = np.random.default_rng(0)
        rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
        scene = np.stack([columns / 3, rows / 2, (rows + columns) / 5], axis=-1)
        # Smooth like a room, with the grain of a sensor; it moves, so that no two pictures are the same.
        self._scenes = [np.clip(scene + noise.normal(0, 3, scene.shape), 0, 255).astype(np.uint8) for _ in range(4)]
        self._depth = np.clip(rows * 2 + noise.normal(0, 4, rows.shape), 300, 4000).astype(np.uint16)

    def schema(self, kind: str) -> MessageSchema:
        """Its definition."""
        text, type_hash = self._store.generate_msgdef(kind, ros_version=2)
        return MessageSchema(kind, text, type_hash)

    def _make(self, kind: str, **fields: Any) -> Any:
        return self._store.types[kind](**fields)

    def _bytes(self, kind: str, message: Any) -> bytes:
        return bytes(self._store.serialize_cdr(message, kind))

    def _header(self, at: int) -> Any:
        time = self._make("builtin_interfaces/msg/Time", sec=at // 10**9, nanosec=at % 10**9)
        return self._make("std_msgs/msg/Header", stamp=time, frame_id="base_link")

    def _pose(self, x: float) -> Any:
        point = self._make("geometry_msgs/msg/Point", x=x, y=0.0, z=0.1)
        turn = self._make("geometry_msgs/msg/Quaternion", x=0.0, y=1.0, z=0.0, w=0.0)
        return self._make("geometry_msgs/msg/Pose", position=point, orientation=turn)

    def image(self, at: int, number: int, depth: bool) -> bytes:
        """One picture of a stream."""
        pixels = self._depth if depth else np.roll(self._scenes[number % len(self._scenes)], 3 * number, axis=1)
        data, channels = np.ascontiguousarray(pixels).view(np.uint8).ravel(), 2 if depth else 3
        message = self._make("sensor_msgs/msg/Image", header=self._header(at), height=HEIGHT, width=WIDTH, data=data,
                             is_bigendian=0, encoding="16UC1" if depth else "rgb8", step=WIDTH * channels)  # fmt: skip
        return self._bytes("sensor_msgs/msg/Image", message)

    def arm(self, at: int, x: float) -> dict[str, bytes]:
        """Joints, TCP and trace at one instant, by topic."""
        six, seven = np.full(6, x), np.full(7, x)
        joints = self._make("sensor_msgs/msg/JointState", header=self._header(at), name=[*JOINT_NAMES, GRIPPER_NAME],
                            position=seven, velocity=seven, effort=seven)  # fmt: skip
        tcp = self._make("geometry_msgs/msg/PoseStamped", header=self._header(at), pose=self._pose(x))
        trace = self._make(
            "reconvla_ros/msg/ActionTrace", header=self._header(at), source="policy", task_id="t", chunk_sequence=1,
            chunk_step=0, verdict=0, reason="", detail="", requested_pose=self._pose(x + 0.01), requested_gripper=0.05,
            filtered_pose=self._pose(x + 0.01), filtered_gripper=0.05, applied_position=six, applied_gripper=0.05,
            measured_position=six,
        )  # fmt: skip
        return {"joint_states": self._bytes("sensor_msgs/msg/JointState", joints),
                "arm/ee_pose": self._bytes("geometry_msgs/msg/PoseStamped", tcp),
                "arm/action_trace": self._bytes("reconvla_ros/msg/ActionTrace", trace)}  # fmt: skip


KINDS = {
    **{f"{camera}/{stream}": "sensor_msgs/msg/Image" for camera in CAMERAS for stream in (COLOR, DEPTH)},
    "joint_states": "sensor_msgs/msg/JointState",
    "arm/ee_pose": "geometry_msgs/msg/PoseStamped",
    "arm/action_trace": "reconvla_ros/msg/ActionTrace",
}


def write_episodes(root: Path, count: int, seconds: float) -> int:
    """Write `count` episodes of so many seconds; returns the bytes."""
    maker, store, size = Maker(), EpisodeStore(root), 0
    for _ in range(count):
        episode = store.plan("put fruit in bowl", "bench", [], _AT)
        with BagWriter(store.folder(episode)) as bag:
            store.begin(episode)
            for name, kind in KINDS.items():
                bag.add_topic(name, maker.schema(kind))
            for k in range(round(seconds * STATE_RATE)):
                at = BEGIN + k * 10**9 // STATE_RATE
                for name, data in maker.arm(at, 0.2 + 0.1 * k / (seconds * STATE_RATE)).items():
                    bag.write(name, data, at + 10**6, at)
                if k * CAMERA_RATE % STATE_RATE < CAMERA_RATE:
                    for name in list(KINDS)[:4]:
                        bag.write(name, maker.image(at, k, DEPTH in name), at + 5 * 10**6, at)
        done = bag.summary()
        size += done.bytes
        store.finish(episode, "success", _AT, counts=dict(done.counts), bytes=done.bytes,
                     duration=(done.end_ns - done.start_ns) / 1e9, started_ns=done.start_ns)  # fmt: skip
    return size
