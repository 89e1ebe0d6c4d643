"""The way of a chunk in time."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from reconvla_ros.policy.underway import Underway
from reconvla_ros.types import ActionChunk, Pose

START = Pose(np.array([0.3, 0.0, 0.2]), np.array([0.0, 0.0, 0.0, 1.0]))
TURNS = Rotation.from_rotvec([[0, 0, 0.1 * k] for k in (1, 2, 3)]).as_quat()
CHUNK = ActionChunk(
    1_000_000_000, "t", 0, 0.2, START, np.array([[0.31, 0, 0.2], [0.31, 0.02, 0.2], [0.31, 0.02, 0.2]]), TURNS, np.zeros(3)
)  # fmt: skip
WAY = Underway(CHUNK)


def test_it_starts_at_the_anchor_and_ends_at_the_last_pose() -> None:
    positions, turns = WAY.targets([-1.0, 0.0, 0.1, 0.2, 0.3, 0.6, 9.0])
    expected = [[0.3, 0], [0.3, 0], [0.305, 0], [0.31, 0], [0.31, 0.01], [0.31, 0.02], [0.31, 0.02]]
    np.testing.assert_allclose(positions[:, :2], expected, atol=1e-12)
    angles = Rotation.from_quat(turns).as_rotvec()[:, 2]
    np.testing.assert_allclose(angles, [0, 0, 0.05, 0.1, 0.15, 0.3, 0.3], atol=1e-9)
    assert WAY.end == pytest.approx(0.6)
    assert WAY.since(1_250_000_000) == pytest.approx(0.25)


@pytest.mark.parametrize(("time", "step"), [(-1.0, 0), (0.0, 0), (0.19, 0), (0.2, 1), (0.59, 2), (5.0, 2)])
def test_the_step_in_force_is_that_of_the_driver(time: float, step: int) -> None:
    assert WAY.step(time) == step


def test_the_nearest_place() -> None:
    here = Pose(np.array([0.31, 0.01, 0.2]), Rotation.from_rotvec([0, 0, 0.15]).as_quat())
    assert WAY.nearest(here, 0.0, 0.6) == pytest.approx((0.3, 0.0, 0.0), abs=1e-9)
    # Of the part before it has come there, only the end is near.
    assert WAY.nearest(here, 0.0, 0.2) == pytest.approx((0.2, 0.01, 0.05))
    aside = Pose(np.array([0.31, 0.01, 0.25]), here.quaternion)
    assert WAY.nearest(aside, 0.0, 0.6)[:2] == pytest.approx((0.3, 0.05))


def test_where_the_way_stands_the_latest_place_counts() -> None:
    """An arm that waits with its chunk does not lag."""
    there = Pose(np.array([0.31, 0.02, 0.2]), TURNS[2])
    assert WAY.nearest(there, 0.0, 0.6) == pytest.approx((0.6, 0.0, 0.0), abs=1e-9)
