"""What a calibration is made of: moments at which the arm stood still, each with its joints and a picture per camera."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reconvla_ros.calibration.detect import Corners, Detector, Grey
from reconvla_ros.errors import CalibrationError, ShapeError, choices
from reconvla_ros.types import CameraIntrinsics, Float, frozen_array

BASE, FLANGE = "base_link", "link6"
PARENTS = {"camera_base": BASE, "camera_wrist": FLANGE}  # what each camera is fixed to
HELD = "held"  # a board in the gripper; any other name is a place on the table
MAX_APART = 0.05  # [s] between a picture and the joints it is used with


@dataclass(frozen=True, eq=False)
class CameraFacts:
    """One camera: its pinhole, the frame it is fixed to, its serial number (empty = not known)."""

    intrinsics: CameraIntrinsics
    parent: str
    serial: str = ""


@dataclass(frozen=True, eq=False)
class Picture:
    """Grey levels (H, W) uint8 and the capture stamp [ns]."""

    grey: Grey
    stamp_ns: int


@dataclass(frozen=True, eq=False)
class Moment:
    """One standstill.

    Attributes:
        name: to call it by in messages.
        joints: (6,) [rad], at stamp_ns [ns].
        pictures: by camera.
        place: where the board was: HELD, or any name of a place on the table; it has not moved within one place.
    """

    name: str
    joints: Float
    stamp_ns: int
    pictures: Mapping[str, Picture]
    place: str = "table"

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "joints", frozen_array("joints", self.joints, (6,)))
        except ShapeError as error:
            raise CalibrationError(f"view {self.name}: {error}") from error
        for camera, picture in self.pictures.items():
            late = (picture.stamp_ns - self.stamp_ns) * 1e-9
            if abs(late) > MAX_APART:
                raise CalibrationError(
                    f"view {self.name}: picture of {camera} and joints are {abs(late):.3f} s apart, "
                    f"allowed {MAX_APART:g} s; is one clock of the two off, or a stream too slow?"
                )


@dataclass(frozen=True, eq=False)
class Views:
    """All moments of one calibration; `variant` is the arm's `dh_is_offset` (by firmware)."""

    cameras: Mapping[str, CameraFacts]
    moments: Sequence[Moment]
    variant: int = 1


@dataclass(frozen=True, eq=False)
class Sighting:
    """The board in one picture: camera, index of the moment, place of the board, corners."""

    camera: str
    moment: int
    place: str
    corners: Corners


def facts(camera: str, intrinsics: CameraIntrinsics | None, serial: str = "") -> CameraFacts:
    """The facts of a camera by its name.

    Raises:
        CalibrationError: no such camera, or no intrinsics.
    """
    if camera not in PARENTS:
        raise CalibrationError(f"camera: {choices(camera, PARENTS)}")
    if intrinsics is None:
        raise CalibrationError(
            f"{camera}: no intrinsics; they come with {camera}/color/camera_info (in a folder: cameras in views.yaml)"
        )
    return CameraFacts(intrinsics, PARENTS[camera], serial)


def sight(views: Views, detector: Detector) -> list[Sighting]:
    """Every sighting of the board that says something of a camera's place.

    Raises:
        CalibrationError: the board is in no picture (with the likely reason), or a picture is not of its camera's size.
    """
    found: list[Sighting] = []
    why: list[str] = []
    for index, moment in enumerate(views.moments):
        for camera, picture in moment.pictures.items():
            _require_size(camera, moment, picture, views)
            if camera == "camera_wrist" and moment.place == HELD:
                continue  # the board moves with the camera
            corners = detector.board(picture.grey)
            if corners is not None:
                found.append(Sighting(camera, index, moment.place, corners))
            elif not why:
                why.append(f"view {moment.name}, {camera}: {detector.why_not(picture.grey)}")
    if not found:
        number = sum(len(m.pictures) for m in views.moments)
        reason = f"; e.g. {why[0]}" if why else ""
        raise CalibrationError(f"the board ({detector.spec}) is in none of {number} pictures{reason}")
    return found


def _require_size(camera: str, moment: Moment, picture: Picture, views: Views) -> None:
    if camera not in views.cameras:
        raise CalibrationError(f"view {moment.name}: picture of {camera}, but no intrinsics of it")
    i = views.cameras[camera].intrinsics
    if picture.grey.shape != (i.height, i.width):
        height, width = picture.grey.shape
        raise CalibrationError(
            f"view {moment.name}: picture of {camera} is {width}x{height}, its intrinsics are for {i.width}x{i.height}"
        )


def turn_spread(flanges: Sequence[Float]) -> float:
    """How far [rad] the flange (4, 4) each turned about the second of its main axes, root mean square.

    Turns about one axis alone do not tell where a camera sits along that axis.
    """
    from scipy.spatial.transform import Rotation

    if len(flanges) < 3:  # two differ about one axis at most
        return 0.0
    turns = Rotation.from_matrix(np.array([f[:3, :3] for f in flanges]))
    steps = (turns.mean().inv() * turns).as_rotvec()
    return float(np.linalg.svd(steps, compute_uv=False)[1] / np.sqrt(len(steps)))
