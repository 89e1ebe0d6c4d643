"""The motion between goal and bus: what the filter refuses ends in braking inside the limits, not in a step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from filter_cases import ARM, DT, OPEN  # type: ignore[import-not-found]

from reconvla_ros.arm import motion as motion_module
from reconvla_ros.arm.motion import Motion, motion_of
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.safety.effort import gravity_torque
from reconvla_ros.safety.filter import Command, Filtered, Reference, Verdict, check
from reconvla_ros.safety.limits import Limits
from reconvla_ros.types import Float, Pose

CONFIG = DriverConfig(dry_run=False)


def make(**values: Any) -> tuple[Motion, Limits]:
    config = replace(CONFIG, **values)
    limits = config.limits()
    motion = motion_of(config, ARM, limits)
    motion.anchor(OPEN, 0.03)
    return motion, limits


def run(motion: Motion, ticks: int) -> tuple[Float, list[str]]:
    """Joint targets (N, 6) of `ticks`, standing ones repeated, and the reason of each tick."""
    path, reasons = [OPEN if motion.reference is None else motion.reference.joints], []
    for _ in range(ticks):
        step = motion.advance()
        path.append(path[-1] if step.command is None else step.command.position)
        reasons.append(step.reason)
    return np.array(path), reasons


def assert_smooth(path: Float, most: float = CONFIG.stop_acceleration) -> None:
    padded = np.vstack([path[:1], path, path[-1:], path[-1:]])
    assert np.abs(np.diff(padded, n=2, axis=0)).max() / DT**2 <= most * 1.001 + 1e-3
    assert np.abs(np.diff(path, axis=0)).max() / DT <= CONFIG.joint_speed * (1 + 1e-6)


def box_to_the_left(gap: float) -> tuple[float, ...]:
    x, y, z = (float(v) for v in ARM.tcp(OPEN).position)
    return x - 0.15, y + 0.067 + gap, z - 0.1, x + 0.15, y + 0.067 + gap + 0.1, z + 0.2


def least(limits: Limits, path: Float) -> float:
    return float((limits.body.look(path, 0.03).clearance - limits.body_bounds).min())


def test_the_arm_brakes_in_front_of_a_box_without_a_step() -> None:
    motion, limits = make(keep_out=box_to_the_left(0.08))
    goal = ARM.tcp(OPEN).position + np.array([0.0, 0.28, 0.0])
    motion.anchor(OPEN, 0.03)
    motion._governor.aim(Pose(goal, ARM.tcp(OPEN).quaternion), OPEN)  # as if the goal had been let through
    path, reasons = run(motion, 800)
    assert "keep_out" in reasons and motion.arrived
    assert np.abs(path[-1] - OPEN).max() > 0.05  # it went some way
    assert_smooth(path)
    assert 0.0 <= least(limits, path) < 0.01  # stands before the margin, and near it


def test_a_refused_motion_stands_until_the_next_goal() -> None:
    motion, _ = make(keep_out=box_to_the_left(0.08))
    goal = ARM.tcp(OPEN).position + np.array([0.0, 0.28, 0.0])
    motion._governor.aim(Pose(goal, ARM.tcp(OPEN).quaternion), OPEN)
    run(motion, 800)
    path, reasons = run(motion, 50)
    assert np.ptp(path, axis=0).max() == 0.0 and set(reasons) == {"keep_out"}
    back = ARM.tcp(OPEN)
    assert motion.set_pose(back, None, 0.0).verdict is Verdict.PASSED
    path, reasons = run(motion, 1500)
    assert set(reasons) == {""} and np.abs(ARM.tcp(path[-1]).position - back.position).max() < 1e-4
    assert_smooth(path)


def test_a_goal_in_a_box_and_a_way_through_one_are_refused_at_once() -> None:
    motion, _ = make(keep_out=box_to_the_left(0.08))
    goal = Pose(ARM.tcp(OPEN).position + np.array([0.0, 0.15, 0.0]), ARM.tcp(OPEN).quaternion)
    assert motion.set_pose(goal, None, 0.0).reason == "keep_out"
    assert motion.set_joints(OPEN + np.array([1.2, 0, 0, 0, 0, 0]), None).reason == "keep_out"
    assert motion.arrived


def test_a_joint_way_brakes_too() -> None:
    """The way is checked when it is asked for; a box that appears later is seen by the look ahead."""
    motion, _ = make()
    assert motion.set_joints(OPEN + np.array([1.2, 0, 0, 0, 0, 0]), None).verdict is Verdict.PASSED
    boxed, limits = make(keep_out=box_to_the_left(0.08))
    motion._limits = boxed._limits
    path, reasons = run(motion, 800)
    assert "keep_out" in reasons and least(limits, path) >= 0.0
    assert_smooth(path)


@pytest.mark.parametrize("verdict", [Verdict.REFUSED, Verdict.CLAMPED])
@pytest.mark.parametrize("after", [5, 40, 120])
def test_whatever_the_filter_says_no_to_the_motion_brakes(
    monkeypatch: pytest.MonkeyPatch, verdict: Verdict, after: int
) -> None:
    motion, _ = make()
    motion.set_pose(Pose(ARM.tcp(OPEN).position + np.array([0.0, 0.1, 0.0]), ARM.tcp(OPEN).quaternion), 0.07, 0.0)
    first, _ = run(motion, after)

    def no(command: Command, state: Reference, limits: Limits, dt: float | None = None) -> Filtered:
        if dt is None or command.ahead is None:  # braking passes
            return check(command, state, limits, dt)
        bent = command if command.joints is None else replace(command, joints=command.joints + 1e-3)
        return Filtered(verdict, bent, "invented", "invented: by the test")

    monkeypatch.setattr(motion_module, "check", no)
    rest, reasons = run(motion, 200)
    assert set(reasons) == {"invented"} and motion.arrived
    assert_smooth(np.vstack([first, rest[1:]]))


def test_when_braking_is_refused_the_target_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    motion, _ = make()
    motion.set_pose(Pose(ARM.tcp(OPEN).position + np.array([0.0, 0.1, 0.0]), ARM.tcp(OPEN).quaternion), None, 0.0)
    first, _ = run(motion, 60)
    nothing = lambda command, *_: Filtered(Verdict.REFUSED, command, "invented", "invented: by the test")  # noqa: E731
    monkeypatch.setattr(motion_module, "check", nothing)
    rest, reasons = run(motion, 20)
    assert np.ptp(rest, axis=0).max() == 0.0 and np.array_equal(rest[0], first[-1])
    assert set(reasons) == {"invented"} and motion.arrived


def test_the_gripper_holds_when_the_arm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    motion, _ = make()
    motion.set_pose(ARM.tcp(OPEN), 0.07, 0.0)
    run(motion, 3)
    nothing = lambda command, *_: Filtered(Verdict.REFUSED, command, "invented", "invented: by the test")  # noqa: E731
    monkeypatch.setattr(motion_module, "check", nothing)
    run(motion, 3)
    assert motion.reference is not None and motion.reference.gripper < 0.035 and motion.arrived
    monkeypatch.setattr(motion_module, "check", check)
    motion.set_gripper(0.07)  # freeing a hand is another goal
    run(motion, 200)
    assert motion.reference.gripper == pytest.approx(0.07)


def test_near_a_singularity_cartesian_motion_is_slow_and_ends() -> None:
    motion, limits = make()
    start = np.array([0.0, 1.2, -1.2, 0.0, 0.25, 0.0])
    motion.forget()
    motion.anchor(start, 0.03)
    end = start.copy()
    end[4] = -0.25
    motion._governor.aim(ARM.tcp(end), start)
    path, reasons = run(motion, 2000)
    assert reasons[-1] in ("singularity", "kinematics")
    assert np.abs(np.sin(path[:, 4])).min() >= limits.singularity_stop - 1e-6
    speed = np.abs(np.diff(path[:, 4])) / DT
    near = np.sin(path[1:, 4]) < 0.07
    assert near.any() and speed[near].max() < 0.6 * speed.max()
    assert_smooth(path)


def test_a_push_refuses_motion_against_it_and_the_arm_gives_way() -> None:
    motion, limits = make()

    def push(on_joint1: float) -> None:
        for _ in range(20):
            motion.feel(OPEN, gravity_torque(limits.body, OPEN) + np.array([on_joint1, 0.0, 0.0, 0.0, 0.0, 0.0]))

    left, right = OPEN + np.array([0.3, 0, 0, 0, 0, 0]), OPEN - np.array([0.3, 0, 0, 0, 0, 0])
    push(14.0)
    assert motion.set_joints(left, None).verdict is Verdict.PASSED
    moved, reasons = run(motion, 40)
    assert set(reasons) == {""} and moved[-1, 0] > 0.0
    push(16.0)
    _, reasons = run(motion, 3)
    assert set(reasons) == {"effort"} and motion.arrived
    assert motion.set_joints(right, None).verdict is Verdict.PASSED
    assert set(run(motion, 40)[1]) == {""}


def test_random_goals_keep_every_bound_and_never_step() -> None:
    motion, limits = make(keep_out=box_to_the_left(0.1), singularity_slow=0.3)
    rng = np.random.default_rng(1)
    paths, seen = [], set()
    for _ in range(60):
        pose = ARM.tcp(OPEN)
        motion.set_pose(
            Pose(pose.position + rng.uniform(-0.15, 0.15, 3), pose.quaternion), float(rng.uniform(0, 0.07)), 0.0
        )
        path, reasons = run(motion, int(rng.integers(5, 80)))
        paths.append(path[1:])
        seen |= set(reasons)
    motion.stop()
    path = np.vstack([OPEN[None], *paths, run(motion, 100)[0][1:]])
    assert motion.arrived and "" in seen
    assert_smooth(path)
    assert least(limits, path) >= -1e-6
    assert np.abs(path - OPEN).max() > 0.1
