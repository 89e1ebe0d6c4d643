"""A policy without weights: a small horizontal circle through the place where it began."""

from __future__ import annotations

import time

import numpy as np

from reconvla_ros.errors import ConfigError
from reconvla_ros.policy.protocol import Plan
from reconvla_ros.policy.weightless import Weightless
from reconvla_ros.types import ActionChunk, Observation, Pose


class ScriptedPolicy(Weightless):
    """Circle of `radius` [m] once in `period` [s], orientation and gripper kept; for tests and where no weights are.

    Where it is on the circle follows the stamps of the observations, so it is the same for live and recorded data.
    """

    def __init__(self, radius: float = 0.03, period: float = 6.0, steps: int = 5, step_dt: float = 0.1) -> None:
        if not (0.0 < radius <= 0.1 and 0.5 <= period <= 600.0 and 1 <= steps <= 50 and 0.0 < step_dt <= 1.0):
            raise ConfigError(
                "scripted policy: radius must be in (0, 0.1] m, period in 0.5..600 s, steps in 1..50, "
                f"step_dt in (0, 1] s; got {radius}, {period}, {steps}, {step_dt}"
            )
        super().__init__(steps, step_dt)
        self.radius, self.period = radius, period
        self._start: tuple[int, Pose] | None = None

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
        return self.chunk(
            observation,
            began,
            origin.position + circle,
            np.tile(origin.quaternion, (self.steps, 1)),
            np.full(self.steps, max(observation.state.gripper, 0.0)),
        )
