"""The rules about how: steps, speeds, acceleration, efforts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from filter_cases import DT, LIMITS, OPEN, at, to  # type: ignore[import-not-found]

from reconvla_ros.safety.filter import Command, Verdict, check
from reconvla_ros.types import Float

REFUSED, PASSED, CLAMPED = Verdict.REFUSED, Verdict.PASSED, Verdict.CLAMPED
UNIT = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 1.0])  # joint 6 turns the tool and moves nothing


def turned(by: float, joint: int = 5) -> Float:
    step = np.zeros(6)
    step[joint] = by
    return step


def test_the_largest_joint_step_of_a_tick() -> None:
    limits = replace(LIMITS, joint_step=0.001, tcp_angular_speed=3.0)
    assert check(to(OPEN + turned(0.00099)), at(OPEN), limits, DT).verdict is PASSED
    result = check(to(OPEN - turned(0.00101)), at(OPEN), limits, DT)
    assert (result.verdict, result.reason) == (REFUSED, "step_size") and "joint6" in result.detail
    slow = check(to(OPEN - turned(0.00101)), at(OPEN), limits, 1.0)
    assert slow.reason == "step_size"  # whatever the dt


def test_the_largest_tcp_step_of_a_tick() -> None:
    limits = replace(LIMITS, tcp_step=2e-4)
    arm = float(np.hypot(*at(OPEN).position[:2]))
    assert check(to(OPEN + turned(1.9e-4 / arm, 0)), at(OPEN), limits, DT).verdict is PASSED
    result = check(to(OPEN + turned(2.1e-4 / arm, 0)), at(OPEN), limits, DT)
    assert (result.verdict, result.reason) == (REFUSED, "step_size") and "TCP" in result.detail


def test_the_largest_turn_for_a_cartesian_target() -> None:
    limits = replace(LIMITS, target_joint_step=0.2)
    assert check(to(OPEN + turned(0.19)), at(OPEN), limits).verdict is PASSED
    assert check(to(OPEN + turned(-0.21)), at(OPEN), limits).reason == "step_size"
    assert check(to(OPEN + turned(-0.21), straight=True), at(OPEN), limits).verdict is PASSED
    loose = replace(LIMITS, tcp_step=1e-3)
    assert check(to(OPEN + turned(0.1, 0)), at(OPEN), loose).verdict is PASSED  # a target is no tick


@pytest.mark.parametrize("joint", range(6))
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_every_joint_s_acceleration(joint: int, sign: float) -> None:
    wide = replace(LIMITS, joint_acceleration=np.full(6, 2.0), stop_acceleration=np.full(6, 5.0))
    speed = turned(0.1 * sign, joint)
    before = at(OPEN, velocity=speed)

    def at_speed(value: float) -> str:
        command = to(OPEN + turned(value * sign * DT, joint))
        return check(command, before, wide, DT).reason

    assert at_speed(0.1) == "" and at_speed(0.1 + 1.99 * DT) == ""
    assert at_speed(0.1 + 2.01 * DT) == "joint_acceleration"
    assert at_speed(0.1 - 4.99 * DT) == ""  # getting slower may be harder
    assert at_speed(0.1 - 5.01 * DT) == "joint_acceleration"
    assert at_speed(-1e-3) == "joint_acceleration"


def test_turning_round_is_no_braking() -> None:
    before = at(OPEN, velocity=turned(0.004))
    assert check(to(OPEN - turned(0.0035 * DT)), before, LIMITS, DT).verdict is PASSED
    assert check(to(OPEN - turned(0.0075 * DT)), before, LIMITS, DT).reason == "joint_acceleration"


def test_without_a_velocity_or_a_dt_nothing_is_said_about_acceleration() -> None:
    command = to(OPEN + turned(0.002))
    assert check(command, at(OPEN), LIMITS, DT).verdict is PASSED
    assert check(command, at(OPEN, velocity=np.zeros(6)), LIMITS).verdict is PASSED
    assert check(command, at(OPEN, velocity=np.zeros(6)), LIMITS, DT).reason == "joint_acceleration"


def test_the_speed_of_every_joint_is_clamped() -> None:
    for joint in range(6):
        for sign in (1.0, -1.0):
            limits = replace(LIMITS, joint_speed=np.full(6, 0.02), tcp_speed=1.0, tcp_angular_speed=3.0)
            result = check(to(OPEN + turned(sign * 2e-4, joint)), at(OPEN), limits, DT)
            assert (result.verdict, result.reason) == (CLAMPED, "joint_speed"), joint
            assert result.command.joints is not None
            assert np.allclose(result.command.joints - OPEN, turned(sign * 1e-4, joint))


def test_the_tcp_s_turning_is_clamped_by_itself() -> None:
    limits = replace(LIMITS, tcp_angular_speed=0.1)
    result = check(to(OPEN + turned(0.001)), at(OPEN), limits, DT)
    assert (result.verdict, result.reason) == (CLAMPED, "tcp_speed")
    assert result.command.joints is not None
    assert np.allclose(result.command.joints - OPEN, turned(0.0005), atol=1e-9)


PUSHED = np.array([0.0, 0.0, 0.0, 0.0, 7.0, 0.0])  # beyond the 6 N m of joint 5


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("dt", [None, DT])
def test_a_joint_does_not_push_on(sign: float, dt: float | None) -> None:
    reference = at(OPEN, external=sign * PUSHED)
    on, back, other = turned(sign * 1e-4, 4), turned(-sign * 1e-4, 4), turned(1e-4, 0)
    result = check(to(OPEN + on), reference, LIMITS, dt)
    assert (result.verdict, result.reason) == (REFUSED, "effort") and "joint5" in result.detail
    for step in (back, other, turned(0.0)):
        assert check(to(OPEN + step), reference, LIMITS, dt).verdict is PASSED
    assert check(to(OPEN + on), at(OPEN, external=0.85 * sign * PUSHED), LIMITS, dt).verdict is PASSED
    assert check(to(OPEN + on), at(OPEN), LIMITS, dt).verdict is PASSED


@pytest.mark.parametrize(
    ("effort", "verdict", "left"),
    [(0.0, PASSED, 0.0), (1.0, PASSED, 1.0), (1.5, CLAMPED, 1.0), (3.1, REFUSED, 3.1), (-0.1, REFUSED, -0.1)],
)
def test_the_gripping_torque(effort: float, verdict: Verdict, left: float) -> None:
    result = check(to(OPEN, effort=effort), at(OPEN), LIMITS)
    assert (result.verdict, result.command.effort) == (verdict, left)
    assert result.reason == ("" if verdict is PASSED else "gripper_effort")


NONSENSE: tuple[tuple[dict[str, Any], str], ...] = (
    ({"position": [0.3, 0.0, 0.2]}, "shape"),
    ({"position": None}, "shape"),
    ({"position": np.zeros((3, 1))}, "shape"),
    ({"position": np.array(["a", "b", "c"])}, "shape"),
    ({"quaternion": np.zeros(4, dtype=np.float32)}, "shape"),
    ({"joints": np.zeros((6, 1))}, "shape"),
    ({"joints": "joints"}, "shape"),
    ({"gripper": "wide"}, "shape"),
    ({"gripper": True}, "shape"),
    ({"gripper": 10**400}, "shape"),
    ({"effort": [1.0]}, "shape"),
    ({"age": None}, "shape"),
    ({"ahead": np.zeros(6)}, "shape"),
    ({"ahead": np.zeros((2, 5))}, "shape"),
    ({"ahead": np.zeros((65, 6))}, "shape"),
    ({"ahead": [[0.0] * 6]}, "shape"),
    ({"ahead": np.zeros((1, 6), dtype=np.int64)}, "shape"),
    ({"ahead": np.array([[np.nan] * 6])}, "not_finite"),
    ({"effort": np.nan}, "not_finite"),
    ({"effort": np.inf}, "not_finite"),
    ({"gripper": -np.inf}, "not_finite"),
    ({"position": np.array([1.7e308, -1.7e308, 0.0])}, "not_finite"),
    ({"position": np.array([1e300, 0.0, 0.2])}, "workspace"),
    ({"ahead": np.full((1, 6), 1e300)}, "not_finite"),
    ({"joints": np.full(6, 1e308)}, "not_finite"),
)


@pytest.mark.parametrize(("values", "reason"), NONSENSE)
def test_nonsense_is_named(values: dict[str, Any], reason: str) -> None:
    good: dict[str, Any] = vars(to(OPEN)).copy()
    result = check(Command(**(good | values)), at(OPEN), LIMITS, DT)
    assert (result.verdict, result.reason) == (REFUSED, reason), result.detail


@pytest.mark.parametrize("dt", [0.0, -DT, np.nan, np.inf])
def test_a_dt_that_is_no_time_is_refused(dt: float) -> None:
    assert check(to(OPEN), at(OPEN), LIMITS, dt).reason == "shape"


def test_an_orientation_given_by_its_other_sign_is_clamped_on_the_short_way() -> None:
    """q and -q are one orientation: halfway to the wrong one lies another."""
    limits = replace(LIMITS, tcp_angular_speed=0.1)
    asked = to(OPEN + turned(2 * 0.1 * DT))
    plain, other = (
        check(asked, at(OPEN), limits, DT),
        check(replace(asked, quaternion=-asked.quaternion), at(OPEN), limits, DT),
    )
    assert plain.verdict is CLAMPED and other.verdict is CLAMPED
    assert abs(float(plain.command.quaternion @ other.command.quaternion)) == pytest.approx(1.0, abs=1e-9)
