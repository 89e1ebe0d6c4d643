from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fake_arm import FakeArm  # type: ignore[import-not-found]

from reconvla_ros.arm import health
from reconvla_ros.arm.settings import DriverConfig

ARM = FakeArm(np.zeros(6))
STATE = replace(ARM.state(), effort=np.array([1.0, -8.0, 3.0, 0.5, 0.5, 0.1]))
GOOD = replace(ARM.report(), motor_temperatures=(30.0,) * 6, driver_temperatures=(32.0,) * 6, voltages=(24.0,) * 6)


def test_a_healthy_arm_is_not_worth_a_word() -> None:
    assert health.warnings(GOOD, STATE, DriverConfig()) == ()
    silent = replace(GOOD, motor_temperatures=(0.0,) * 6, driver_temperatures=(0.0,) * 6, voltages=(0.0,) * 6)
    assert health.warnings(silent, STATE, DriverConfig()) == ()


@pytest.mark.parametrize(
    ("report", "effort", "words"),
    [
        ({"motor_temperatures": (30.0, 61.0, 30.0, 30.0, 30.0, 30.0)}, 0.0, "motor of joint2 has 61 C"),
        ({"driver_temperatures": (30.0, 30.0, 30.0, 30.0, 30.0, 60.0)}, 0.0, "driver of joint6 has 60 C"),
        ({"voltages": (24.0, 24.0, 19.9, 24.0, 24.0, 24.0)}, 0.0, "supply 19.9..24.0 V, expected 20..28"),
        ({"voltages": (24.0, 24.0, 28.5, 24.0, 24.0, 24.0)}, 0.0, "supply 24.0..28.5 V"),
        ({}, -6.5, "joint5 bears -6.5 N m, more than 0.8 of 8"),
    ],
)
def test_each_is_named_with_its_bound(report: dict[str, Any], effort: float, words: str) -> None:
    state = replace(STATE, effort=np.array([0.0, 0.0, 0.0, 0.0, effort, 0.0]))
    (found,) = health.warnings(replace(GOOD, **report), state, DriverConfig())
    assert words in found


def test_the_end_pose_mode_is_warned_about_as_long_as_it_is_on() -> None:
    (found,) = health.warnings(GOOD, STATE, DriverConfig(command_mode="end_pose"))
    assert "joint limits do not hold" in found


def test_values_are_rows_of_six() -> None:
    values = health.values(GOOD, STATE)
    assert values["motor_temperature_C"] == "30 30 30 30 30 30"
    assert values["motor_effort_Nm"] == "1.00 -8.00 3.00 0.50 0.50 0.10"
    assert values["bus"] == "ok"
    assert "opened anew" in str(health.values(replace(GOOD, link="opened anew 2 times"), STATE)["bus"])
