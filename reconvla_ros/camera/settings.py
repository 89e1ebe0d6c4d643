"""Settings of one camera node (config/cameras.yaml)."""

from __future__ import annotations

from dataclasses import dataclass

from reconvla_ros.config import param

# librealsense's numbers (rs2_rs400_visual_preset; RS2_OPTION_EMITTER_ENABLED: 0 off, 1 laser, 2 automatic)
PRESETS = {"default": 1, "hand": 2, "high_accuracy": 3, "high_density": 4, "medium_density": 5}
EMITTER = {"off": 0, "on": 1, "auto": 2}


@dataclass(frozen=True)
class CameraConfig:
    """Where the frames come from, their size and rate, and where the camera sits."""

    source: str = param("sim", "rendered or a RealSense D4xx", options=("sim", "realsense"))
    serial: str = param("", "serial number of the RealSense; empty = the only one connected")
    recording: str = param("", "a .db3 or .bag of librealsense to play instead of a camera; empty = a camera")
    width: int = param(640, "image width", unit="px", low=16, high=1920)
    height: int = param(480, "image height", unit="px", low=16, high=1080)
    rate: int = param(30, "frames a second", unit="Hz", low=1, high=90)
    clock: str = param(
        "global",
        "RealSense: whose clock stamps: global = librealsense maps the camera's to the host's; hardware = this "
        "package does, by the smallest delay seen",
        options=("global", "hardware"),
    )
    stamp_offset: float = param(
        0.0,
        "taken from every stamp (in sim, too): what `reconvla skew` found for this camera",
        unit="s",
        low=-0.5,
        high=0.5,
    )
    patience: float = param(
        2.0, "a camera without a whole frame for so long is opened anew", unit="s", low=0.3, high=60.0
    )
    preset: str = param("keep", "RealSense: visual preset of the depth", options=("keep", *PRESETS))
    exposure: float = param(0.0, "RealSense: of colour; 0 = automatic", unit="us", low=0.0, high=1e6)
    depth_exposure: float = param(0.0, "RealSense: of depth; 0 = automatic", unit="us", low=0.0, high=1e6)
    emitter: str = param("keep", "RealSense: the infrared projector", options=("keep", *EMITTER))
    decimation: int = param(
        1, "RealSense: depth is thinned by this factor before it is aligned; 1 = not", low=1, high=8
    )
    steady_rate: bool = param(True, "RealSense: automatic exposure may not lower the frame rate in the dark")
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
