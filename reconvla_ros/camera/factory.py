"""Which camera a configuration means, and where it sits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reconvla_ros.camera import extrinsics
from reconvla_ros.camera.protocol import Camera
from reconvla_ros.camera.settings import CameraConfig
from reconvla_ros.types import Pose

# Sources are imported when they are chosen: a robot needs no MuJoCo and a simulation no librealsense.


def make(config: CameraConfig, name: str) -> Camera:
    """The camera `name`, not opened yet."""
    if config.source == "sim":
        from reconvla_ros.camera.sim import SimCamera
        from reconvla_ros.sim.bus import BusConfig
        from reconvla_ros.sim.shared_state import path_for

        state = path_for(BusConfig(port=config.sim_port).name)
        return SimCamera(name, state, None, config.width, config.height, float(config.rate), config.stamp_offset)
    from reconvla_ros.camera.realsense import RealSenseCamera

    return RealSenseCamera(name, config)


def calibration(config: CameraConfig, name: str) -> extrinsics.StoredCamera | None:
    """What `reconvla calibrate` stored for this camera; None when nothing did, or nothing is wanted.

    Raises:
        ConfigError: a file that was named, or that is there, and does not fit this camera.
    """
    if config.calibration == "none":
        return None
    simulated = config.source == "sim"
    if config.calibration != "auto":
        path = Path(config.calibration).expanduser()
        return extrinsics.stored(path, name, extrinsics.SIMULATED if simulated else config.serial)
    path = extrinsics.default_path()
    if simulated or not path.is_file() or name not in extrinsics.read_cameras(path):
        return None
    return extrinsics.stored(path, name, config.serial)


def mount(config: CameraConfig, name: str) -> tuple[str, Pose]:
    """(parent frame, pose of the colour optical frame in it): as calibrated, else true in sim, else as configured.

    Raises:
        ConfigError: as `calibration`.
    """
    stored = calibration(config, name)
    if stored is not None:
        return stored.parent, stored.pose
    if config.source == "sim":
        from reconvla_ros.camera.sim import mounting

        true = mounting(name)
        return true.parent, true.pose
    return config.parent_frame, Pose(np.array(config.position), np.array(config.quaternion))
