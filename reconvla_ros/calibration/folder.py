"""Views as a folder: pictures as PNG, joints and cameras in views.yaml. What a guided session leaves, or anybody makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from reconvla_ros.calibration.views import CameraFacts, Moment, Picture, Views, facts
from reconvla_ros.config import read_yaml
from reconvla_ros.errors import CalibrationError, ConfigError, ShapeError
from reconvla_ros.types import CameraIntrinsics

INDEX = "views.yaml"
_PINHOLE = ("width", "height", "fx", "fy", "cx", "cy")


def save(folder: Path, views: Views) -> None:
    """Write `views` into a new or empty folder.

    Raises:
        CalibrationError: the folder holds something, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise CalibrationError(f"folder {folder} is not empty; name a new one")
        rows = []
        for number, moment in enumerate(views.moments):
            pictures = {}
            for camera, picture in moment.pictures.items():
                name = f"{number:03d}_{camera}.png"
                (folder / name).write_bytes(cv2.imencode(".png", picture.grey)[1].tobytes())
                pictures[camera] = {"file": name, "stamp_ns": int(picture.stamp_ns)}
            joints = [round(float(v), 7) for v in moment.joints]
            rows.append({"name": moment.name, "place": moment.place, "joints": joints, "stamp_ns": int(moment.stamp_ns),
                         "pictures": pictures})  # fmt: skip
        index = {"dh_variant": views.variant, "cameras": {n: _facts_out(f) for n, f in views.cameras.items()}}
        (folder / INDEX).write_text(yaml.safe_dump({**index, "views": rows}, sort_keys=False, width=120))
    except OSError as error:
        raise CalibrationError(f"folder {folder} cannot be written: {error}") from error


def _facts_out(camera: CameraFacts) -> dict[str, Any]:
    i = camera.intrinsics
    pinhole = {key: getattr(i, key) for key in _PINHOLE}
    return {"serial": camera.serial, **pinhole, "distortion": [float(v) for v in i.distortion]}


def load(folder: Path) -> Views:
    """Read a folder.

    Raises:
        CalibrationError: no index, a key that is missing or unknown, a picture that cannot be read, joints that are not
            finite, a picture and joints that are apart in time.
    """
    try:
        data = read_yaml(folder / INDEX)
    except ConfigError as error:
        raise CalibrationError(f"folder {folder}: {error}") from error
    where = folder / INDEX
    _require(where, "the file", data, ("cameras", "views"), ("dh_variant",))
    if not isinstance(data["cameras"], dict) or not isinstance(data["views"], list):
        raise CalibrationError(f"{where}: cameras must be a mapping and views a list")
    if data.get("dh_variant", 1) not in (0, 1):
        raise CalibrationError(f"{where}: dh_variant must be 0 or 1, got {data['dh_variant']!r}")
    cameras = {str(name): facts(str(name), *_facts_in(where, str(name), v)) for name, v in data["cameras"].items()}
    return Views(cameras, [_moment(folder, n, row) for n, row in enumerate(data["views"])], data.get("dh_variant", 1))


def _require(where: Path, what: str, values: Any, needed: Sequence[str], free: Sequence[str] = ()) -> None:
    if not isinstance(values, Mapping):
        raise CalibrationError(f"{where}: {what}: expected a mapping, got {values!r:.60}")
    missing = [key for key in needed if key not in values]
    unknown = [key for key in values if key not in (*needed, *free)]
    if missing or unknown:
        wrong = f"lacks {', '.join(missing)}" if missing else f"has unknown {', '.join(map(str, unknown))}"
        raise CalibrationError(f"{where}: {what} {wrong} (keys: {', '.join((*needed, *free))})")


def _facts_in(where: Path, name: str, values: Any) -> tuple[CameraIntrinsics | None, str]:
    if not values:
        return None, ""
    _require(where, name, values, _PINHOLE, ("serial", "distortion"))
    try:
        pinhole = {key: values[key] for key in _PINHOLE}
        found = CameraIntrinsics(**pinhole, distortion=np.array(values.get("distortion", np.zeros(5))))
    except (ShapeError, TypeError) as error:
        raise CalibrationError(f"{where}: {name}: {error}") from error
    return found, str(values.get("serial", ""))


def _moment(folder: Path, number: int, row: Any) -> Moment:
    where = folder / INDEX
    _require(where, f"view {number}", row, ("joints", "stamp_ns", "pictures"), ("name", "place"))
    pictures = {}
    for camera, entry in (row["pictures"] or {}).items():
        _require(where, f"view {number}, {camera}", entry, ("file", "stamp_ns"))
        file = folder / str(entry["file"])
        grey = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) if file.is_file() else None
        if grey is None:
            raise CalibrationError(f"{where}: view {number}: {file} is not there or not a picture")
        pictures[str(camera)] = Picture(np.asarray(grey, dtype=np.uint8), int(entry["stamp_ns"]))
    name, place = str(row.get("name", number)), str(row.get("place", "table"))
    return Moment(name, row["joints"], int(row["stamp_ns"]), pictures, place)
