"""Every check of the preflight passes a healthy arm, and can fail."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fake_arm import HEALTHY, FakeArm  # type: ignore[import-not-found]

from reconvla_ros.arm.control import DriverCore
from reconvla_ros.arm.gate import PreflightGate
from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.arm.preflight import Check, Level, run_checks
from reconvla_ros.arm.rotations import quaternion_from_matrix
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.errors import ArmError
from reconvla_ros.types import Pose

JOINTS = np.array([0.1, 0.8, -0.7, 0.1, 0.4, -0.2])
CONFIG = DriverConfig(dry_run=False)
LIMITS = HEALTHY.joint_limits
ZERO_POSE = Pose(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]))


def flange(variant: int, joints: np.ndarray = JOINTS) -> Pose:
    frame = Kinematics(variant).flange(joints)
    return Pose(frame[:3, 3], quaternion_from_matrix(frame))


def judge(setup: dict[str, Any], report: dict[str, Any], config: dict[str, Any], joints: Any = JOINTS) -> list[Check]:
    arm = FakeArm(joints)
    arm.setup, arm.facts = replace(HEALTHY, **setup), report
    return list(run_checks(arm.setup, arm.report(), arm.state(), Kinematics(1), replace(CONFIG, **config)))


def test_a_healthy_arm_passes_every_check() -> None:
    checks = judge({}, {}, {})
    assert len({check.name for check in checks}) == len(checks) == 14
    assert [check.name for check in checks if check.level is not Level.OK] == []


def corrupted(joint: int, low: float, high: float) -> dict[str, Any]:
    limits = list(LIMITS)
    limits[joint] = (low, high)
    return {"joint_limits": tuple(limits)}


TURNED = Pose(flange(1).position, flange(1, JOINTS + np.array([0, 0, 0, 0, 0, 0.03])).quaternion)
BAD: list[tuple[str, Level, str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("alone", Level.FAIL, "a leader arm or another host commands on this bus .0x151, 0x155.: the arm obeys it past every",
     {"commanders": (0x151, 0x155)}, {}, {}),
    ("firmware", Level.WARN, "no answer", {"firmware": ""}, {}, {}),
    ("firmware", Level.WARN, "no known version", {"firmware": "X-V9"}, {}, {}),
    ("mode", Level.FAIL, "mode 2 .teach", {}, {"ctrl_mode": 2}, {}),
    ("mode", Level.FAIL, "mode 6 .leader", {}, {"ctrl_mode": 6}, {}),
    ("mode", Level.FAIL, "mode 255 .unknown", {}, {"ctrl_mode": 255}, {}),
    ("status", Level.FAIL, "status 1 .e-stop", {}, {"arm_status": 1}, {}),
    ("status", Level.FAIL, "status 7 .collision", {}, {"arm_status": 7}, {}),
    ("status", Level.WARN, r"status 4 .target beyond limit., joints \[2\]", {}, {"arm_status": 4, "limit_bits": 2}, {}),
    ("joint_comm", Level.FAIL, r"joints \[1, 6\] lost", {}, {"comm_bits": 0b100001}, {}),
    ("geometry", Level.FAIL, "differ by 9.9", {}, {"flange": flange(0)}, {}),
    ("geometry", Level.FAIL, "1.72 degree", {}, {"flange": TURNED}, {}),
    ("geometry", Level.FAIL, "differ by", {}, {"flange": ZERO_POSE}, {}),
    ("geometry", Level.WARN, "reports no flange pose", {}, {"flange": None}, {}),
    ("geometry", Level.FAIL, "its zeros are unknown", {"firmware": ""}, {"flange": None}, {}),
    ("joint_limits", Level.FAIL, "joint3 -0.1..-0.1 degree", corrupted(2, -0.001745, -0.001745), {}, {}),
    ("joint_limits", Level.FAIL, "joint1 0.0..0.0 degree", corrupted(0, 0.0, 0.0), {}, {}),
    ("joint_limits", Level.FAIL, "joint1 180.0..190.0", corrupted(0, np.radians(180.0), np.radians(190.0)), {}, {}),
    ("joint_limits", Level.WARN, "narrower than configured: joint6", corrupted(5, -1.5, 1.5), {}, {}),
    ("joint_limits", Level.WARN, r"no answer for joints \[1, 2,", {"joint_limits": (None,) * 6}, {}, {}),
    ("motors", Level.FAIL, "joint2 motor too hot", {}, {"motor_bits": (0, 2, 0, 0, 0, 0)}, {}),
    ("motors", Level.FAIL, "joint6 stall", {}, {"motor_bits": (0, 0, 0, 0, 0, 0x80)}, {}),
    ("temperature", Level.WARN, "motors up to 61 C", {"motor_temperatures": (30.0, 61.0, 30.0, 30.0, 30.0, 30.0)}, {}, {}),
    ("temperature", Level.FAIL, "drivers 81 C", {"driver_temperatures": (30.0, 81.0, 30.0, 30.0, 30.0, 30.0)}, {}, {}),
    ("feedback", Level.FAIL, "nothing was heard of the joints for 2.0 s", {}, {"joint_age": 2.0}, {}),
    ("temperature", Level.WARN, "not reported", {"motor_temperatures": (0.0,) * 6, "driver_temperatures": (0.0,) * 6},
     {}, {}),
    ("voltage", Level.WARN, "18.0..24.0 V", {"voltages": (24.0, 24.0, 18.0, 24.0, 24.0, 24.0)}, {}, {}),
    ("voltage", Level.WARN, "not reported", {"voltages": (0.0,) * 6}, {}, {}),
    ("gripper", Level.FAIL, "range 100 mm, configured 70", {"gripper_range": 0.1}, {}, {}),
    ("gripper", Level.FAIL, "range 70 mm, configured 100", {}, {}, {"gripper_range": 0.1}),
    ("gripper", Level.FAIL, "range is not set", {"gripper_range": 0.0}, {}, {}),
    ("gripper", Level.WARN, "configured 50", {}, {}, {"gripper_range": 0.05}),
    ("gripper", Level.WARN, "no answer", {"gripper_range": None}, {}, {}),
    ("command_mode", Level.WARN, "joint limits do not hold", {}, {}, {"command_mode": "end_pose"}),
    ("command_mode", Level.FAIL, "12-bit torque", {"firmware": "S-V1.8-8"}, {}, {"command_mode": "mit"}),
    ("command_mode", Level.FAIL, "the other way", {"firmware": "S-V1.7-2"}, {}, {"command_mode": "mit"}),
    ("command_mode", Level.FAIL, "is not known", {"firmware": ""}, {}, {"command_mode": "mit"}),
    ("collision_level", Level.WARN, r"off for joints \[2\]", {"collision_levels": (1, 0, 1, 1, 1, 1)}, {}, {}),
    ("collision_level", Level.WARN, "no answer", {"collision_levels": None}, {}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "level", "words", "setup", "report", "config"), BAD)
def test_each_check_can_fail(
    name: str, level: Level, words: str, setup: dict[str, Any], report: dict[str, Any], config: dict[str, Any]
) -> None:
    import re

    (check,) = [check for check in judge(setup, report, config) if check.name == name]
    assert check.level is level and re.search(words, check.finding), check
    assert check.remedy or level is Level.WARN


@pytest.mark.parametrize(
    ("joints", "pose", "words"),
    [
        (np.zeros(6), ZERO_POSE, "exactly 0"),
        (np.zeros(6), None, "exactly 0"),
        (np.array([0.0, 0.0, 9.0, 0.0, 0.0, 0.0]), flange(1), "joint3 reads 9.000 rad"),
    ],
)
def test_feedback_that_is_not_real_is_refused(joints: np.ndarray, pose: Pose | None, words: str) -> None:
    (check,) = [check for check in judge({}, {"flange": pose}, {}, joints) if check.name == "feedback"]
    assert check.level is Level.FAIL and words in check.finding


def test_an_arm_that_really_lies_at_zero_passes() -> None:
    checks = judge({}, {"flange": flange(1, np.zeros(6))}, {}, np.zeros(6))
    assert all(check.level is Level.OK for check in checks)


def test_the_firmware_chooses_the_zeros() -> None:
    arm = FakeArm(JOINTS)
    arm.setup, arm.facts = replace(HEALTHY, firmware="S-V1.5-8"), {"flange": flange(0)}
    gate = PreflightGate(arm, CONFIG)
    assert gate.refusal == ""
    assert np.allclose(gate.kinematics.flange(JOINTS)[:3, 3], flange(0).position)
    arm.setup = HEALTHY
    assert "preflight geometry: flange of the arm and ours differ by 9.9" in PreflightGate(arm, CONFIG).refusal


def test_enable_is_refused_with_name_and_remedy_until_the_cause_is_gone() -> None:
    arm = FakeArm(JOINTS)
    core = DriverCore(arm, CONFIG)
    arm.facts = {"ctrl_mode": 2}  # someone pressed the teach button after the start
    with pytest.raises(ArmError, match=r"no power: preflight mode: mode 2 \(teach\).*; remedy: leave teaching"):
        core.enable(True)
    assert "enable" not in arm.calls
    arm.facts = {}
    core.enable(True)
    assert arm.calls == ["enable"]


def test_an_arm_that_already_has_power_is_not_moved_when_a_check_fails() -> None:
    arm = FakeArm(JOINTS)
    arm.setup = replace(HEALTHY, **corrupted(0, 0.0, 0.0))
    core = DriverCore(arm, CONFIG)
    core.tick(1_000_000_000, arm.stamp_ns)
    done, message = core.home()
    assert not done and "preflight joint_limits" in message
    assert np.array_equal(arm.joints, JOINTS)
    arm.setup = HEALTHY
    core.enable(True)
    assert core.home()[0]


def test_an_arm_without_a_gripper_passes_when_it_is_said() -> None:
    for fitted in (None, 0.0):
        (check,) = [c for c in judge({"gripper_range": fitted}, {}, {"gripper": "none"}) if c.name == "gripper"]
        assert check.level is Level.OK
    (check,) = [c for c in judge({}, {}, {"command_mode": "mit"}) if c.name == "command_mode"]
    assert check.level is Level.OK
