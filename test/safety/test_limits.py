from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.errors import LimitError
from reconvla_ros.safety.limits import Limits

LIMITS = DriverConfig().limits()


def changed(**values: Any) -> Limits:
    return replace(LIMITS, **values)


def test_the_defaults_are_those_of_a_first_motion() -> None:
    assert (LIMITS.tcp_speed, LIMITS.tcp_angular_speed, LIMITS.command_age) == (0.10, 0.5, 0.3)
    assert LIMITS.floor == pytest.approx(0.005) and LIMITS.joint_margin == 0.1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"joint_lower": [0.0] * 5}, r"limits.joint_lower: expected shape \(6,\), got \(5,\)"),
        ({"joint_upper": [np.nan] * 6}, r"limits.joint_upper\[0\]: must be finite"),
        ({"joint_lower": [-2.7, 0, -2.9, -1.7, -1.2, -2.0]}, r"joint_lower\[0\]: hard table allows -2.6179"),
        (
            {"joint_lower": [2.0, 0, -2.9, -1.7, -1.2, -2.0], "joint_upper": [1.0, 3, 0, 1, 1, 2]},
            r"joint\[0\]: lower must",
        ),
        ({"joint_speed": [3.1] * 6}, "at most 3 rad/s, got 3.1"),
        ({"joint_speed": [0.0] * 6}, "must be above 0"),
        ({"joint_acceleration": [6.0] * 6}, "at most 5 rad/s"),
        ({"workspace_lower": [0.7, -0.4, 0.0]}, r"workspace\[0\]: lower must be below upper"),
        ({"workspace_upper": [0.9, 0.4, 0.5]}, r"workspace_upper\[0\]: hard table allows"),
        ({"tcp_speed": 1.5}, r"tcp_speed: must be in 0.0001..1 m/s, got 1.5"),
        ({"tcp_speed": float("nan")}, "tcp_speed: must be a finite number"),
        ({"command_age": True}, "command_age: must be a finite number"),
        ({"joint_margin": 1.3}, "joint_margin: must be in"),
        ({"gripper_range": 0.2}, "gripper_range: must be in"),
        ({"gripper_effort": 4.0}, "gripper_effort: must be in 0..3"),
        ({"table_clearance": -0.01}, "table_clearance"),
        ({"stop_acceleration": np.full(6, 5.1)}, r"stop_acceleration\[0\]: must be above 0 and at most 5 rad/s"),
        ({"stop_acceleration": np.full(6, 1.0)}, "stop_acceleration: must be at least joint_acceleration"),
        ({"stop_acceleration": np.full(5, 3.0)}, r"stop_acceleration: expected shape \(6,\)"),
        ({"table_margin": 0.21}, "table_margin: must be in 0..0.2 m"),
        ({"keep_out_margin": -0.1}, "keep_out_margin: must be in"),
        ({"self_margin": float("inf")}, "self_margin: must be a finite number"),
        ({"keep_out": (0.1, 0.1, 0.0, 0.2, 0.2)}, "keep_out: six numbers a box .* got 5"),
        ({"keep_out": (0.1,) * 6}, "keep_out: box 1: low corner"),
        ({"keep_out": (0.1, 0.1, 0.0, 0.2, 0.2, 0.1, 0.3, 0.1, 0.0, 0.4, 0.0, 0.1)}, "keep_out: box 2: low corner"),
        ({"keep_out": (0.1, 0.1, 0.0, 0.2, 0.2, float("nan"))}, r"keep_out\[5\]: must be finite"),
        ({"keep_out": (0.1, 0.1, 0.0, 0.2, 0.2, 100.0)}, "keep_out: box 1: corners must lie within 2 m"),
        ({"keep_out": "box"}, "keep_out: not a numeric array"),
        ({"keep_out": np.zeros((1, 6))}, "keep_out: expected shape"),
        ({"tool_axis": (0.0, 0.0, -2.0)}, "tool_axis: must have length 1, got 2"),
        ({"tool_axis": (0.0, -1.0)}, r"tool_axis: expected shape \(3,\)"),
        ({"tool_cone": 0.0}, "tool_cone: must be in 0.01..3.14"),
        ({"tool_cone": 3.2}, "tool_cone: must be in"),
        ({"target_joint_step": 4.0}, "target_joint_step: must be in"),
        ({"joint_step": 0.2}, "joint_step: must be in 0.0001..0.15 rad"),
        ({"tcp_step": 0.1}, "tcp_step: must be in"),
        ({"singularity_stop": 0.6}, "singularity_stop: must be in 0..0.5"),
        ({"singularity_slow": 0.01}, "singularity_slow: must be in 0.05..1"),
        ({"external_effort": np.full(6, 33.0)}, r"external_effort\[0\]: hard table allows 0.1..32"),
        (
            {"external_effort": np.array([1.0, 1.0, 1.0, 11.0, 1.0, 1.0])},
            r"external_effort\[3\]: hard table allows 0.1..10",
        ),
        ({"external_effort": np.zeros(6)}, "external_effort"),
        ({"variant": 2}, "variant: 2 .*valid: 0, 1"),
        ({"tcp_offset": (0.0, 0.0)}, "tcp_offset: expected 3 numbers"),
        ({"tcp_offset": (0.0, 0.0, 0.6)}, "tcp_offset: expected 3 numbers within 0.5 m"),
    ],
)
def test_what_is_looser_or_nonsense_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(LimitError, match=message):
        changed(**values)


def test_tightening_is_allowed() -> None:
    tight = changed(joint_lower=[-1.0, 0.1, -2.0, -1.0, -1.0, -1.0], tcp_speed=0.05)
    assert tight.joint_lower[0] == -1.0
    with pytest.raises(ValueError):
        tight.joint_lower[0] = -5.0


def test_the_table_raises_the_floor() -> None:
    assert changed(table_z=0.1).floor == pytest.approx(0.105)
    assert changed(workspace_lower=[0.1, -0.4, 0.2]).floor == pytest.approx(0.2)


def test_the_bounds_of_the_body_follow_the_margins() -> None:
    limits = changed(
        keep_out=(0.4, 0.4, 0.0, 0.5, 0.5, 0.1), table_margin=0.01, keep_out_margin=0.02, self_margin=0.003
    )
    margins = {"table": 0.01, "keep_out": 0.02, "self_collision": 0.003}
    assert [margins[reason] for reason, _ in limits.body.items] == limits.body_bounds.tolist()
    assert {reason for reason, _ in limits.body.items} == set(margins)


def test_a_step_smaller_than_a_tick_at_full_speed_is_refused() -> None:
    with pytest.raises(LimitError, match=r"joint_step: at 20 Hz the speed allowed needs 0.05, got 0.03"):
        DriverConfig(rate=20.0, joint_speed=1.0).limits()
    with pytest.raises(LimitError, match=r"tcp_step: at 200 Hz the speed allowed needs 0.0005, got 0.0004"):
        DriverConfig(tcp_step=0.0004).limits()


def test_the_firmware_s_variant_reaches_the_body() -> None:
    zero = np.zeros((1, 6))
    high, low = (DriverConfig().limits(variant).body.look(zero, 0.0).tcp for variant in (1, 0))
    assert np.linalg.norm(high - low) == pytest.approx(0.00995, abs=2e-5)
