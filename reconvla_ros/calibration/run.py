"""From views to camera poses with what is left of the residuals; everything that speaks against the result is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.calibration.board import BoardSpec
from reconvla_ros.calibration.closed_form import Problem
from reconvla_ros.calibration.detect import Detector
from reconvla_ros.calibration.geometry import apart, board_poses, rms
from reconvla_ros.calibration.landmarks import Landmark, locate
from reconvla_ros.calibration.solve import Solution, covariance, solve
from reconvla_ros.calibration.views import BASE, HELD, Sighting, Views, sight, turn_spread
from reconvla_ros.errors import CalibrationError
from reconvla_ros.types import Float


@dataclass(frozen=True)
class Rules:
    """What a calibration must fulfil to be stored. The defaults are ours, from the simulated table of the how-to.

    Attributes:
        views: least pictures with the board in which the arm moved camera and board against each other.
        turn: least `turn_spread` [rad].
        residual: largest root mean square of what is left [px].
        scale: largest deviation of the board's size by the arm's motion from what was said [1].
        spread_mm, spread_deg: largest standard deviation of a camera's place and turn.
    """

    views: int = 6
    turn: float = float(np.radians(8.0))
    residual: float = 1.0
    scale: float = 0.01
    spread_mm: float = 4.0
    spread_deg: float = 0.4


@dataclass(frozen=True)
class ViewRow:
    """One picture: corners used, residual [px], board seen against board predicted [mm], [deg]; `left_out` = it fits nothing."""

    camera: str
    view: str
    place: str
    corners: int
    px: float
    mm: float
    deg: float
    left_out: bool = False


@dataclass(frozen=True, eq=False)
class CameraReport:
    """One camera: pose in its parent (4, 4), pictures, corners, residuals, standard deviation of place and turn."""

    camera: str
    parent: str
    serial: str
    transform: Float
    views: int
    corners: int
    px: float
    mm: float
    deg: float
    spread_mm: float
    spread_deg: float


@dataclass(frozen=True, eq=False)
class Result:
    """Everything: per camera, per picture, size of the board by the arm's motion, markers, remarks."""

    cameras: list[CameraReport]
    rows: list[ViewRow]
    scale: float
    scale_spread: float
    turn: float
    landmarks: list[Landmark]
    notes: list[str]


def calibrate(
    views: Views, spec: BoardSpec, rules: Rules | None = None, sightings: Sequence[Sighting] | None = None
) -> Result:
    """Find every camera of `views`.

    Args:
        sightings: of the board, where they are known already; else they are looked for in the pictures.

    Raises:
        CalibrationError: the board is not seen, too few views or too much alike, another size of board, residuals or
            spread beyond the rules; each names what, how much and what was needed.
    """
    rules = rules if rules is not None else Rules()
    detector, kinematics = Detector(spec), Kinematics(views.variant)
    flanges = [kinematics.flange(m.joints) for m in views.moments]
    found = list(sightings) if sightings is not None else sight(views, detector)
    turn = _require_enough(views, found, flanges, rules)
    problem = Problem(views.cameras, flanges, spec.corners, found)
    sized = solve(problem, with_scale=True)
    _require_size(sized, spec, rules)
    solution = solve(problem)
    reports = [_report(views, solution, camera) for camera in sorted(solution.cameras)]
    for report in reports:
        _require_good(report, rules)
    table = [float(board[2, 3]) for place, board in solution.boards.items() if place != HELD]
    landmarks = locate(views, detector, solution.cameras, flanges, float(np.mean(table)) if table else 0.0)
    rows = _rows(views, problem, solution)
    return Result(reports, rows, sized.scale, sized.scale_spread, turn, landmarks, _notes(views, solution, landmarks))


def _require_enough(views: Views, found: Sequence[Sighting], flanges: Sequence[Float], rules: Rules) -> float:
    """The spread of turns [rad] of the moments that tie a camera to the arm."""
    for camera in views.cameras:
        if not any(s.camera == camera for s in found):
            raise CalibrationError(
                f"{camera}: the board is in none of its pictures; bring it into view, or calibrate the other camera alone "
                f"(--camera {next((c for c in views.cameras if c != camera), camera)})"
            )
    tied = sorted({s.moment for s in found if (views.cameras[s.camera].parent == BASE) == (s.place == HELD)})
    cameras = ", ".join(views.cameras)
    if not tied and all(f.parent == BASE for f in views.cameras.values()):
        raise CalibrationError(
            f"{cameras}: the board lay on the table, which tells nothing of a camera that does not move either; let "
            "camera_wrist see it too, or put it into the gripper (--place held)"
        )
    if len(tied) < rules.views:
        raise CalibrationError(
            f"{cameras}: too few views: the arm moved camera and board against each other in {len(tied)} pictures with "
            f"the board, {rules.views} are needed"
        )
    turn = turn_spread([flanges[m] for m in tied])
    if turn < rules.turn:
        raise CalibrationError(
            f"{cameras}: the views are too much alike: the flange turned by {np.degrees(turn):.1f} deg about its second "
            f"axis, {np.degrees(rules.turn):g} are needed; tilt the wrist to several sides, not about one axis only"
        )
    return turn


def _require_size(sized: Solution, spec: BoardSpec, rules: Rules) -> None:
    off = abs(sized.scale - 1.0)
    if off > max(rules.scale, 4.0 * sized.scale_spread):
        raise CalibrationError(
            f"board: by the arm's motion its squares measure {spec.square * sized.scale * 1e3:.2f} mm (within "
            f"{spec.square * sized.scale_spread * 1e3:.2f}), told {spec.square * 1e3:g} mm; measure the print (printed "
            "at 100 %?) and say --square-mm and --marker-mm"
        )


def _require_good(report: CameraReport, rules: Rules) -> None:
    for what, value, most, unit in (
        ("residual", report.px, rules.residual, "px"),
        ("standard deviation of the place", report.spread_mm, rules.spread_mm, "mm"),
        ("standard deviation of the turn", report.spread_deg, rules.spread_deg, "deg"),
    ):
        if not value <= most:
            raise CalibrationError(
                f"{report.camera}: {what} {value:.2f} {unit}, allowed {most:g}: the views do not agree (did the board "
                "move, the arm still swing, are the intrinsics of this camera?) or are too few"
            )


def _report(views: Views, solution: Solution, camera: str) -> CameraReport:
    mine = [(s, r) for s, r in zip(solution.used, solution.residuals, strict=True) if s.camera == camera]
    mm, deg = np.sqrt(np.mean(np.square([_off(solution, s) for s, _ in mine]), axis=0)).tolist()
    spread = covariance(solution, camera)
    turn, place = (float(np.sqrt(np.trace(spread[part, part]))) for part in (slice(0, 3), slice(3, 6)))
    facts = views.cameras[camera]
    return CameraReport(
        camera, facts.parent, facts.serial, solution.cameras[camera], len(mine), sum(len(r) for _, r in mine),
        rms(np.vstack([r for _, r in mine])), mm, deg, place * 1e3, float(np.degrees(turn)),
    )  # fmt: skip


def _off(solution: Solution, sighting: Sighting) -> tuple[float, float]:
    """Board seen in this one picture against board predicted: its middle [mm] and its turn [deg]."""
    problem = solution.problem
    predicted = solution.board_in_camera(sighting)
    seen = board_poses(
        problem.grid[sighting.corners.ids], sighting.corners.pixels, problem.cameras[sighting.camera].intrinsics
    )
    if not seen:
        return float("nan"), float("nan")
    nearest = min(seen, key=lambda pose: apart(pose, predicted)[1])
    middle = np.append(problem.grid.mean(axis=0), 1.0)
    return float(np.linalg.norm((nearest - predicted) @ middle)) * 1e3, float(np.degrees(apart(nearest, predicted)[1]))


def _rows(views: Views, problem: Problem, solution: Solution) -> list[ViewRow]:
    rows = []
    for s, r in zip(solution.used, solution.residuals, strict=True):
        name = views.moments[s.moment].name
        rows.append(ViewRow(s.camera, name, s.place, len(s.corners.ids), rms(r), *_off(solution, s)))
    for s in solution.dropped:
        name, nan = views.moments[s.moment].name, float("nan")
        rows.append(ViewRow(s.camera, name, s.place, len(s.corners.ids), nan, *_off(solution, s), left_out=True))
    return sorted(rows, key=lambda row: (row.camera, row.place, row.view.zfill(4)))


def _notes(views: Views, solution: Solution, landmarks: Sequence[Landmark]) -> list[str]:
    notes = []
    if solution.dropped:
        notes.append(f"{len(solution.dropped)} pictures fit none of the others and were left out (marked in the table)")
    for camera, facts in views.cameras.items():
        places = {s.place for s in solution.used if s.camera == camera}
        if facts.parent == BASE and HELD not in places and len(places) == 1:
            notes.append(f"{camera} rests on one place of the board; three or four places halve its error")
    if not landmarks:
        notes.append(
            "no single marker was seen: --check will need the board in view of both cameras; glue a marker of "
            "the board's dictionary, with a number that is not on the board, to the table"
        )
    return notes
