"""Whether a camera still sits where it was calibrated: by markers that stay on the table, or by the board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.calibration.detect import LEAST, Detector
from reconvla_ros.calibration.geometry import board_poses, inverse, matrix, project, rms
from reconvla_ros.calibration.landmarks import camera_in_base
from reconvla_ros.calibration.store import Record
from reconvla_ros.calibration.views import BASE, HELD, Moment, Views
from reconvla_ros.errors import CalibrationError
from reconvla_ros.types import Float


@dataclass(frozen=True)
class Bounds:
    """A camera counts as moved when what it sees is off by more than both: [px] in the picture, [mm] at the thing seen."""

    px: float = 1.5
    mm: float = 2.0


class Verdict(Enum):
    """What follows; the value is the exit status."""

    FITS = 0
    MOVED = 1


@dataclass(frozen=True)
class Finding:
    """What one camera sees of one thing against what was stored: median over the pictures."""

    camera: str
    thing: str
    pictures: int
    px: float
    mm: float
    off: bool


@dataclass(frozen=True)
class CheckResult:
    """All findings and what they say, in words."""

    verdict: Verdict
    words: list[str]
    findings: list[Finding]


def check(record: Record, views: Views, bounds: Bounds | None = None) -> CheckResult:
    """Compare pictures with what is stored.

    Raises:
        CalibrationError: a camera that is not in the file or is another one; nothing in view that could tell.
    """
    bounds = bounds if bounds is not None else Bounds()
    _require_same(record, views)
    cameras = {name: matrix(record.cameras[name].pose) for name in views.cameras}
    detector, kinematics = Detector(record.board), Kinematics(views.variant)
    flanges = [kinematics.flange(m.joints) for m in views.moments]
    offs: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for moment, flange in zip(views.moments, flanges, strict=True):
        eyes = {name: camera_in_base(views, cameras, name, flange) for name in moment.pictures}
        _see_markers(record, views, detector, moment, eyes, offs)
        _see_board(views, detector, moment, eyes, offs)
    findings = []
    for (camera, thing), pairs in sorted(offs.items()):
        px, mm = (float(v) for v in np.median(np.array(pairs), axis=0))
        findings.append(Finding(camera, thing, len(pairs), px, mm, px > bounds.px and mm > bounds.mm))
    if not findings:
        known = ", ".join(str(m.number) for m in record.landmarks) or "none"
        raise CalibrationError(
            f"nothing in view tells whether a camera moved: needed is a marker of the table (known: {known}) in the "
            "picture, or the board on the table in both pictures at once"
        )
    return CheckResult(*_judge(findings, views), findings)


def _require_same(record: Record, views: Views) -> None:
    for name, facts in views.cameras.items():
        stored = record.cameras.get(name)
        if stored is None:
            raise CalibrationError(f"{name}: not calibrated yet (the file holds {', '.join(record.cameras) or 'none'})")
        if stored.serial and facts.serial and stored.serial != facts.serial:
            raise CalibrationError(
                f"{name}: calibrated was camera {stored.serial}, this is {facts.serial}; calibrate anew"
            )


_Offs = dict[tuple[str, str], list[tuple[float, float]]]


def _compare(views: Views, camera: str, eye: Float, points: Float, pixels: Float) -> tuple[float, float]:
    """Seen against predicted [px], and that at the distance of the points [mm]."""
    intrinsics = views.cameras[camera].intrinsics
    in_camera = inverse(eye)
    px = rms(project(points, in_camera, intrinsics) - pixels)
    depth = float(np.mean((points @ in_camera[:3, :3].T + in_camera[:3, 3])[:, 2]))
    return px, px * abs(depth) / intrinsics.fx * 1e3


def _see_markers(
    record: Record, views: Views, detector: Detector, moment: Moment, eyes: dict[str, Float], offs: _Offs
) -> None:
    for camera, picture in moment.pictures.items():
        seen = detector.markers(picture.grey)
        for landmark in record.landmarks:
            if landmark.number in seen and landmark.only in ("", camera):
                off = _compare(views, camera, eyes[camera], landmark.corners, seen[landmark.number])
                offs.setdefault((camera, f"marker {landmark.number}"), []).append(off)


def _see_board(views: Views, detector: Detector, moment: Moment, eyes: dict[str, Float], offs: _Offs) -> None:
    """The board as the wrist camera locates it, in the picture of the camera at the base.

    Compared are corners that both see: beyond those that the wrist camera saw, its pose of the board is extrapolated.
    """
    hand = next((n for n in moment.pictures if views.cameras[n].parent != BASE), None)
    base = next((n for n in moment.pictures if views.cameras[n].parent == BASE), None)
    if hand is None or base is None or moment.place == HELD:
        return
    here, there = (detector.board(moment.pictures[n].grey) for n in (hand, base))
    if here is None or there is None:
        return
    both = np.isin(there.ids, here.ids)
    if np.sum(both) < LEAST:
        return
    grid = detector.spec.corners
    poses = board_poses(grid[here.ids], here.pixels, views.cameras[hand].intrinsics)
    if poses:
        ids = there.ids[both]
        points = (eyes[hand] @ poses[0] @ np.column_stack([grid[ids], np.ones(len(ids))]).T).T[:, :3]
        off = _compare(views, base, eyes[base], points, there.pixels[both])
        offs.setdefault((f"{base} against {hand}", "board"), []).append(off)


def _judge(findings: Sequence[Finding], views: Views) -> tuple[Verdict, list[str]]:
    """A camera that is off at half of its markers moved; one marker that is off alone was moved itself."""
    words, moved = list[str](), list[str]()
    markers = [f for f in findings if f.thing != "board"]
    for camera in views.cameras:
        mine = [f for f in markers if f.camera == camera]
        off = [f for f in mine if f.off]
        if not mine:
            words.append(f"{camera}: sees no marker of the table; nothing can be said of it alone")
        elif 2 * len(off) >= len(mine) and off:
            moved.append(camera)
            worst = max(off, key=lambda f: f.mm)
            words.append(f"{camera}: MOVED: {worst.thing} is {worst.mm:.1f} mm ({worst.px:.1f} px) from where it was")
        else:
            words.append(f"{camera}: sits where it was ({max(f.mm for f in mine if not f.off):.1f} mm at its markers)")
            words += [f"{f.thing} alone is {f.mm:.1f} mm off: it was moved itself, or covered" for f in off]
    board = [f for f in findings if f.thing == "board"]
    if board and board[0].off:
        apart = f"the cameras see the board {board[0].mm:.1f} mm ({board[0].px:.1f} px) apart"
        words.append(f"{apart}: one of them MOVED" + (f", {moved[0]}" if len(moved) == 1 else ""))
    elif board:
        words.append(f"both cameras see the board in the same place within {board[0].mm:.1f} mm")
    if len(moved) == len(views.cameras) and len(moved) > 1:
        words.append("both cameras are off: if neither was touched, the base of the arm or the table was")
    bad = bool(moved) or bool(board and board[0].off)
    if bad:
        words.append("run `reconvla calibrate`")
    return (Verdict.MOVED if bad else Verdict.FITS), words
