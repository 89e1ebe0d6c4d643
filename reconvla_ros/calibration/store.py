"""The calibration file: poses that the camera nodes read (camera/extrinsics.py), and markers for the check."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from reconvla_ros.calibration.board import BoardSpec
from reconvla_ros.calibration.geometry import pose_of
from reconvla_ros.calibration.landmarks import Landmark
from reconvla_ros.calibration.run import Result
from reconvla_ros.calibration.views import Views
from reconvla_ros.camera.extrinsics import FORMAT, StoredCamera, read_cameras
from reconvla_ros.config import build, read_yaml
from reconvla_ros.errors import CalibrationError, ConfigError, ShapeError
from reconvla_ros.types import frozen_array

_HEAD = """# Written by `reconvla calibrate`; read by the camera nodes (launch argument calibration:=). Do not edit: a camera's
# digest covers its entry. position [m], quaternion x y z w: the colour optical frame in parent_frame.
"""


@dataclass(frozen=True, eq=False)
class Record:
    """A calibration file: cameras by name, markers of the table, the board it was made with."""

    cameras: dict[str, StoredCamera]
    landmarks: list[Landmark]
    board: BoardSpec


def cameras_of(result: Result, views: Views, date: str) -> dict[str, StoredCamera]:
    """The entries for the file; `date` UTC, ISO 8601."""
    return {
        r.camera: StoredCamera(
            r.parent, pose_of(r.transform), r.serial, views.cameras[r.camera].intrinsics.width,
            views.cameras[r.camera].intrinsics.height, date, r.views, r.px, r.spread_mm, r.spread_deg,
        )
        for r in result.cameras
    }  # fmt: skip


def write(path: Path, cameras: dict[str, StoredCamera], landmarks: Sequence[Landmark], board: BoardSpec) -> Path | None:
    """Write the file at once or not at all; cameras of an older one that are not among these stay.

    Returns:
        Where the older file is kept, or None when there was none.

    Raises:
        CalibrationError: it cannot be written. ConfigError: the older one cannot be read (then nothing is overwritten).
    """
    older = read_cameras(path) if path.exists() else {}
    kept = path.with_suffix(".previous.yaml")
    data: dict[str, Any] = {
        "format": FORMAT,
        "board": asdict(board),
        "cameras": {name: c.to_mapping() for name, c in sorted({**older, **cameras}.items())},
        "landmarks": {
            m.number: {"only": m.only, "corners": [[round(float(v), 6) for v in c] for c in m.corners]}
            for m in landmarks
        },
    }
    new = path.with_suffix(".new.yaml")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with new.open("w", encoding="utf-8") as file:
            file.write(_HEAD + yaml.safe_dump(data, sort_keys=False, width=120))
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            kept.write_bytes(path.read_bytes())
        new.replace(path)
    except OSError as error:
        raise CalibrationError(f"{path} cannot be written: {error}") from error
    return kept if older else None


def read(path: Path) -> Record:
    """A calibration file.

    Raises:
        ConfigError: there is none, it was edited or cut.
    """
    cameras, data = read_cameras(path), read_yaml(path)
    landmarks = []
    for number, entry in (data.get("landmarks") or {}).items():
        try:
            corners = frozen_array(f"landmarks.{number}", np.array(entry["corners"]), (4, 3))
            landmarks.append(Landmark(int(number), corners, str(entry.get("only", ""))))
        except (ShapeError, ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"{path}: {error}") from error
    return Record(cameras, landmarks, build(BoardSpec, data.get("board") or {}, where="board"))
