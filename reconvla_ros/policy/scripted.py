"""A policy without weights: a small horizontal circle through the place where it began."""

from __future__ import annotations

import time

import numpy as np

from reconvla_ros.errors import ConfigError
from reconvla_ros.policy.certainty import Certainty
from reconvla_ros.policy.protocol import Plan
from reconvla_ros.types import ActionChunk, Observation, Pose


class ScriptedPolicy:
    """Circle of `radius` [m] once in `period` [s], orientation and gripper kept; for tests and where no weights are.

    Where it is on the circle follows the stamps of the observations, so it is the same for live and recorded data.
    """

    def __init__(self, radius: float = 0.03, period: float = 6.0, steps: int = 5, step_dt: float = 0.1) -> None:
        if not (0.0 < radius <= 0.1 and 0.5 <= period <= 600.0 and 1 <= steps <= 50 and 0.0 < step_dt <= 1.0):
            raise ConfigError(
                "scripted policy: radius must be in (0, 0.1] m, period in 0.5..600 s, steps in 1..50, "
                f"step_dt in (0, 1] s; got {radius}, {period}, {steps}, {step_dt}"
            )
        self.radius, self.period, self.steps, self.step_dt = radius, period, steps, step_dt
        self._start: tuple[int, Pose] | None = None
        self._sequence = 0
        self._timings: dict[str, float] = {}

    @property
    def timings(self) -> dict[str, float]:
        """Stages of the last chunk [s]."""
        return dict(self._timings)

    @property
    def certainty(self) -> Certainty | None:
        """A circle is never in doubt."""
        return Certainty.complete(self.steps) if self._sequence else None

    @property
    def passes(self) -> int:
        """There is no decoder."""
        return 0

    def warm_up(self) -> None:
        """Nothing to warm up."""

    def reset(self) -> None:
        """The next observation begins a new circle."""
        self._start = None

    def infer(self, observation: Observation, plan: Plan | None = None) -> ActionChunk:
        """The next steps along the circle, which joins itself."""
        began = time.monotonic()
        if self._start is None:
            self._start = (observation.stamp_ns, observation.tcp)
        stamp, origin = self._start
        elapsed = (observation.stamp_ns - stamp) * 1e-9 + self.step_dt * np.arange(1, self.steps + 1)
        angle = 2.0 * np.pi * elapsed / self.period
        circle = self.radius * np.stack((np.cos(angle) - 1.0, np.sin(angle), np.zeros_like(angle)), axis=1)
        chunk = ActionChunk(
            stamp_ns=observation.stamp_ns,
            task_id=observation.task_id,
            sequence=self._sequence,
            step_dt=self.step_dt,
            anchor=observation.tcp,
            positions=origin.position + circle,
            quaternions=np.tile(origin.quaternion, (self.steps, 1)),
            gripper=np.full(self.steps, max(observation.state.gripper, 0.0)),
            confidence=np.ones(self.steps),
        )
        self._sequence += 1
        self._timings = {"decode": time.monotonic() - began}
        return chunk
