"""The way of a chunk in time: where it wants the TCP at any instant, and whether the arm is on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation, Slerp

from reconvla_ros.types import ActionChunk, Float, Pose

NS = 1_000_000_000
SAME = 1e-5  # [m] places of the way that are equally near; the arm resolves ten times as much


class Underway:
    """A chunk as the driver follows it: at its anchor at the stamp, at pose k at stamp + (k + 1) step_dt, straight between.

    Times are seconds since the stamp of the chunk; they are clipped to what the chunk covers.
    """

    def __init__(self, chunk: ActionChunk) -> None:
        self.chunk = chunk
        self.times = np.arange(chunk.steps + 1) * chunk.step_dt
        self._positions = np.vstack((chunk.anchor.position, chunk.positions))
        turns = Rotation.from_quat(np.vstack((chunk.anchor.quaternion, chunk.quaternions)))
        self._turns = Slerp(self.times, turns)

    @property
    def end(self) -> float:
        """When the last step is over [s since the stamp]."""
        return float(self.times[-1])

    def since(self, stamp_ns: int) -> float:
        """An instant on the clock of the stamps [ns] as seconds since the stamp of the chunk."""
        return (stamp_ns - self.chunk.stamp_ns) / NS

    def step(self, time: float) -> int:
        """The step that is followed at `time`, 0..T-1."""
        return int(np.clip(time / self.chunk.step_dt + 1e-9, 0, self.chunk.steps - 1))

    def targets(self, times: ArrayLike) -> tuple[Float, Float]:
        """Positions (N, 3) [m] and quaternions x y z w (N, 4) in base_link at `times` (N,)."""
        t = np.clip(np.asarray(times, dtype=np.float64), 0.0, self.end)
        rows = [np.interp(t, self.times, axis) for axis in self._positions.T]
        return np.stack(rows, axis=-1), self._turns(t).as_quat().reshape(-1, 4)

    def nearest(self, pose: Pose, first: float, last: float) -> tuple[float, float, float]:
        """The place of the way between two times that is nearest to `pose`, the latest of several.

        Returns:
            Its time [s], the distance [m] and the angle there [rad].
        """
        knots = self.times[(self.times > first) & (self.times < last)]
        times = np.unique(np.clip(np.concatenate(([first], knots, [last])), 0.0, self.end))
        points, _ = self.targets(times)
        best, where = float(np.linalg.norm(points[0] - pose.position)), float(times[0])
        for k in range(len(times) - 1):
            along, start = points[k + 1] - points[k], pose.position - points[k]
            length = float(along @ along)
            share = float(np.clip(start @ along / length, 0.0, 1.0)) if length > 0.0 else 1.0
            distance = float(np.linalg.norm(start - share * along))
            if distance < best + SAME:
                best, where = distance, float(times[k] + share * (times[k + 1] - times[k]))
        turn = self._turns(where) * Rotation.from_quat(pose.quaternion).inv()
        return where, best, float(turn.magnitude())
