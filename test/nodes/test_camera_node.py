"""The camera node as a process over a recording of librealsense: the RealSense way through the real node, over DDS."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from PIL import Image as PilImage
from ros_ear import RosEar, end  # type: ignore[import-not-found]
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from reconvla_ros.nodes import qos
from reconvla_ros.nodes.camera_node import CameraNode

pytest.importorskip("pyrealsense2", exc_type=ImportError)

from reconvla_ros.camera.software import SoftwareCamera, record

pytestmark = pytest.mark.graph
FRAMES = 45
COLOR, DEPTH = "camera_base/color/image_raw", "camera_base/aligned_depth_to_color/image_raw"
TOPICS: dict[str, tuple[type, Any]] = {
    COLOR: (Image, qos.IMAGE),
    DEPTH: (Image, qos.IMAGE),
    "camera_base/color/camera_info": (CameraInfo, qos.IMAGE),
    "camera_base/aligned_depth_to_color/camera_info": (CameraInfo, qos.IMAGE),
    f"{COLOR}/compressed": (CompressedImage, qos.IMAGE),
    f"{DEPTH}/compressedDepth": (CompressedImage, qos.IMAGE),
    "tf_static": (TFMessage, qos.TF_STATIC),
    "diagnostics": (DiagnosticArray, qos.STATUS),
}


class Ear(RosEar):
    """Everything the node says, by topic."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: dict[str, list[Any]] = {name: [] for name in TOPICS}
        for name, (kind, profile) in TOPICS.items():
            self.node.create_subscription(kind, name, self.heard[name].append, profile)

    def diagnosis(self) -> tuple[str, dict[str, str]]:
        """The newest of the camera: (message, values)."""
        if not self.heard["diagnostics"]:
            return "", {}
        status = self.heard["diagnostics"][-1].status[0]
        return status.message, {v.key: v.value for v in status.values}


@pytest.fixture
def ear(domain: int) -> Iterator[Ear]:
    ear = Ear()
    yield ear
    ear.close()


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return tmp_path / "made.db3"


@pytest.fixture
def node(ear: Ear, recording: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    words = [sys.executable, "-m", "reconvla_ros.nodes.camera_node", "--ros-args", "-r", "__node:=camera_base"]
    for parameter in ("source:=realsense", f"recording:={recording}", "width:=64", "height:=48", "patience:=0.4",
                      "calibration:=none"):  # fmt: skip
        words += ["-p", parameter]
    process = subprocess.Popen(words, cwd=tmp_path)  # not from the checkout, which has no generated messages
    yield process
    end(process)


def test_a_camera_may_be_missing_at_first_and_be_lost_later(ear: Ear) -> None:
    """The second severity from one line of code raised in rclpy and ended the camera's thread: it never came back."""
    for grave in (False, True, False):
        CameraNode._tell(ear.node, grave, "said")  # type: ignore[arg-type]


def test_it_waits_for_the_camera_publishes_and_gets_it_back(
    ear: Ear, node: subprocess.Popen[bytes], recording: Path
) -> None:
    ear.until(lambda: "does not exist" in ear.diagnosis()[0], "the diagnostics that name what is missing")
    record(SoftwareCamera("0001"), recording.with_suffix(".part.db3"), FRAMES, 1_700_000_000_000.0)
    recording.with_suffix(".part.db3").rename(recording)
    ear.until(lambda: all(len(ear.heard[name]) >= 5 for name in TOPICS if name.startswith("camera")), "every topic")
    color, depth = ear.heard[COLOR][-1], {m.header.stamp.nanosec: m for m in ear.heard[DEPTH]}
    assert (color.encoding, color.height, color.width, color.header.frame_id) == (
        "rgb8", 48, 64, "camera_base_color_optical_frame")  # fmt: skip
    assert abs(color.header.stamp.sec - time.time()) < 10
    shared = [m for m in ear.heard[COLOR] if m.header.stamp.nanosec in depth]
    assert len(shared) >= 4, "colour and depth carry one stamp"
    twin = depth[shared[-1].header.stamp.nanosec]
    pixels = np.frombuffer(twin.data, np.uint16).reshape(48, 64)
    assert (twin.encoding, np.median(pixels)) == ("16UC1", 500)
    info = ear.heard["camera_base/color/camera_info"][-1]
    assert (info.k[0], info.k[4], info.k[2], info.distortion_model) == (60.0, 61.0, 31.5, "plumb_bob")
    png = ear.heard[f"{DEPTH}/compressedDepth"][-1]
    assert png.format == "16UC1; compressedDepth png"
    assert np.median(np.asarray(PilImage.open(io.BytesIO(bytes(png.data)[12:])))) == 500
    jpeg = np.asarray(PilImage.open(io.BytesIO(bytes(ear.heard[f"{COLOR}/compressed"][-1].data))))
    assert jpeg.shape == (48, 64, 3) and jpeg[:, :, 0].mean() > 200, "red, not blue"
    children = {t.child_frame_id for message in ear.heard["tf_static"] for t in message.transforms}
    assert children == {"camera_base_link", "camera_base_color_frame", "camera_base_color_optical_frame"}
    ear.until(lambda: int(ear.diagnosis()[1].get("recoveries", "0")) >= 2, "the recording ends and is played anew")
    values = ear.diagnosis()[1]
    assert (values["clock"], values["usb"], values["device"]) == ("global_time", "3.2", "Software D435")
    assert node.poll() is None
