"""Rate matching."""

from __future__ import annotations

import pytest

from reconvla_ros.policy.rate import LONGEST, MARGIN, RateMatcher


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
