"""Preflight: what must be true of an arm before its motors get power. Facts in, named checks out; nothing is sent.

A check fails when driving would be wrong or useless, and warns when a person should look. What an arm does not answer
is a warning, except where nothing else tells the geometry.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from reconvla_ros import tables
from reconvla_ros.arm import firmware
from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.arm.protocol import ArmReport, ArmSetup
from reconvla_ros.arm.rotations import matrix_from_quaternion
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.safety.supervisor import MOTOR_FAULT_BITS
from reconvla_ros.types import ArmState

FLANGE_POSITION = 0.005  # [m] the wrong zeros of joints 2 and 3 show as 10 mm, a torn sample of a slow motion as 2
FLANGE_ANGLE = math.radians(1.0)
_RANGE_LEAST = math.radians(5.0)  # users report corrupted limits of -0.1..-0.1 degree
_RANGE_SLACK = math.radians(0.2)  # the arm keeps tenths of a degree
_OPENING_SLACK = 5e-4  # [m]
_SILENT = 1.0  # [s] without joint frames: a busy host is never that late
_BITS = {1: "motor too hot", 2: "over-current", 3: "driver too hot", 4: "collision", 5: "driver error", 7: "stall"}
_TARGET_STATUS = (2, 3, 4)  # left by the last target; enabling sends one that is valid
_POWER_CYCLE = "hold the arm up, call arm/power_cycle, then enable (twice)"


class Level(Enum):
    """How bad a finding is; FAIL refuses to power the motors."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """One finding; `remedy` is empty when there is nothing to do."""

    name: str
    level: Level
    finding: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.level.value}: {self.finding}" + (f"; remedy: {self.remedy}" if self.remedy else "")


def failures(checks: Sequence[Check]) -> list[Check]:
    """Those that refuse."""
    return [check for check in checks if check.level is Level.FAIL]


def refusal(checks: Sequence[Check]) -> str:
    """The failed checks with their remedies, in words; empty when none failed."""
    return " | ".join(f"preflight {c.name}: {c.finding}; remedy: {c.remedy}" for c in failures(checks))


def run_checks(
    setup: ArmSetup, report: ArmReport, state: ArmState, kinematics: Kinematics, config: DriverConfig
) -> tuple[Check, ...]:
    """Every check, in the order a person should read them. `kinematics` is the one the driver uses."""
    return (
        _alone(setup),
        _firmware(setup),
        _mode(report),
        _status(report),
        _joint_comm(report),
        _feedback(report, state),
        _geometry(setup, report, state, kinematics),
        _joint_limits(setup, config),
        _motors(report),
        _temperature(setup, config),
        _voltage(setup, config),
        _gripper(setup, config),
        _command_mode(setup, config),
        _collision(setup),
    )


def _alone(setup: ArmSetup) -> Check:
    """An arm on the bus of a leader obeys it past every limit of ours, and a second host likewise."""
    name = "alone"
    if setup.commanders is None:
        return Check(name, Level.OK, "not listened for other commanders: the driver itself speaks")
    if not setup.commanders:
        return Check(name, Level.OK, "nobody else commands on this bus")
    ids = ", ".join(f"{i:#05x}" for i in setup.commanders)
    return Check(name, Level.FAIL, f"a leader arm or another host commands on this bus ({ids}): the arm obeys it past "
                 "every limit", "give the leader a CAN interface of its own, stop the other host")  # fmt: skip


def _firmware(setup: ArmSetup) -> Check:
    name = "firmware"
    if firmware.version(setup.firmware) is None:
        found = f"{setup.firmware!r} is no known version" if setup.firmware else "no answer to the version query 0x4AF"
        return Check(name, Level.WARN, found + "; the newer zeros of joints 2 and 3 are assumed",
                     "read the version with AgileX's tool")  # fmt: skip
    variant = firmware.dh_variant(setup.firmware)
    zeros = "newer" if variant else "older (before S-V1.6-3)"
    return Check(name, Level.OK, f"{setup.firmware}, {zeros} zeros of joints 2 and 3")


def _mode(report: ArmReport) -> Check:
    mode = report.ctrl_mode
    words = f"mode {mode} ({tables.CTRL_MODES.get(mode, 'unknown')})"
    if mode in (0, 1):
        return Check("mode", Level.OK, words)
    remedies = {
        2: f"leave teaching with the button on the arm; if it stays: {_POWER_CYCLE}",
        6: "set the arm back to follower (0x470 FC, AgileX's tool), hold it up, switch it off and on",
    }
    return Check("mode", Level.FAIL, f"{words}: it does not obey this driver",
                 remedies.get(mode, "end the other control of the arm, so that it goes back to standby"))  # fmt: skip


def _status(report: ArmReport) -> Check:
    status = report.arm_status
    words = f"status {status} ({tables.ARM_STATUS.get(status, 'unknown')})"
    if status == 0:
        return Check("status", Level.OK, words)
    if status in _TARGET_STATUS:
        bits = [j + 1 for j in range(6) if report.limit_bits >> j & 1]
        beyond = f", joints {bits} beyond their limit" if bits else ""
        return Check("status", Level.WARN, words + beyond + ", left by an earlier target",
                     f"enabling sends a valid one; if it stays: {_POWER_CYCLE}")  # fmt: skip
    return Check("status", Level.FAIL, words, f"remove the cause, then {_POWER_CYCLE}")


def _joint_comm(report: ArmReport) -> Check:
    lost = [j + 1 for j in range(6) if report.comm_bits >> j & 1]
    if not lost:
        return Check("joint_comm", Level.OK, "all joints answer their controller")
    return Check("joint_comm", Level.FAIL, f"joints {lost} lost inside the arm", "hold the arm up, switch it off and "
                 "on; if it stays, the cable inside the arm")  # fmt: skip


def _feedback(report: ArmReport, state: ArmState) -> Check:
    """Zeros before the first real data look like an arm in its rest pose; the flange cannot be at the base, though."""
    name, remedy = "feedback", "switch the arm off and on, wait until it has started, then start the driver again"
    if not report.joint_age <= _SILENT:
        return Check(name, Level.FAIL, f"nothing was heard of the joints for {report.joint_age:.1f} s",
                     "check power and cable; the driver connects again by itself")  # fmt: skip
    if not np.all(np.isfinite(state.position)):
        return Check(name, Level.FAIL, "joint positions are not finite", remedy)
    no_pose = report.flange is None or not report.flange.position.any()
    if no_pose and not state.position.any():
        return Check(name, Level.FAIL, "every joint reads exactly 0 and there is no pose: not real data", remedy)
    beyond = np.maximum(np.array(tables.JOINT_LOWER) - state.position, state.position - np.array(tables.JOINT_UPPER))
    if float(beyond.max()) > 0.5:
        joint = int(np.argmax(beyond))
        return Check(name, Level.FAIL, f"joint{joint + 1} reads {state.position[joint]:.3f} rad, impossible", remedy)
    return Check(name, Level.OK, f"joints and pose arrive, newest {1e3 * min(report.joint_age, 3600.0):.0f} ms old")


def flange_residual(report: ArmReport, state: ArmState, kinematics: Kinematics) -> tuple[float, float] | None:
    """How far the flange the arm reports is from ours [m], [rad]; None where it reports none."""
    if report.flange is None:
        return None
    ours = kinematics.flange(state.position)
    turn = ours[:3, :3].T @ matrix_from_quaternion(report.flange.quaternion)
    angle = math.acos(min(1.0, max(-1.0, (float(np.trace(turn)) - 1.0) / 2.0)))
    return float(np.linalg.norm(ours[:3, 3] - report.flange.position)), angle


def _geometry(setup: ArmSetup, report: ArmReport, state: ArmState, kinematics: Kinematics) -> Check:
    name, off = "geometry", flange_residual(report, state, kinematics)
    if off is None:
        known = firmware.version(setup.firmware) is not None
        return Check(name, Level.WARN if known else Level.FAIL, "the arm reports no flange pose (0x2A2..0x2A4)"
                     + ("" if known else " and no firmware: its zeros are unknown"),
                     "measure the height of the flange and compare with arm/ee_pose")  # fmt: skip
    place, angle = off
    words = f"flange of the arm and ours differ by {1e3 * place:.1f} mm, {math.degrees(angle):.2f} degree"
    if place <= FLANGE_POSITION and angle <= FLANGE_ANGLE:
        return Check(name, Level.OK, words)
    return Check(name, Level.FAIL, words, "10 mm without a turn are the other zeros of joints 2 and 3: start the driver "
                 f"again so that it reads the firmware (now {setup.firmware or 'unknown'}); else a joint's zero is "
                 "wrong")  # fmt: skip


def _joint_limits(setup: ArmSetup, config: DriverConfig) -> Check:
    name, unread, narrow = "joint_limits", [], []
    for joint, limits in enumerate(setup.joint_limits):
        if limits is None:
            unread.append(joint + 1)
            continue
        low, high = limits
        words = f"joint{joint + 1} {math.degrees(low):.1f}..{math.degrees(high):.1f} degree"
        if high - low < _RANGE_LEAST or low > config.joint_upper[joint] or high < config.joint_lower[joint]:
            return Check(name, Level.FAIL, f"the arm's own limits are corrupted: {words}; it would refuse every target",
                         "write the defaults back with AgileX's tool (0x474, or 0x477 byte 1 = 2), then start "
                         "again")  # fmt: skip
        if low > config.joint_lower[joint] + _RANGE_SLACK or high < config.joint_upper[joint] - _RANGE_SLACK:
            narrow.append(words)
    if unread:
        return Check(name, Level.WARN, f"no answer for joints {unread} (0x472)", "read them with AgileX's tool")
    if narrow:
        return Check(name, Level.WARN, f"the arm's own limits are narrower than configured: {', '.join(narrow)}",
                     "tighten joint_lower, joint_upper in config/piper.yaml")  # fmt: skip
    return Check(name, Level.OK, "the arm's own limits enclose the configured ones")


def _motors(report: ArmReport) -> Check:
    found = [
        f"joint{joint + 1} {word}"
        for joint, bits in enumerate(report.motor_bits)
        for bit, word in _BITS.items()
        if bits & MOTOR_FAULT_BITS & 1 << bit
    ]
    if found:
        return Check("motors", Level.FAIL, ", ".join(found), f"remove the cause, let it cool, then {_POWER_CYCLE}")
    return Check("motors", Level.OK, "no error bits")


def _temperature(setup: ArmSetup, config: DriverConfig) -> Check:
    name, values = "temperature", (*setup.motor_temperatures, *setup.driver_temperatures)
    if not any(values):
        return Check(name, Level.WARN, "not reported")
    words = f"motors up to {max(setup.motor_temperatures):.0f} C, drivers {max(setup.driver_temperatures):.0f} C"
    if max(values) >= config.temperature_warm:
        level = Level.FAIL if max(values) >= config.temperature_hot else Level.WARN
        return Check(name, level, words, "let it cool in its rest pose")
    return Check(name, Level.OK, words)


def _voltage(setup: ArmSetup, config: DriverConfig) -> Check:
    name, values = "voltage", setup.voltages
    if not any(values):
        return Check(name, Level.WARN, "not reported")
    words = f"{min(values):.1f}..{max(values):.1f} V at the motors"
    if min(values) < config.voltage_low or max(values) > config.voltage_high:
        return Check(name, Level.WARN, words, "24 V are nominal: check supply and plug")
    return Check(name, Level.OK, words)


def _gripper(setup: ArmSetup, config: DriverConfig) -> Check:
    name, fitted, wanted = "gripper", setup.gripper_range, config.gripper_range
    if config.gripper == "none":
        return Check(name, Level.OK, "configured as none: nothing is sent to it, whatever the arm has")
    if fitted is None:
        return Check(name, Level.WARN, "no answer to the range query (0x477)", "compare the opening with a ruler")
    if fitted <= 0.0:
        return Check(name, Level.FAIL, "its range is not set, or there is no gripper: it ignores commands",
                     "set 70 or 100 mm with AgileX's tool (0x47D), or say gripper: none in config/piper.yaml")  # fmt: skip
    words = f"range {1e3 * fitted:.0f} mm, configured {1e3 * wanted:.0f} mm"
    if abs(fitted - wanted) <= _OPENING_SLACK:
        return Check(name, Level.OK, words)
    # A third value below the fitted one is a person's choice; the other size is a mistake.
    chosen = wanted < fitted and all(abs(wanted - size) > _OPENING_SLACK for size in tables.GRIPPER_RANGES)
    return Check(name, Level.WARN if chosen else Level.FAIL, words,
                 f"gripper_range: {fitted:g} in config/piper.yaml, or fit the other gripper")  # fmt: skip


def _command_mode(setup: ArmSetup, config: DriverConfig) -> Check:
    name, mode = "command_mode", config.command_mode
    if mode == "end_pose":
        return Check(name, Level.WARN, "end_pose (MOVE P): the arm's own joint limits do not hold, it may take another "
                     "branch", "command_mode: joint, unless poses are what you want to try")  # fmt: skip
    if mode == "mit" and (why := firmware.mit_refusal(setup.firmware)):
        return Check(name, Level.FAIL, f"mit: {why}", "command_mode: joint")
    return Check(name, Level.OK, mode)


def _collision(setup: ArmSetup) -> Check:
    name, levels = "collision_level", setup.collision_levels
    if levels is None:
        return Check(name, Level.WARN, "no answer to the query (0x477)")
    if not all(levels):
        off = [joint + 1 for joint, level in enumerate(levels) if not level]
        return Check(name, Level.WARN, f"the arm's own collision detection is off for joints {off}",
                     "to use it, set a level with AgileX's tool (0x47A); this package never writes it")  # fmt: skip
    return Check(name, Level.OK, f"levels {list(levels)} (0 = off, 8 = the largest threshold)")
