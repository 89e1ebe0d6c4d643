from __future__ import annotations

from dataclasses import replace

import numpy as np
from fake_arm import HEALTHY, FakeArm  # type: ignore[import-not-found]

from reconvla_ros.arm.control import DriverCore
from reconvla_ros.arm.loop import DeadlineLoop
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.nodes.driver_convert import to_values


def test_diagnostics_carry_every_check_of_the_preflight() -> None:
    arm = FakeArm(np.array([0.0, 0.8, -0.7, 0.0, 0.4, 0.0]))
    arm.setup = replace(HEALTHY, gripper_range=0.1)
    core = DriverCore(arm, DriverConfig(dry_run=False))
    result = core.tick(1_000_000_000, arm.stamp_ns)
    values = to_values(result, DeadlineLoop(0.005, lambda: None).stats(), core)
    assert {name for name in values if name.startswith("preflight:")} == {
        f"preflight:{check.name}" for check in core.preflight.checks
    }
    assert values["preflight:mode"] == "ok: mode 1 (CAN)"
    assert str(values["preflight:gripper"]).startswith("fail: range 100 mm, configured 70 mm; remedy: ")
