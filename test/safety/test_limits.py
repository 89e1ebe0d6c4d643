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
