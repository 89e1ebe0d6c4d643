"""What a healthy arm can never give is seen in time; what it can give, however slow or noisy, never is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from reconvla_ros.arm.feedback_watch import FeedbackWatch
from reconvla_ros.types import ArmState, Float

MS = 1_000_000
COUNT = np.radians(1e-3)
READY = np.array([0.3, 1.2, -1.2, 0.1, 0.9, 0.2])
STEP = np.array([1.0, 0.5, 0.0, 0.0, 0.0, 0.2])
Joints = Callable[[float], Float]


def counts(joints: Float) -> Float:
    """As the arm reports them."""
    return np.round(joints / COUNT) * COUNT


class Bench:
    """Time by hand: `feed` ticks every 5 ms; the first finding and its time [s] are kept."""

    def __init__(self) -> None:
        self.watch, self.tick, self.powered = FeedbackWatch(0.05), 0, True
        self.names: list[str] = []

    def feed(self, seconds: float, joints: Joints, target: Joints | None, speed: Joints | None = None) -> float | None:
        begin, first = self.tick, None
        for _ in range(round(seconds / 0.005)):
            self.tick += 1
            t = (self.tick - begin) * 0.005
            velocity = np.zeros(6) if speed is None else speed(t)
            state = ArmState(
                self.tick * 5 * MS + 1, counts(joints(t)), velocity, np.zeros(6), 0.0, 0.0, (self.powered,) * 6
            )
            found = self.watch.update(self.tick * 5 * MS, state, None if target is None else target(t))
            self.names.append(found.name)
            if found.name and first is None:
                first = t
        return first


def still(t: float) -> Float:
    return READY


def going(speed: float) -> Joints:
    return lambda t: READY + speed * t * STEP


def test_a_held_arm_may_read_the_same_for_ever() -> None:
    assert Bench().feed(60.0, still, still) is None
    assert Bench().feed(60.0, still, None) is None


@pytest.mark.parametrize("speed", [1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.5, 3.0])
@pytest.mark.parametrize("lag", [0.0, 0.05, 0.5, 5.0])
def test_no_speed_and_no_lag_of_a_healthy_arm_is_a_fault(speed: float, lag: float) -> None:
    """From rest, with a first-order lag and without speed feedback, as a poor arm gives it."""
    bench = Bench()
    bench.feed(1.0, still, still)

    def follows(t: float) -> Float:
        behind = t if lag == 0.0 else t - lag * (1.0 - np.exp(-t / lag))
        return READY + speed * (t if lag == 0.0 else behind) * STEP

    assert bench.feed(min(20.0, 1.0 / speed), follows, going(speed)) is None


def test_a_speed_sensor_with_an_offset_is_no_fault() -> None:
    assert Bench().feed(30.0, still, lambda t: READY + 0.004 * np.sin(t), lambda t: np.full(6, 0.015)) is None


def test_a_new_reference_taken_from_the_arm_is_no_motion() -> None:
    bench = Bench()
    bench.feed(1.0, still, lambda t: READY + 0.2)
    assert bench.feed(1.0, still, still) is None


@pytest.mark.parametrize("speed", [0.1, 0.2, 0.5, 2.0])
@pytest.mark.parametrize("knows_speed", [True, False])
def test_frozen_in_motion_is_seen_within_100_ms(speed: float, knows_speed: bool) -> None:
    bench = Bench()
    assert bench.feed(1.0, going(speed), going(speed)) is None
    stuck = going(speed)(1.0)
    seen = bench.feed(
        0.5, lambda t: stuck, lambda t: going(speed)(1.0 + t), (lambda t: speed * STEP) if knows_speed else None
    )
    assert seen is not None and 0.05 <= seen <= (0.06 if knows_speed else 0.061 + 0.005 / speed)
    assert set(bench.names) == {"", "feedback_frozen"}


def test_frozen_from_rest_is_seen_when_the_target_is_away() -> None:
    bench = Bench()
    bench.feed(1.0, still, still)
    seen = bench.feed(1.0, still, going(0.5))
    assert seen is not None and 0.05 < seen < 0.08


@pytest.mark.parametrize("speed", [0.001, 0.01])
def test_frozen_in_a_slow_motion_is_seen_before_the_target_is_far(speed: float) -> None:
    bench = Bench()
    bench.feed(1.0, going(speed), going(speed))
    stuck = going(speed)(1.0)
    seen = bench.feed(20.0, lambda t: stuck, lambda t: going(speed)(1.0 + t))
    assert seen is not None and seen * speed < 0.0062


def test_all_zero_is_seen_at_once_and_lasts_until_it_is_over() -> None:
    bench = Bench()
    bench.feed(0.5, still, still)
    assert bench.feed(3.0, lambda t: np.zeros(6), still) == 0.005
    assert set(bench.names[-500:]) == {"feedback_zero"}
    assert bench.feed(0.1, still, still) is None


def test_an_arm_near_zero_may_read_zero() -> None:
    bench = Bench()
    bench.feed(0.5, lambda t: np.full(6, 0.002) * (0.5 - t), still)
    assert bench.feed(1.0, lambda t: np.zeros(6), lambda t: np.zeros(6)) is None


def test_a_jump_is_seen_at_once_and_ends_when_the_new_place_lasts() -> None:
    bench = Bench()
    bench.feed(0.5, still, still)
    assert bench.feed(0.2, lambda t: READY + 0.2, still) == 0.005
    assert set(bench.names[-40:]) == {"feedback_jump"}
    bench.feed(0.2, lambda t: READY + 0.2, still)
    assert bench.feed(0.2, lambda t: READY + 0.2, still) is None


def test_one_wild_sample_is_a_jump_and_back_is_none() -> None:
    bench = Bench()
    bench.feed(0.5, still, still)
    assert bench.feed(0.005, lambda t: READY - 1.0, still) is not None
    assert bench.feed(0.5, still, still) is None


def test_feedback_that_goes_on_jumping_stays_bad() -> None:
    bench = Bench()
    bench.feed(0.5, still, still)
    assert bench.feed(2.0, lambda t: READY + (0.3 if round(t / 0.005) % 2 else 0.6), still) == 0.005
    assert set(bench.names[-300:]) == {"feedback_jump"}


def test_the_fastest_motion_and_a_late_reader_are_no_jump() -> None:
    bench = Bench()
    bench.feed(0.5, still, still)
    assert bench.feed(0.5, lambda t: READY + 3.0 * t, lambda t: READY + 3.0 * t) is None
    late = READY + 1.5 + 0.09  # 30 ms of motion that arrive with the next frame
    assert bench.feed(0.5, lambda t: late, None) is None


def test_after_a_pause_of_the_feedback_the_arm_may_be_anywhere() -> None:
    bench = Bench()
    bench.feed(0.5, still, still)
    bench.tick += 100
    assert bench.feed(0.5, lambda t: READY + 0.8, None) is None


def test_but_zeros_after_a_pause_are_not_believed() -> None:
    bench = Bench()
    bench.feed(0.5, still, still)
    bench.tick += 100
    bench.feed(1.0, lambda t: np.zeros(6), None)
    assert set(bench.names[-180:]) == {"feedback_zero"}  # once the slower frames have come


def test_zeros_near_the_rest_pose_are_no_motion_however_long_the_gap() -> None:
    """0.14 rad from rest and 60 ms without a frame, zeros passed for a motion, and the driver sent the arm there."""
    near = np.array([0.0, 0.107, -0.1, -0.04, 0.002, 0.034])
    bench = Bench()
    bench.feed(0.5, lambda t: near, lambda t: near)
    bench.tick += 12  # 60 ms
    bench.feed(1.0, lambda t: np.zeros(6), lambda t: near)
    assert set(bench.names[-200:]) == {"feedback_zero"}


def test_an_arm_without_power_may_have_fallen_into_its_rest_pose() -> None:
    bench = Bench()
    bench.feed(0.5, still, still)
    bench.powered = False
    bench.tick += 400
    bench.feed(0.5, lambda t: np.zeros(6), None)
    assert set(bench.names) == {"", "feedback_pending"} and bench.names[-1] == ""
    bench.feed(0.5, still, None)
    bench.tick += 400
    bench.feed(0.05, lambda t: np.zeros(6) if t < 0.02 else np.full(6, 2e-4), None)  # not quite zero, after all
    assert set(bench.names) == {"", "feedback_pending", "feedback_jump"} and bench.names[-1] == ""
    bench.powered = True  # the slow frames came late, and the arm has power after all
    bench.feed(0.5, still, None)
    bench.tick += 400
    bench.feed(0.5, lambda t: np.zeros(6), None)
    assert set(bench.names[-60:]) == {"feedback_zero"}
