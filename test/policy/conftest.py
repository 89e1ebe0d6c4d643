"""Observations to feed policies with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from reconvla_ros.types import ArmState, Observation, Pose

Observe = Callable[..., Observation]


@pytest.fixture
def observe() -> Observe:
    def make(
        stamp_ns: int = 1_000_000_000, task_id: str = "task-1", gripper: float = 0.03, shade: int = 90
    ) -> Observation:
        rng = np.random.default_rng(shade)
        views = rng.integers(0, 256, (2, 48, 64, 3), dtype=np.uint8)
        arm = ArmState(stamp_ns, np.array([0.1, 1.5, -1.2, 0.0, 0.6, 0.0]), np.zeros(6), np.zeros(6), gripper)
        tcp = Pose(np.array([0.31, 0.02, 0.21]), np.array([0.0, 1.0, 0.0, 0.0]))
        return Observation(stamp_ns, views[0], views[1], arm, tcp, "put fruit in bowl", task_id)

    return make
