"""How the firmware moves from target to target: MOVE J smoothing and the straight line of MOVE L; time is an argument.

The real profile is not documented; these keep its stated bounds (3 rad/s times speed %, 5 rad/s^2 per joint).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from reconvla_ros.sim.chain import Chain

Float = NDArray[np.float64]

LINE_SAMPLES = 25  # poses of a straight line that are solved before it is started
LINE_JUMP = 0.5  # [rad] a larger change of a joint between two samples is a change of branch: singularity


class JointSmoother:
    """Per joint: accelerate, cruise, brake so that the newest target is met at rest; the target may move at will."""

    def __init__(self, position: Float):
        self.position: Float = np.array(position, dtype=float)
        self.velocity: Float = np.zeros_like(self.position)

    def restart(self, index: int, position: float) -> None:
        """Forget the motion of one joint: it is at `position` [rad], at rest."""
        self.position[index], self.velocity[index] = position, 0.0

    def step(self, target: Float, speed: Sequence[float], acceleration: Sequence[float], dt: float) -> None:
        """One tick towards `target` [rad] within `speed` [rad/s] and `acceleration` [rad/s^2], all (n,).

        Plain floats on purpose: in a process that wakes 200 times a second, small numpy arrays cost three times more.
        """
        here, velocity = self.position.tolist(), self.velocity.tolist()
        for j, (goal, most, rate) in enumerate(zip(target.tolist(), speed, acceleration, strict=True)):
            rest, change = goal - here[j], rate * dt
            # The speed from which braking at `rate` still ends at the target, for steps of dt.
            wanted = min(sqrt(change * change / 4 + 2 * rate * abs(rest)) - change / 2, most)
            wanted = wanted if rest > 0 else -wanted
            velocity[j] += min(max(wanted - velocity[j], -change), change)
            if abs(rest) <= change * dt and abs(velocity[j]) <= change:
                velocity[j], here[j] = 0.0, goal
            else:
                here[j] += velocity[j] * dt
        self.position[:], self.velocity[:] = here, velocity


def _trapezoid(time: float, speed: float, acceleration: float) -> float:
    """Way from 0 to 1 at `time` [s] for a rest-to-rest motion within `speed` [1/s] and `acceleration` [1/s^2]."""
    speed = min(speed, acceleration**0.5)
    ramp = speed / acceleration
    total = 1.0 / speed + ramp
    if time >= total:
        return 1.0
    if time < ramp:
        return 0.5 * acceleration * time * time
    if time < total - ramp:
        return speed * (time - 0.5 * ramp)
    return 1.0 - 0.5 * acceleration * (total - time) ** 2


class Line:
    """A straight way of the flange from one pose (4, 4) to another, turning about one axis.

    Args:
        linear, angular: (speed, acceleration) bounds [m/s, m/s^2] and [rad/s, rad/s^2].
    """

    def __init__(self, start: Float, end: Float, linear: tuple[float, float], angular: tuple[float, float]):
        self._start, self._shift = start, end[:3, 3] - start[:3, 3]
        self._turn = Rotation.from_matrix(start[:3, :3].T @ end[:3, :3]).as_rotvec()
        ways = ((float(np.linalg.norm(self._shift)), linear), (float(np.linalg.norm(self._turn)), angular))
        self._speed = min((speed / way for way, (speed, _) in ways if way > 1e-9), default=1e9)
        self._acceleration = min((change / way for way, (_, change) in ways if way > 1e-9), default=1e9)
        self._time = 0.0
        self.done = False

    def at(self, way: float) -> Float:
        """The pose (4, 4) after the part `way` in 0..1."""
        pose = np.eye(4)
        pose[:3, 3] = self._start[:3, 3] + way * self._shift
        pose[:3, :3] = self._start[:3, :3] @ Rotation.from_rotvec(way * self._turn).as_matrix()
        return pose

    def advance(self, dt: float) -> Float:
        """The pose (4, 4) `dt` [s] later."""
        self._time += dt
        way = _trapezoid(self._time, self._speed, self._acceleration)
        self.done = way >= 1.0
        return self.at(way)


def nearest(solutions: list[Float], near: Float, lower: Float, upper: Float) -> Float | None:
    """The solution inside the limits that is nearest to `near` (6,) [rad]; None when none is inside."""
    inside = [q for q in solutions if np.all(q >= lower - 1e-9) and np.all(q <= upper + 1e-9)]
    return min(inside, key=lambda q: float(np.abs(q - near).max()), default=None)


def line_fault(chain: Chain, line: Line, start: Float, lower: Float, upper: Float) -> int:
    """Follow `line` from joints `start` (6,) ahead of time: 0, or the arm_status that refuses it (2, 3 or 4)."""
    q = start
    for way in np.linspace(0.0, 1.0, LINE_SAMPLES)[1:]:
        solutions = chain.inverse(line.at(float(way)), q)
        following = nearest(solutions, q, lower, upper)
        if following is None:
            return 4 if solutions else 2
        if np.abs(following - q).max() > LINE_JUMP:
            return 3
        q = following
    return 0
