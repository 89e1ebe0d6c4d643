"""What goes into one tick of the driver and what comes out of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from reconvla_ros import tables
from reconvla_ros.arm.feedback_watch import Finding
from reconvla_ros.arm.protocol import ArmReport
from reconvla_ros.arm.requests import Wanted
from reconvla_ros.errors import ArmError
from reconvla_ros.safety.filter import Filtered, Verdict
from reconvla_ros.safety.supervisor import Decision, Facts
from reconvla_ros.types import N_JOINTS, ArmState, JointCommand, Pose

_FINE = Finding()


@dataclass(frozen=True, eq=False)
class Asked:
    """The request in force: what is wanted (None while homing) and what the filter said."""

    wanted: Wanted | None
    result: Filtered


@dataclass(frozen=True, eq=False)
class TickResult:
    """What one tick saw and did. `state`, `tcp` are None while the arm says nothing; `applied` is what was sent."""

    stamp_ns: int
    decision: Decision
    source: str
    task_id: str
    report: ArmReport
    state: ArmState | None = None
    tcp: Pose | None = None
    asked: Asked | None = None
    applied: JointCommand | None = None
    verdict: Verdict = Verdict.PASSED
    reason: str = ""
    detail: str = ""


def facts(
    report: ArmReport, state: ArmState, dry_run: bool, moving: bool, found: Finding = _FINE, hot: float = math.inf
) -> Facts:
    """What the supervisor judges; `found` in the feedback, `hot` is too hot [C]."""
    return Facts(
        connected=report.joint_stamp_ns > 0 and report.status_stamp_ns > 0,
        bus_ok=report.bus_ok,
        joint_age=report.joint_age,
        status_age=report.status_age,
        ctrl_mode=report.ctrl_mode,
        arm_status=report.arm_status,
        comm_bits=report.comm_bits,
        motor_bits=report.motor_bits,
        # In a dry run nobody powers the motors; the decisions shall be those of a powered arm all the same.
        enabled=(True,) * N_JOINTS if dry_run else state.enabled,
        moving=moving,
        feedback=found.name,
        feedback_words=found.words,
        link=report.link,
        hottest=max(*report.motor_temperatures, *report.driver_temperatures),
        hot=hot,
        words=(tables.CTRL_MODES.get(report.ctrl_mode, ""), tables.ARM_STATUS.get(report.arm_status, "")),
    )


def require_parked(state: ArmState, bound: float, standing: bool) -> None:
    """Refuse to cut the power of an arm that moves, or whose joints 2 and 3 are further than `bound` [rad] from their stops.

    Raises:
        ArmError: it would fall.
    """
    if not standing:
        raise ArmError("the arm moves: its power is not cut; call arm/stop first")
    lift = float(np.abs(state.position[1:3]).max())
    if any(state.enabled) and lift > bound:
        raise ArmError(
            f"a PiPER without power falls: joint2, joint3 are {lift:.2f} rad from their stops, allowed {bound:g}; "
            "call arm/home first"
        )
