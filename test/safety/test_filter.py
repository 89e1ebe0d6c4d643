from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import ArrayLike

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.safety.filter import REASONS, Command, Reference, Verdict, check
from reconvla_ros.types import Float

LIMITS = DriverConfig().limits()
DT = 0.005
UP = np.array([0.0, 0.0, 0.0, 1.0])
HERE = Reference(np.array([0.3, 0.0, 0.2]), UP, np.array([0.0, 1.2, -1.2, 0.0, 0.9, 0.0]), 0.03)


def target(position: tuple[float, ...] = (0.3, 0.0, 0.2), **values: Any) -> Command:
    return Command(**({"position": np.array(position), "quaternion": UP} | values))


def step(joints: ArrayLike, position: tuple[float, ...] = (0.3, 0.0, 0.2), **values: Any) -> Command:
    return target(position, joints=np.array(joints, dtype=np.float64), **values)


def test_an_ordinary_target_passes_unchanged() -> None:
    command = target((0.35, 0.1, 0.2), gripper=0.05)
    result = check(command, HERE, LIMITS)
    assert (result.verdict, result.reason) == (Verdict.PASSED, "") and result.command is command


def test_holding_passes() -> None:
    assert check(step(HERE.joints, gripper=0.03), HERE, LIMITS, DT).verdict is Verdict.PASSED


@pytest.mark.parametrize(
    ("command", "dt", "reason"),
    [
        (target(position=(0.3, 0.0)), None, "shape"),
        (target(joints=np.zeros(7)), DT, "shape"),
        (target(quaternion=np.zeros(3)), None, "shape"),
        (target(), 0.0, "shape"),
        (target((np.nan, 0, 0.2)), None, "not_finite"),
        (target((0.3, np.inf, 0.2)), None, "not_finite"),
        (target(gripper=np.nan), None, "not_finite"),
        (target(age=np.nan), None, "not_finite"),
        (target(quaternion=np.array([0, 0, 0, np.nan])), None, "not_finite"),
        (target(quaternion=np.array([0, 0, 0, 0.5])), None, "not_finite"),
        (step([np.nan, 1.2, -1.2, 0, 0.9, 0]), DT, "not_finite"),
        (target(age=0.31), None, "age"),
        (target(age=-0.06), None, "age"),
        (target((0.3, 0.31, 0.2)), None, "distance"),
        (target((0.3, 0.0, -0.06)), None, "table"),
        (step(HERE.joints, (0.61, 0.0, 0.2)), DT, "workspace"),
        (step(HERE.joints, (0.3, 0.0, 0.004)), DT, "table"),
        (step([0, 1.2, 0.2, 0, 0.9, 0]), None, "joint_range"),
        (target(gripper=0.2), None, "gripper_range"),
        (target(gripper=-0.1), None, "gripper_range"),
    ],
)
def test_refused_with_its_reason(command: Command, dt: float | None, reason: str) -> None:
    result = check(command, HERE, LIMITS, dt)
    assert (result.verdict, result.reason) == (Verdict.REFUSED, reason), result.detail
    assert result.detail.startswith(reason)


def test_a_target_just_outside_the_box_is_moved_onto_it() -> None:
    edge = replace(HERE, position=np.array([0.58, 0.0, 0.2]))
    result = check(target((0.63, 0.0, 0.2)), edge, LIMITS)
    assert (result.verdict, result.reason) == (Verdict.CLAMPED, "workspace")
    assert result.command.position[0] == pytest.approx(0.60)
    assert "x = 0.6300 m" in result.detail


def test_far_outside_the_box_is_refused() -> None:
    edge = replace(HERE, position=np.array([0.58, 0.0, 0.2]))
    assert check(target((0.70, 0.0, 0.2)), edge, LIMITS).verdict is Verdict.REFUSED


def test_the_table_clamps_a_target() -> None:
    low = replace(HERE, position=np.array([0.3, 0.0, 0.02]))
    result = check(target((0.3, 0.0, -0.02)), low, LIMITS)
    assert (result.verdict, result.reason) == (Verdict.CLAMPED, "table")
    assert result.command.position[2] == pytest.approx(0.005)


def test_from_outside_the_box_only_inward_passes() -> None:
    outside = replace(HERE, position=np.array([0.65, 0.0, 0.2]))
    assert check(step(HERE.joints, (0.6499, 0.0, 0.2)), outside, LIMITS, DT).verdict is Verdict.PASSED
    assert check(step(HERE.joints, (0.65, 0.0, 0.2)), outside, LIMITS, DT).verdict is Verdict.PASSED
    assert check(step(HERE.joints, (0.6501, 0.0, 0.2)), outside, LIMITS, DT).reason == "workspace"


def test_from_outside_the_joint_margin_only_inward_and_holding_pass() -> None:
    rest = replace(HERE, joints=np.zeros(6))
    assert check(step(np.zeros(6)), rest, LIMITS, DT).verdict is Verdict.PASSED
    inward = step([0, 0.002, -0.002, 0, 0, 0])
    assert check(inward, rest, LIMITS, DT).verdict is Verdict.PASSED
    halfway = replace(HERE, joints=np.array([0, 0.05, -0.05, 0, 0, 0]))
    back = check(step([0, 0.048, -0.05, 0, 0, 0]), halfway, LIMITS, DT)
    assert (back.verdict, back.reason) == (Verdict.CLAMPED, "joint_range")
    assert back.command.joints is not None and back.command.joints[1] == 0.05


def test_a_joint_target_a_little_outside_is_clamped() -> None:
    result = check(step([0, 1.2, -1.2, 0, 1.2, 0]), HERE, LIMITS)
    assert (result.verdict, result.reason) == (Verdict.CLAMPED, "joint_range")
    assert result.command.joints is not None and result.command.joints[4] == pytest.approx(1.12)


def test_joint_speed_is_clamped_along_the_way() -> None:
    fast = HERE.joints + np.array([0.01, 0.005, 0, 0, 0, 0])
    result = check(step(fast), HERE, LIMITS, DT)
    assert (result.verdict, result.reason) == (Verdict.CLAMPED, "joint_speed")
    assert result.command.joints is not None
    assert np.allclose(result.command.joints - HERE.joints, [0.0025, 0.00125, 0, 0, 0, 0])


def test_tcp_speed_and_turning_are_clamped() -> None:
    moved = check(step(HERE.joints, (0.301, 0.0, 0.2)), HERE, LIMITS, DT)
    assert (moved.verdict, moved.reason) == (Verdict.CLAMPED, "tcp_speed")
    assert moved.command.position[0] == pytest.approx(0.3005)
    turned = np.array([0.0, 0.0, np.sin(0.005), np.cos(0.005)])
    spun = check(step(HERE.joints, quaternion=turned), HERE, LIMITS, DT)
    assert (spun.verdict, spun.reason) == (Verdict.CLAMPED, "tcp_speed")
    negated = check(step(HERE.joints, quaternion=-UP), HERE, LIMITS, DT)
    assert negated.verdict is Verdict.PASSED  # the same orientation


def test_the_gripper_is_clamped() -> None:
    result = check(target(gripper=0.08), HERE, LIMITS)
    assert (result.verdict, result.reason, result.command.gripper) == (Verdict.CLAMPED, "gripper_range", 0.07)


def test_two_clamps_are_both_told() -> None:
    edge = replace(HERE, position=np.array([0.58, 0.0, 0.2]))
    result = check(target((0.63, 0.0, 0.2), gripper=0.08), edge, LIMITS)
    assert result.reason == "workspace" and "gripper_range" in result.detail


anything = st.floats(allow_nan=True, allow_infinity=True, width=64)
sane = st.floats(-1.5, 1.5)
references = st.builds(
    Reference,
    position=arrays(np.float64, 3, elements=st.floats(-0.9, 0.9)),
    quaternion=st.just(UP),
    joints=arrays(np.float64, 6, elements=st.floats(0, 1)).map(
        lambda u: (1.0 - u) * LIMITS.joint_lower + u * LIMITS.joint_upper
    ),
    gripper=st.floats(0.0, 0.07),
)  # fmt: skip
commands = st.builds(
    Command,
    position=arrays(np.float64, 3, elements=st.one_of(anything, sane)),
    quaternion=st.one_of(st.just(UP), arrays(np.float64, 4, elements=anything)),
    joints=st.one_of(st.none(), arrays(np.float64, 6, elements=st.one_of(anything, st.floats(-4, 4)))),
    gripper=st.one_of(st.none(), anything, st.floats(-0.1, 0.2)),
    age=st.one_of(st.just(0.0), anything),
)
near = st.tuples(references, arrays(np.float64, 6, elements=st.floats(-0.02, 0.02))).map(
    lambda pair: (pair[0], Command(pair[0].position, UP, pair[0].joints + pair[1], 0.03))
)


@settings(max_examples=int(os.environ.get("FILTER_EXAMPLES", "1500")), deadline=None)
@given(st.one_of(st.tuples(references, commands), near), st.sampled_from([None, DT]))
def test_nothing_that_is_not_finite_or_outside_the_limits_ever_passes(
    pair: tuple[Reference, Command], dt: float | None
) -> None:
    ref, command = pair
    result = check(command, ref, LIMITS, dt)
    if result.verdict is Verdict.REFUSED:
        assert result.reason in REASONS
        return
    out = result.command
    assert np.all(np.isfinite(out.position)) and np.all(np.isfinite(out.quaternion))
    low = np.minimum([*LIMITS.workspace_lower[:2], LIMITS.floor], ref.position)
    assert np.all(out.position >= low - 1e-8)
    assert np.all(out.position <= np.maximum(LIMITS.workspace_upper, ref.position) + 1e-8)
    if out.gripper is not None:
        assert 0.0 <= out.gripper <= LIMITS.gripper_range
    if out.joints is not None:
        assert np.all(out.joints >= LIMITS.joint_lower - 1e-8) and np.all(out.joints <= LIMITS.joint_upper + 1e-8)
        assert np.all(out.joints >= np.minimum(LIMITS.soft_lower, ref.joints) - 1e-8)
        assert np.all(out.joints <= np.maximum(LIMITS.soft_upper, ref.joints) + 1e-8)
        if dt is not None:
            assert np.all(np.abs(out.joints - ref.joints) <= LIMITS.joint_speed * dt * (1 + 1e-5))
            assert np.linalg.norm(out.position - ref.position) <= LIMITS.tcp_speed * dt * (1 + 1e-5)


def test_what_was_seen_some_ticks_ago_changes_no_verdict() -> None:
    """A way through everything that can be in the way, judged with and without the memory of the tick before."""
    random, verdicts = np.random.default_rng(3), Counter[str]()
    wide = {"workspace_lower": (-0.75, -0.75, -0.75), "workspace_upper": (0.75, 0.75, 0.75)}
    quick = {"tcp_speed": 1.0, "tcp_angular_speed": 3.0}
    limits = DriverConfig(keep_out=(0.25, 0.1, 0.0, 0.45, 0.3, 0.25), **wide, **quick).limits()  # type: ignore[arg-type]
    kinematics = Kinematics()
    joints, goal = HERE.joints.copy(), HERE.joints
    with_memory = Reference(*_place(kinematics, joints), joints, 0.03)
    remembered = anew = 0
    for tick in range(4000):
        if tick == anew:
            anew += 500
            goal = random.uniform(limits.soft_lower, limits.soft_upper)
        step = np.clip(goal - joints, -0.006, 0.006)
        asked = joints + step
        position, quaternion = _place(kinematics, asked)
        command = Command(
            position, quaternion, asked, 0.03, ahead=np.array([asked + 3 * step, asked + 6 * step]), straight=True
        )
        blind = replace(with_memory, look=None, room=None)
        first, second = check(command, with_memory, limits, 0.02), check(command, blind, limits, 0.02)
        assert (first.verdict, first.reason) == (second.verdict, second.reason), tick
        verdicts[f"{first.verdict.name} {first.reason}"] += 1
        remembered += first.room is not None and first.room is with_memory.room
        if first.verdict is Verdict.REFUSED:
            goal, anew = HERE.joints, tick + 20
            with_memory = blind
            continue
        joints = asked
        with_memory = Reference(position, quaternion, joints, 0.03, None, None, first.look, first.room)
    assert remembered > 1000
    assert sum(v for k, v in verdicts.items() if k.startswith("REFUSED")) > 15, verdicts


def _place(kinematics: Kinematics, joints: Float) -> tuple[Float, Float]:
    pose = kinematics.tcp(joints)
    return pose.position, pose.quaternion


def test_the_refusal_of_a_nan_names_its_entry() -> None:
    bent = step([0.0, 1.2, -1.2, np.nan, 0.9, 0.0])
    assert check(bent, HERE, LIMITS, DT).detail.startswith("not_finite: entry 11 of")  # 3 + 4 + age, then joint4
    assert check(target((0.3, np.inf, 0.2)), HERE, LIMITS).detail.startswith("not_finite: entry 1 of")


def test_rounding_beyond_the_joint_range_is_no_reason_to_refuse() -> None:
    """A target of the trajectory may end a rounding error outside: it is put on the border, a goal passes as it is."""
    high = LIMITS.allowed_range([0.0, 1.2, -1.2, 0.0, 0.9, 0.0])[4][1]
    at_border = Reference(HERE.position, UP, np.array([0.0, 1.2, -1.2, 0.0, high, 0.0]), 0.03)
    beyond = step([0.0, 1.2, -1.2, 0.0, high + 4e-10, 0.0])
    result = check(beyond, at_border, LIMITS, DT)
    assert (result.verdict, result.reason, result.detail) == (Verdict.CLAMPED, "joint_range", "joint_range: rounding")
    assert result.command is not None and result.command.joints is not None and result.command.joints[4] == high
    goal = check(beyond, at_border, LIMITS)
    assert goal.verdict is not Verdict.REFUSED and goal.reason != "joint_range"
    far = check(step([0.0, 1.2, -1.2, 0.0, high + 4e-9, 0.0]), at_border, LIMITS, DT)
    assert (far.reason, far.detail.split(" = ")[0]) == ("joint_range", "joint_range: joint5")
