"""Views from a bag: one per standstill, none from a moving arm. The bag is written by libraries that are not ours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reconvla_ros.calibration.from_bag import pinhole, read
from reconvla_ros.errors import CalibrationError

pytest.importorskip("rosbags")
T0 = 1_700_000_000_000_000_000
A, B = np.array([0.0, 1.0, -0.9, 0.0, 0.9, 0.0]), np.array([0.3, 1.1, -1.0, 0.2, 0.7, 0.4])


class Bag:
    """Writes messages of rosbags' definitions into an MCAP file."""

    def __init__(self, path: Path) -> None:
        from mcap.writer import Writer
        from rosbags.typesys import Stores, get_typestore

        self.types = get_typestore(Stores.ROS2_JAZZY)
        self._file = path.open("wb")
        self._writer = Writer(self._file)
        self._writer.start()
        self._channels: dict[str, int] = {}

    def put(self, topic: str, kind: str, stamp: int, message: Any) -> None:
        if topic not in self._channels:
            text, _ = self.types.generate_msgdef(kind, ros_version=2)
            schema = self._writer.register_schema(kind, "ros2msg", text.encode())
            self._channels[topic] = self._writer.register_channel(topic, "cdr", schema)
        data = bytes(self.types.serialize_cdr(message, kind))
        self._writer.add_message(self._channels[topic], stamp, data, stamp)

    def header(self, stamp: int, frame: str = "base_link") -> Any:
        time = self.types.types["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
        return self.types.types["std_msgs/msg/Header"](stamp=time, frame_id=frame)

    def joints(self, stamp: int, q: np.ndarray) -> None:
        names = [f"joint{i}" for i in range(1, 7)]
        made = self.types.types["sensor_msgs/msg/JointState"](
            header=self.header(stamp), name=names, position=q, velocity=np.zeros(6), effort=np.zeros(6)
        )
        self.put("/arm1/joint_states", "sensor_msgs/msg/JointState", stamp, made)

    def image(self, stamp: int, camera: str, grey: int) -> None:
        made = self.types.types["sensor_msgs/msg/Image"](
            header=self.header(stamp), height=4, width=6, encoding="rgb8", is_bigendian=0, step=18,
            data=np.full(72, grey, np.uint8),
        )  # fmt: skip
        self.put(f"/arm1/{camera}/color/image_raw", "sensor_msgs/msg/Image", stamp, made)

    def info(self, camera: str, focal: float = 500.0) -> None:
        region = self.types.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
        k = np.array([focal, 0, 3, 0, focal, 2, 0, 0, 1.0])
        made = self.types.types["sensor_msgs/msg/CameraInfo"](
            header=self.header(T0, f"{camera}_color_optical_frame"), height=4, width=6, distortion_model="plumb_bob",
            d=np.zeros(5), k=k, r=np.eye(3).ravel(), p=np.zeros(12), binning_x=0, binning_y=0, roi=region,
        )  # fmt: skip
        self.put(f"/arm1/{camera}/color/camera_info", "sensor_msgs/msg/CameraInfo", T0, made)

    def close(self) -> None:
        self._writer.finish()
        self._file.close()


def write(folder: Path, poses: Sequence[np.ndarray], focal: float = 500.0, joints: bool = True) -> Path:
    """One second at each pose, a second from one to the next; pictures at 30 Hz whose grey says when they were taken."""
    folder.mkdir()
    bag = Bag(folder / "bag_0.mcap")
    bag.info("camera_wrist", focal)
    way = [poses[0]]
    for here, there in pairwise(poses):
        way += [here, there]
    way.append(poses[-1])
    seconds = len(way) - 1
    for k in range(seconds * 100):
        at, share = divmod(k, 100)
        if joints:
            bag.joints(T0 + k * 10_000_000, way[at] + share / 100 * (way[at + 1] - way[at]))
        if k % 3 == 0:
            bag.image(T0 + k * 10_000_000 + 1_000_000, "camera_wrist", at)
    bag.close()
    return folder


def test_one_view_of_each_standstill(tmp_path: Path) -> None:
    views = read(write(tmp_path / "bag", [A, B]), "table-1")
    assert [m.place for m in views.moments] == ["table-1", "table-1"]
    for moment, pose, second in zip(views.moments, (A, B), (0, 2), strict=True):
        assert moment.joints == pytest.approx(pose, abs=1e-3)
        grey = moment.pictures["camera_wrist"].grey
        assert grey.shape == (4, 6) and set(grey.ravel().tolist()) == {second}
    assert views.cameras["camera_wrist"].intrinsics.fx == 500.0


def test_bags_that_give_no_views(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="does not exist"):
        read(tmp_path / "none")
    moving = [A + 0.5 * k for k in np.arange(2)]
    steady = write(tmp_path / "moving", [moving[0], moving[1]])
    assert len(read(steady).moments) == 2
    with pytest.raises(CalibrationError, match=r"no joint_states with joint1\.\.joint6"):
        read(write(tmp_path / "deaf", [A], joints=False))
    with pytest.raises(CalibrationError, match="camera_wrist: no intrinsics: camera_info holds fx 0"):
        read(write(tmp_path / "blind", [A], focal=0.0))
    cut = tmp_path / "cut.mcap"
    cut.write_bytes((steady / "bag_0.mcap").read_bytes()[:500])
    with pytest.raises(CalibrationError, match="cannot be read"):
        read(cut)


def test_a_distortion_of_another_kind_is_refused() -> None:
    from types import SimpleNamespace

    info = SimpleNamespace(
        k=[500.0, 0, 3, 0, 500.0, 2, 0, 0, 1], d=[0.1] * 4, distortion_model="equidistant", width=6, height=4,
        header=SimpleNamespace(frame_id="camera_base_color_optical_frame"),
    )  # fmt: skip
    with pytest.raises(CalibrationError, match="camera_base: distortion 'equidistant'"):
        pinhole(info)
