"""Poses of cameras and boards from sightings: closed form first, then least squares over all reprojections together.

Unknown are the pose of each camera in what it is fixed to (base_link or the flange) and the pose of the board in each
of its places (in base_link on the table, in the flange when held). Every sighting ties one of each through the
measured joints, so a board on the table that both cameras see carries what is known of one camera over to the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from reconvla_ros.calibration.closed_form import Problem, begin, board_in_camera
from reconvla_ros.calibration.detect import Corners
from reconvla_ros.calibration.geometry import (
    cross,
    moved,
    project,
    slope,
    step_slope,
)  # fmt: skip
from reconvla_ros.calibration.views import Sighting
from reconvla_ros.types import Float

TRIES = 100  # evaluations; a dozen are enough where a solution exists, and without one the residual says so
SOFT = 1.0  # [px] residuals beyond it count linearly while outliers are being looked for
# A sighting this many times worse than the median, and at least so many px, is left out; likewise single corners of
# the others, some of which lie on the edge of a finger.
OUTLIER, OUTLIER_LEAST = 4.0, 1.5
CORNER, CORNER_LEAST = 3.5, 1.0
KEEP = 4  # corners that a sighting needs after that


@dataclass(frozen=True, eq=False)
class Solution:
    """What came out.

    Attributes:
        cameras: pose of the optical frame in its parent (4, 4), by camera.
        boards: pose of the board in base_link, or in link6 for HELD (4, 4), by place.
        used, dropped: sightings that were used, and those that fit nothing.
        residuals: per used sighting (N, 2) [px], seen minus predicted.
        slopes: derivative of all residuals, in order, by the steps of `order` (2 sum N, 6 K), as `geometry.moved`.
        order: what each six columns of `slopes` move: ("camera", name) or ("board", place).
        scale: size of the printed board against what was said; 1 unless it was asked for.
    """

    problem: Problem
    cameras: dict[str, Float]
    boards: dict[str, Float]
    used: list[Sighting]
    dropped: list[Sighting]
    residuals: list[Float]
    slopes: Float
    order: list[tuple[str, str]]
    scale: float = 1.0
    scale_spread: float = 0.0

    def board_in_camera(self, sighting: Sighting) -> Float:
        """Where the board was in the camera (4, 4), predicted."""
        return board_in_camera(self.problem, self.cameras, self.boards, sighting)


def solve(problem: Problem, with_scale: bool = False) -> Solution:
    """Solve; `with_scale` also asks how large the board is against what was said.

    Raises:
        CalibrationError: a camera that saw the board only where nothing tells where the board was.
    """
    cameras, boards = begin(problem)
    rough = _refine(problem, cameras, boards, list(problem.sightings), with_scale, "soft_l1")
    used, dropped = _fitting(rough)
    if {s.camera for s in used} != set(cameras) or {s.place for s in used} != set(boards):
        used, dropped = list(problem.sightings), []
    solution = _refine(problem, rough.cameras, rough.boards, used, with_scale, "linear")
    solution.dropped.extend(dropped)
    return solution


def _fitting(rough: Solution) -> tuple[list[Sighting], list[Sighting]]:
    """(sightings that fit the rest, without corners that do not, and sightings that do not fit)."""
    lengths = [np.linalg.norm(r, axis=1) for r in rough.residuals]
    typical = float(np.median([np.median(n) for n in lengths]))
    used, dropped = list[Sighting](), list[Sighting]()
    for sighting, length in zip(rough.used, lengths, strict=True):
        good = length <= max(CORNER * max(typical, float(np.median(length))), CORNER_LEAST)
        if float(np.median(length)) > max(OUTLIER * typical, OUTLIER_LEAST) or np.sum(good) < KEEP:
            dropped.append(sighting)
        else:
            kept = Corners(sighting.corners.ids[good], sighting.corners.pixels[good])
            used.append(Sighting(sighting.camera, sighting.moment, sighting.place, kept))
    return used, dropped


class _Fit:
    """Residuals and their slopes as functions of the steps that move every unknown from where it began."""

    def __init__(
        self, problem: Problem, cameras: Mapping[str, Float], boards: Mapping[str, Float], used: list[Sighting],
        with_scale: bool,
    ) -> None:  # fmt: skip
        self.problem, self.used, self.with_scale = problem, used, with_scale
        self._start = {("camera", n): t for n, t in sorted(cameras.items())}
        self._start |= {("board", n): t for n, t in sorted(boards.items())}
        self.order = list(self._start)
        self.size = 6 * len(self.order) + with_scale

    def scale(self, steps: Float) -> float:
        """Size of the printed board against what was said."""
        return 1.0 + float(steps[-1]) if self.with_scale else 1.0

    def unpack(self, steps: Float, kind: str) -> dict[str, Float]:
        """Poses of one kind after the steps."""
        return {
            name: moved(self._start[what, name], steps[6 * k : 6 * k + 6])
            for k, (what, name) in enumerate(self.order)
            if what == kind
        }

    def residuals(self, steps: Float) -> list[Float]:
        """Seen minus predicted, per sighting (N, 2) [px]."""
        cameras, boards, scale = self.unpack(steps, "camera"), self.unpack(steps, "board"), self.scale(steps)
        return [
            s.corners.pixels
            - project(scale * self.problem.grid[s.corners.ids], board_in_camera(self.problem, cameras, boards, s),
                      self.problem.cameras[s.camera].intrinsics)
            for s in self.used
        ]  # fmt: skip

    def flat(self, steps: Float) -> Float:
        """All of them in a row."""
        return np.concatenate([r.ravel() for r in self.residuals(steps)])

    def slopes(self, steps: Float) -> Float:
        """Derivative of `flat` by the steps."""
        cameras, boards, scale = self.unpack(steps, "camera"), self.unpack(steps, "board"), self.scale(steps)
        turns = [step_slope(steps[6 * k : 6 * k + 6]) for k in range(len(self.order))]
        blocks = []
        for s in self.used:
            pose = board_in_camera(self.problem, cameras, boards, s)
            grid = self.problem.grid[s.corners.ids]
            points = scale * grid
            by_place = slope(points, pose, self.problem.cameras[s.camera].intrinsics)  # (N, 2, 3)
            by_board = by_place @ pose[:3, :3]
            block = np.zeros((2 * len(points), self.size))
            c, b = self.order.index(("camera", s.camera)), self.order.index(("board", s.place))
            # A step of the camera moves the points the other way; a step of the board moves them in the board's frame.
            seen = points @ pose[:3, :3].T + pose[:3, 3]
            camera = np.concatenate([by_place @ cross(seen), -by_place], axis=2).reshape(-1, 6)
            board = np.concatenate([-by_board @ cross(points), by_board], axis=2).reshape(-1, 6)
            block[:, 6 * c : 6 * c + 6] = -camera @ turns[c]
            block[:, 6 * b : 6 * b + 6] = -board @ turns[b]
            if self.with_scale:
                block[:, -1] = -(by_board @ grid[:, :, None]).ravel()
            blocks.append(block)
        return np.vstack(blocks)


def _refine(
    problem: Problem, cameras: Mapping[str, Float], boards: Mapping[str, Float], used: list[Sighting],
    with_scale: bool, loss: str,
) -> Solution:  # fmt: skip
    fit = _Fit(problem, cameras, boards, used, with_scale)
    rough = loss != "linear"  # what is looked for then is only which corners fit
    x = least_squares(
        fit.flat,
        np.zeros(fit.size),
        jac=fit.slopes,
        loss=loss,
        f_scale=SOFT,
        max_nfev=TRIES,
        ftol=1e-4 if rough else 1e-9,
    ).x
    residuals, slopes = fit.residuals(x), fit.slopes(x)
    spread = float(np.sqrt(_clustered(slopes, residuals, used)[-1, -1])) if with_scale else 0.0
    return Solution(
        problem, fit.unpack(x, "camera"), fit.unpack(x, "board"), used, [], residuals, slopes, fit.order,
        fit.scale(x), spread,
    )  # fmt: skip


def _clustered(slopes: Float, residuals: Sequence[Float], used: Sequence[Sighting]) -> Float:
    """Covariance of the steps; residuals of one moment may go together (they share the joints), those of two do not."""
    bread = np.linalg.pinv(slopes.T @ slopes)
    scores: dict[int, Float] = {}
    at = 0
    for sighting, residual in zip(used, residuals, strict=True):
        rows = slice(at, at + residual.size)
        score = slopes[rows].T @ residual.ravel()
        scores[sighting.moment] = scores.get(sighting.moment, np.zeros(slopes.shape[1])) + score
        at += residual.size
    table = np.array(list(scores.values()))
    spare = max(len(table) - slopes.shape[1] / 6, 1.0)  # a moment is worth about one pose
    return np.asarray(bread @ (table.T @ table) @ bread * len(table) / spare)


def covariance(solution: Solution, camera: str) -> Float:
    """Of a camera's pose (6, 6) in its own frame: turn [rad], then place [m]. Clustered by moment."""
    at = 6 * solution.order.index(("camera", camera))
    whole = _clustered(solution.slopes, solution.residuals, solution.used)
    return whole[at : at + 6, at : at + 6]
