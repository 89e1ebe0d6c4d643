"""What policies without weights share: they are never in doubt, have no decoder, and count and time their chunks."""

from __future__ import annotations

import time

import numpy as np

from reconvla_ros.policy.certainty import Certainty
from reconvla_ros.types import ActionChunk, Float, Observation


class Weightless:
    """Base of policies whose targets are computed.

    Args:
        steps, step_dt: of a chunk [1], [s].
    """

    def __init__(self, steps: int, step_dt: float) -> None:
        self.steps, self.step_dt = steps, step_dt
        self._sequence = 0
        self._timings: dict[str, float] = {}

    @property
    def timings(self) -> dict[str, float]:
        """Stages of the last chunk [s]."""
        return dict(self._timings)

    @property
    def certainty(self) -> Certainty | None:
        """Complete; None before the first chunk."""
        return Certainty.complete(self.steps) if self._sequence else None

    @property
    def passes(self) -> int:
        """There is no decoder."""
        return 0

    def warm_up(self) -> None:
        """Nothing to warm up."""

    def chunk(
        self, observation: Observation, began: float, positions: Float, quaternions: Float, gripper: Float
    ) -> ActionChunk:
        """The next chunk: TCP (N, 3) [m] and (N, 4), opening (N,) [m]; `began` [s] is when its making did, monotonic."""
        chunk = ActionChunk(
            stamp_ns=observation.stamp_ns,
            task_id=observation.task_id,
            sequence=self._sequence,
            step_dt=self.step_dt,
            anchor=observation.tcp,
            positions=positions,
            quaternions=quaternions,
            gripper=gripper,
            confidence=np.ones(self.steps),
        )
        self._sequence += 1
        self._timings = {"decode": time.monotonic() - began}
        return chunk
