"""`reconvla skew`: rendered pictures of a waved board, the wrist camera's stamps 20 ms late, through DDS and the command."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from reconvla_ros.calibration import skew_simulated
from reconvla_ros.calibration.detect import Grey
from reconvla_ros.cli import skew
from reconvla_ros.errors import CalibrationError
from reconvla_ros.types import CameraIntrinsics

SECONDS = 2.2
LATE = 0.020  # [s]
Taken = tuple[dict[str, list[tuple[int, Grey]]], dict[str, CameraIntrinsics]]


@pytest.fixture(scope="module")
def taken() -> Taken:
    return skew_simulated.pictures(1, SECONDS)


def test_the_table_is_made_of_what_is_found(
    taken: Taken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(skew_simulated, "pictures", lambda seed, seconds: taken)
    path = tmp_path / "skew.json"
    assert skew.main(["--sim", "--seeds", "1", "--delays-ms", "0", "7", "50", "-20", "--json", str(path)]) == 0
    result = json.loads(path.read_text())
    assert [row["injected_ms"] for row in result["trials"]] == [0, 7, 50, -20]
    assert 0 < result["worst_ms"] < 5, "rendered pictures, not made-up numbers"
    assert "bound 5 ms: kept" in capsys.readouterr().out


def test_wrong_arguments_name_the_bound() -> None:
    with pytest.raises(CalibrationError, match=r"--seconds: must be in 1\.\.120"):
        skew.main(["--seconds", "0"])
    with pytest.raises(CalibrationError, match="must stay within 230 ms"):
        skew.main(["--sim", "--delays-ms", "400"])


@pytest.fixture
def cameras(taken: Taken, domain: int) -> Iterator[None]:
    """Both cameras say again and again what they saw, as a bag played in a loop; the stamps are those of the pictures."""
    rclpy = pytest.importorskip("rclpy")
    from rclpy.context import Context
    from rclpy.node import Node
    from sensor_msgs.msg import CameraInfo, Image

    from reconvla_ros.nodes import convert, qos
    from reconvla_ros.nodes.serialized import image_bytes

    context, stop = Context(), threading.Event()
    rclpy.init(context=context)
    node = Node("cameras", context=context)
    said = []
    for camera, late in (("camera_base", 0.0), ("camera_wrist", LATE)):
        images = node.create_publisher(Image, f"{camera}/color/image_raw", qos.IMAGE)
        infos = node.create_publisher(CameraInfo, f"{camera}/color/camera_info", qos.IMAGE)
        frame = f"{camera}_color_optical_frame"
        for stamp, grey in taken[0][camera]:
            at = stamp + round(late * 1e9)
            said.append((at, images, image_bytes(np.dstack([grey] * 3), "rgb8", at, frame)))
        said.append((0, infos, convert.to_camera_info(taken[1][camera], 1, frame)))

    def speak() -> None:
        while not stop.is_set():
            for _, publisher, message in sorted(said, key=lambda s: s[0]):
                if stop.wait(0.01):
                    return
                publisher.publish(message)

    thread = threading.Thread(target=speak, daemon=True)
    thread.start()
    yield
    stop.set()
    thread.join()
    node.destroy_node()
    rclpy.try_shutdown(context=context)


@pytest.mark.graph
def test_a_running_graph_is_measured(cameras: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "found.json"
    assert skew.main(["--seconds", "2.5", "--json", str(path)]) == 1, "20 ms are beyond 10"
    found = json.loads(path.read_text())
    assert abs(found["skew"] - LATE) < 0.005
    said = capsys.readouterr().out
    assert "camera_wrist stamps one instant +" in said and "stamp_offset of camera_wrist" in said
