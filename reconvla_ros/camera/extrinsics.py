"""Where a calibrated camera sits, as `reconvla calibrate` stored it and as the camera nodes read it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reconvla_ros.config import read_yaml
from reconvla_ros.errors import ConfigError, ShapeError, choices
from reconvla_ros.types import Pose

FORMAT = 1
SIMULATED = "simulated"  # serial number of a rendered camera
_KEYS = (
    "parent_frame", "position", "quaternion", "serial", "width", "height", "date", "views", "residual_px", "spread_mm",
    "spread_deg",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class StoredCamera:
    """One camera of a calibration file.

    Attributes:
        parent: frame it is fixed to. pose: of its colour optical frame (REP-103) in that frame.
        serial: of the camera, empty = not known. width, height: of the pictures it was found from [px].
        date: UTC, ISO 8601. views: number of pictures. residual_px: root mean square of what is left [px].
        spread_mm, spread_deg: standard deviation of place and turn, as far as the residuals tell.
    """

    parent: str
    pose: Pose
    serial: str
    width: int
    height: int
    date: str
    views: int
    residual_px: float
    spread_mm: float
    spread_deg: float

    def to_mapping(self) -> dict[str, Any]:
        """For YAML, with a digest over all of it."""
        values = (
            self.parent, [round(float(v), 7) for v in self.pose.position],
            [round(float(v), 9) for v in self.pose.quaternion], self.serial, self.width, self.height, self.date,
            self.views, round(self.residual_px, 3), round(self.spread_mm, 3), round(self.spread_deg, 4),
        )  # fmt: skip
        made: dict[str, Any] = dict(zip(_KEYS, values, strict=True))
        return {**made, "digest": digest(made)}


def digest(values: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a camera's entry without its digest."""
    plain = {key: values.get(key) for key in _KEYS}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def default_path() -> Path:
    """Where the calibration of this user's robot is: RECONVLA_CALIBRATION, else in the user's configuration folder."""
    named = os.environ.get("RECONVLA_CALIBRATION")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Path(named) if named else config / "reconvla_ros" / "calibration.yaml"


def read_cameras(path: Path) -> dict[str, StoredCamera]:
    """The cameras of a calibration file.

    Raises:
        ConfigError: no such file, another format, an entry that was edited or cut.
    """
    data = read_yaml(path)
    if data.get("format") != FORMAT:
        raise ConfigError(f"{path}: format {data.get('format')!r}, this version reads {FORMAT}; run reconvla calibrate")
    cameras = data.get("cameras")
    if not isinstance(cameras, dict):
        raise ConfigError(f"{path}: holds no cameras")
    return {str(name): _camera(path, str(name), values) for name, values in cameras.items()}


def _camera(path: Path, name: str, values: Any) -> StoredCamera:
    if not isinstance(values, dict) or set(values) != {*_KEYS, "digest"}:
        raise ConfigError(f"{path}: {name} must have exactly {', '.join(_KEYS)}, digest; run reconvla calibrate")
    if values["digest"] != digest(values):
        raise ConfigError(
            f"{path}: {name} was edited or cut (its digest does not fit); run reconvla calibrate, or put the pose into "
            "config/cameras.yaml and use calibration:=none"
        )
    try:
        pose = Pose(np.array(values["position"]), np.array(values["quaternion"]))
    except ShapeError as error:
        raise ConfigError(f"{path}: {name}: {error}") from error
    rest = [values[key] for key in _KEYS[3:]]
    return StoredCamera(str(values["parent_frame"]), pose, *rest)


def stored(path: Path, name: str, serial: str) -> StoredCamera:
    """One camera of a file.

    Args:
        serial: of the camera that is to be used; empty = whichever is connected.

    Raises:
        ConfigError: as `read_cameras`; the camera is not in it, or it is of another one.
    """
    cameras = read_cameras(path)
    if name not in cameras:
        raise ConfigError(f"{path}: camera {choices(name, cameras)}")
    found = cameras[name]
    if serial and found.serial and serial != found.serial:
        raise ConfigError(
            f"{path}: {name} was calibrated with camera {found.serial}, but {serial} is to be used; run reconvla calibrate"
        )
    return found
