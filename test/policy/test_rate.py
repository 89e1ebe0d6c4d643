"""Rate matching."""

from __future__ import annotations

import numpy as np
import pytest

from reconvla_ros.policy.rate import LONGEST, MARGIN, RateMatcher, slowed
from reconvla_ros.policy.underway import Underway
from reconvla_ros.types import ActionChunk, Pose


def test_fast_inference_changes_nothing() -> None:
    matcher = RateMatcher(0.1)
    assert matcher.step_dt(5) == 0.1
    matcher.note(age=0.15, interval=0.2)
    assert matcher.step_dt(5) == 0.1
    assert matcher.explain(0.1) == ""


def test_a_chunk_lasts_until_the_next_one() -> None:
    """Chunks of 0.5 s that took 0.9 s were refused as late, every one of them, and the arm never moved."""
    matcher = RateMatcher(0.1)
    matcher.note(age=0.9, interval=1.6)
    step = matcher.step_dt(5)
    assert step == pytest.approx(2.5 * MARGIN / 5)
    assert 5 * step > 0.9 + 1.6
    assert "0.55 s instead of 0.10 s" in matcher.explain(step)


def test_one_slow_chunk_is_forgotten() -> None:
    matcher = RateMatcher(0.1)
    matcher.note(age=2.0, interval=2.0)
    for _ in range(20):
        matcher.note(age=0.1, interval=0.2)
    assert matcher.step_dt(5) == 0.1


def test_there_is_a_longest_step() -> None:
    matcher = RateMatcher(0.1)
    matcher.note(age=60.0, interval=60.0)
    assert matcher.step_dt(5) == LONGEST


def test_latency_is_that_of_the_slowest_lately() -> None:
    matcher = RateMatcher(0.1)
    assert matcher.latency() == 0.0
    for spent in (0.1, 0.1, 0.3, 0.1):
        matcher.note(0.2, 0.2, spent)
    assert 0.25 < matcher.latency() <= 0.3 * MARGIN
    for _ in range(20):
        matcher.note(0.2, 0.2, 0.05)
    assert matcher.latency() == pytest.approx(0.05 * MARGIN)


def _line(prefix: int) -> ActionChunk:
    anchor = Pose(np.array([0.3, 0.0, 0.2]), np.array([0.0, 0.0, 0.0, 1.0]))
    positions = np.array([[0.3 + 0.01 * k, 0.0, 0.2] for k in range(1, 6)])
    confidence, gripper = np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([0.0, 0.0, 0.07, 0.07, 0.0])
    turns = np.tile([0.0, 0.0, 0.0, 1.0], (5, 1))
    return ActionChunk(0, "t", 3, 0.1, anchor, positions, turns, gripper, confidence, tuple(range(35)), prefix)


def test_slowed_without_committed_steps_every_step_takes_longer() -> None:
    chunk = slowed(_line(0), 2.0)
    assert chunk.step_dt == pytest.approx(0.2)
    np.testing.assert_allclose(chunk.positions, _line(0).positions, atol=1e-12)
    assert chunk.gripper.tolist() == _line(0).gripper.tolist()
    assert slowed(_line(0), 1.0).step_dt == 0.1


@pytest.mark.parametrize("kept", [1, 2, 4])
@pytest.mark.parametrize("factor", [1.5, 2.0, 5.0])
def test_slowed_the_committed_steps_keep_their_time(kept: int, factor: float) -> None:
    """Stretched as a whole, the step due at the hand-over was one the arm had left behind, and it went back."""
    before, chunk = _line(kept), slowed(_line(kept), factor)
    assert chunk.steps == 5
    assert 5 * chunk.step_dt == pytest.approx(0.1 * (kept + factor * (5 - kept)))
    for time in np.linspace(0.0, 0.1 * kept, 7):
        # Straight between the steps it is behind by no more than what is cut off where the speed changes.
        was, now = Underway(before).targets([time])[0], Underway(chunk).targets([time])[0]
        assert abs(was[0, 0] - now[0, 0]) <= 0.1 * chunk.step_dt * (1 - 1 / factor)
    np.testing.assert_allclose(chunk.positions[-1], before.positions[-1], atol=1e-12)
    assert np.all(np.diff(chunk.positions[:, 0]) > 0)
    assert chunk.prefix_steps == int(0.1 * kept / chunk.step_dt + 1e-9)
    assert set(chunk.confidence) <= set(before.confidence) and chunk.token_ids == before.token_ids
