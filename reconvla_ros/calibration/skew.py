"""How far the stamps of two cameras are apart for one and the same instant, from a board that moves in view of both.

Each picture gives the board's pose in its camera. For two cameras that stand still, pose A at a stamp of A equals a fixed
transform X times pose B at the same instant, which B stamps `skew` later: T_A(t) = X T_B(t + skew). The skew and X are found
together: first X in closed form for each skew of a grid, then all seven numbers by least squares on what A's corners are off,
in pixels, robustly. Between its pictures B's pose is interpolated by splines. A board pose has six figures, so no direction
of motion hides the skew; motion at an even pace does, and is refused by the spread that it leaves.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline, make_lsq_spline
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from reconvla_ros.calibration.board import BoardSpec
from reconvla_ros.calibration.detect import Detector, Grey
from reconvla_ros.calibration.geometry import bearings, board_poses
from reconvla_ros.errors import CalibrationError
from reconvla_ros.types import CameraIntrinsics, Float

LARGEST = 0.25  # [s] skews that are looked for
_STEP = 0.004  # [s] of the grid; a hand's motion is smooth over several times that
_GAP = 0.12  # [s] between two pictures of B over which nothing is interpolated
_RUN = 8  # pictures of B in a row that make a run
_KNOTS = 3  # pictures between two knots: 0.1 s at 30 Hz, while a hand waves at 1 to 3 Hz
LEAST = 40  # pictures of A that must be usable: 1.3 s at 30 Hz
MOST_SPREAD = 0.002  # [s] standard deviation of the answer; three of them stay near the promised 5 ms
MOST_LEFT = 3.0  # [px] root mean square; more means that a camera moved
_CORNER = np.array([1.0, 0.1, 0.1])  # [m] points on the axes, by which poses are compared at first
_ROBUST = 1.0  # [px] beyond which a corner counts less and less (mirrored poses, bad detections)
_RIVAL, _APART = 1.3, 0.03  # another skew, so far away [s] and so nearly as good, makes the answer ambiguous


@dataclass(frozen=True, eq=False)
class Glimpse:
    """The board in one picture: stamp [s], pose in the camera (4, 4), corners on the board (N, 3) [m], rays (N, 2)."""

    stamp: float
    pose: Float
    corners: Float
    rays: Float


@dataclass(frozen=True)
class Skew:
    """What was found.

    Attributes:
        skew: stamps of the second camera minus those of the first, for one instant [s].
        spread: its standard deviation, from how the pictures disagree [s].
        left_px: root mean square of what is left [px]. pictures: of the first camera that were used.
        seen: pictures with the board, of each camera.
    """

    skew: float
    spread: float
    left_px: float
    pictures: int
    seen: tuple[int, int]


class Tracker:
    """Pictures of one camera -> glimpses of the board."""

    def __init__(self, spec: BoardSpec, intrinsics: CameraIntrinsics) -> None:
        self._detector, self._grid, self._intrinsics = Detector(spec), spec.corners, intrinsics

    def track(self, pictures: Iterable[tuple[int, Grey]]) -> list[Glimpse]:
        """(stamp [ns], grey levels) -> a glimpse of each picture that shows the board, one a stamp, in their order."""
        found = []
        for stamp_ns, grey in dict(pictures).items():
            seen = self._detector.board(grey)
            if seen is None:
                continue
            corners = self._grid[seen.ids]
            poses = board_poses(corners, seen.pixels, self._intrinsics)
            if poses:
                found.append(Glimpse(stamp_ns * 1e-9, poses[0], corners, bearings(seen.pixels, self._intrinsics)))
        return sorted(found, key=lambda glimpse: glimpse.stamp)


class _Path:
    """The board in one camera at any time within an unbroken run of pictures: its origin, and its x and y axes."""

    def __init__(self, glimpses: Sequence[Glimpse]) -> None:
        stamps = np.array([g.stamp for g in glimpses])
        cuts = [0, *(np.flatnonzero(np.diff(stamps) > _GAP) + 1).tolist(), len(stamps)]
        self._runs: list[tuple[float, float, BSpline]] = []
        for begin, end in itertools.pairwise(cuts):
            if end - begin >= _RUN:
                part, at = np.array([g.pose[:3] for g in glimpses[begin:end]]), stamps[begin:end]
                self._runs.append((at[0], at[-1], _smooth(at, part[:, :, [3, 0, 1]].reshape(-1, 9))))

    def covers(self, times: Float) -> NDArray[np.bool_]:
        """Whether each of `times` (N,) [s] lies in a run (N,)."""
        inside = np.zeros(len(times), dtype=bool)
        for first, last, _ in self._runs:
            inside |= (times >= first) & (times <= last)
        return inside

    def at(self, times: Float) -> Float:
        """(N, 3, 3) at times that are covered, or nearly: columns origin [m], x, y. Points (x, y) of the board go linearly."""
        made = np.zeros((len(times), 3, 3))
        begins = np.array([first for first, _, _ in self._runs])
        nearest = np.clip(np.searchsorted(begins - _STEP * 3, times, side="right") - 1, 0, None)
        for index, (_, _, spline) in enumerate(self._runs):
            mine = nearest == index
            made[mine] = spline(times[mine]).reshape(-1, 3, 3)
        return made


def _smooth(at: Float, values: Float) -> BSpline:
    """Cubic spline through columns of `values` (N, M) with a knot at every `_KNOTS`th picture, in the least-squares sense.

    Splines through every noisy pose would have noisy slopes, and slopes are what the skew is found by.
    """
    knots = np.concatenate([[at[0]] * 4, at[_KNOTS:-_KNOTS:_KNOTS], [at[-1]] * 4])
    return make_lsq_spline(at, values, knots)


def estimate(first: Sequence[Glimpse], second: Sequence[Glimpse], focal: float, largest: float = LARGEST) -> Skew:
    """The skew between two cameras that stand still.

    Args:
        first, second: glimpses of one moving board, in the order of their stamps.
        focal: of the first camera [px]; what is left is told in its pixels.
        largest: skews up to this are looked for [s].

    Raises:
        CalibrationError: too few pictures, too little or too even motion, another skew fits nearly as well, or the two
            tracks do not belong together.
    """
    path, seen = _Path(second), (len(first), len(second))
    stamps = np.array([g.stamp for g in first])
    # The same pictures for every skew of the grid, so that their costs compare.
    shared = path.covers(stamps - largest) & path.covers(stamps + largest) & path.covers(stamps)
    if np.count_nonzero(shared) < LEAST:
        raise CalibrationError(
            f"skew: both cameras must see the board for longer: {seen[0]} and {seen[1]} pictures show it, "
            f"{np.count_nonzero(shared)} of the first together with the second, {LEAST} are needed"
        )
    used = [g for g, keep in zip(first, shared, strict=True) if keep]
    grid = np.arange(-largest, largest + _STEP / 2, _STEP, dtype=np.float64)
    costs = np.array([_closed_form(used, path, float(skew))[0] for skew in grid], dtype=np.float64)
    best = int(np.argmin(costs))
    found = _refine(used, path, float(grid[best]), focal, seen)
    if not found.left_px <= MOST_LEFT:
        raise CalibrationError(
            f"skew: {found.left_px:.1f} px are left, allowed {MOST_LEFT:g}: a camera moved (hold the arm still), or "
            "the board shook faster than 3 times a second"
        )
    _refuse_rivals(grid, costs, best)
    if not found.spread <= MOST_SPREAD:
        raise CalibrationError(
            f"skew: known to {found.spread * 1e3:.1f} ms only, allowed {MOST_SPREAD * 1e3:g}: move the board faster, to and "
            "fro, for longer, and nearer to both cameras"
        )
    return found


def _closed_form(used: Sequence[Glimpse], path: _Path, skew: float) -> tuple[float, Float]:
    """(what three points of the board are apart [m], over the better four fifths; X (4, 4)) at one skew."""
    here = np.array([g.pose[:3][:, [3, 0, 1]] for g in used])
    there = path.at(np.array([g.stamp for g in used]) + skew)
    here, there = (np.swapaxes(_CORNER * p + p[:, :, :1] * [0.0, 1.0, 1.0], 1, 2) for p in (here, there))
    keep = np.ones(len(used), bool)
    for _ in range(3):  # without the worst fifth: mirrored poses
        a, b = here[keep].reshape(-1, 3), there[keep].reshape(-1, 3)
        u, _, vt = np.linalg.svd((a - a.mean(0)).T @ (b - b.mean(0)))
        turn = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
        apart = np.linalg.norm(here - there @ turn.T - (a.mean(0) - turn @ b.mean(0)), axis=2).mean(axis=1)
        keep = apart <= np.quantile(apart, 0.8)
    x = np.eye(4)
    x[:3, :3], x[:3, 3] = turn, a.mean(0) - turn @ b.mean(0)
    return float(np.sqrt(np.mean(np.square(apart[keep])))), x


def _refuse_rivals(grid: Float, costs: Float, best: int) -> None:
    far = np.abs(grid - grid[best]) > _APART
    inner = np.zeros(len(grid), bool)
    inner[1:-1] = (costs[1:-1] <= costs[:-2]) & (costs[1:-1] <= costs[2:])
    rivals = grid[far & inner & (costs < _RIVAL * costs[best])]
    if best in (0, len(grid) - 1):
        raise CalibrationError(
            f"skew: beyond {abs(grid[best]):g} s, or the board hardly moved; look further or move it faster"
        )
    if len(rivals):
        raise CalibrationError(
            f"skew: {grid[best] * 1e3:.0f} ms and {rivals[0] * 1e3:.0f} ms fit nearly alike; move the board less regularly"
        )


def _refine(used: Sequence[Glimpse], path: _Path, skew: float, focal: float, seen: tuple[int, int]) -> Skew:
    stamps = np.array([g.stamp for g in used])
    counts = np.array([len(g.corners) for g in used])
    owner = np.repeat(np.arange(len(used)), counts)
    corners, rays = np.vstack([g.corners for g in used]), np.vstack([g.rays for g in used])

    weights = np.column_stack([np.ones(len(corners)), corners[:, :2]])

    def residual(values: Float) -> Float:
        in_second = np.einsum("nij,nj->ni", path.at(stamps + values[0])[owner], weights)
        in_first = Rotation.from_rotvec(values[1:4]).apply(in_second) + values[4:7]
        depth = np.maximum(in_first[:, 2:], 1e-3)
        return np.asarray(focal * (in_first[:, :2] / depth - rays)).ravel()

    x = _closed_form(used, path, skew)[1]
    start = np.concatenate([[skew], Rotation.from_matrix(x[:3, :3]).as_rotvec(), x[:3, 3]])
    # Times at the ends may leave the runs by a step of the search: no further than the grid's own step.
    low, high = np.full(7, -np.inf), np.full(7, np.inf)
    low[0], high[0] = skew - 2 * _STEP, skew + 2 * _STEP
    found = least_squares(residual, start, bounds=(low, high), loss="soft_l1", f_scale=_ROBUST, x_scale=0.01)
    spread = _spread(found.jac, residual(found.x), owner)
    off = residual(found.x).reshape(-1, 2)
    worst = np.hypot(*off.T)
    left = float(np.sqrt(np.mean(np.square(worst[worst <= np.quantile(worst, 0.95)]))))
    return Skew(float(found.x[0]), spread, left, len(used), seen)


def _spread(jacobian: Float, residual: Float, owner: NDArray[np.int64]) -> float:
    """Standard deviation of the first value [s]: corners of one picture err together, pictures do not (sandwich estimate).

    `jacobian` is that of the robust problem, as least_squares scales it; residuals get the same weight.
    """
    weight = np.repeat((1.0 + (np.square(residual.reshape(-1, 2)).mean(1) / _ROBUST**2)) ** -0.25, 2)
    bread = np.linalg.pinv(jacobian.T @ jacobian)
    pull = np.zeros((owner[-1] + 1, jacobian.shape[1]))
    np.add.at(pull, np.repeat(owner, 2), jacobian * (weight * residual)[:, None])
    # The spline lets the pictures between a few knots err together, too: so many count as one.
    groups = np.add.reduceat(pull, np.arange(0, len(pull), 2 * _KNOTS))
    return float(np.sqrt((bread @ (groups.T @ groups) @ bread)[0, 0]))
