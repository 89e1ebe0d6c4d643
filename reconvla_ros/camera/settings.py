"""Settings of one camera node (config/cameras.yaml)."""

from __future__ import annotations

from dataclasses import dataclass

from reconvla_ros.config import param


@dataclass(frozen=True)
class CameraConfig:
    """Where the frames come from, their size and rate, and where the camera sits."""

    source: str = param("sim", "rendered or a RealSense D4xx", options=("sim", "realsense"))
    serial: str = param("", "serial number of the RealSense; empty = the only one connected")
    width: int = param(640, "image width", unit="px", low=16, high=1920)
    height: int = param(480, "image height", unit="px", low=16, high=1080)
    rate: int = param(30, "frames a second", unit="Hz", low=1, high=90)
    jpeg_quality: int = param(90, "of the compressed topic", low=1, high=100)
    parent_frame: str = param("base_link", "frame the camera is fixed to")
    position: tuple[float, ...] = param(
        (0.0, 0.0, 0.0), "of the colour optical frame in parent_frame; sim uses its own", unit="m", length=3
    )
    quaternion: tuple[float, ...] = param(
        (0.0, 0.0, 0.0, 1.0), "x y z w of the colour optical frame in parent_frame; sim uses its own", length=4
    )
    sim_port: int = param(43113, "UDP port of the simulated CAN bus; names the simulator", low=1024, high=65535)
    calibration: str = param(
        "auto", "file of `reconvla calibrate` that says where the camera sits; none = position and quaternion; auto = the "
        "user's file, where there is one, for a real camera, and the true pose in sim",
    )  # fmt: skip
