"""What goes into one tick of the driver and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reconvla_ros import tables
from reconvla_ros.arm.feedback_watch import FeedbackWatch
from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.arm.motion import Motion
from reconvla_ros.arm.protocol import ArmReport
from reconvla_ros.arm.requests import Wanted
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.errors import ArmError
from reconvla_ros.safety.filter import Filtered, Verdict
from reconvla_ros.safety.supervisor import Decision, Facts, State
from reconvla_ros.types import N_JOINTS, ArmState, JointCommand, Pose


@dataclass(frozen=True, eq=False)
class Asked:
    """The request in force: what is wanted (None while homing) and what the filter said."""

    wanted: Wanted | None
    result: Filtered


@dataclass(frozen=True, eq=False)
class TickResult:
    """What one tick saw and did. `state` is None while the arm says nothing; `applied` is what was sent."""

    stamp_ns: int
    decision: Decision
    source: str
    task_id: str
    report: ArmReport
    state: ArmState | None = None
    kinematics: Kinematics | None = None
    asked: Asked | None = None
    applied: JointCommand | None = None
    verdict: Verdict = Verdict.PASSED
    reason: str = ""
    detail: str = ""

    @cached_property
    def tcp(self) -> Pose | None:
        """The measured TCP in base_link; worked out by the first who asks, which is not the tick."""
        return None if self.state is None or self.kinematics is None else self.kinematics.tcp(self.state.position)


class Senses:
    """Turns what the arm says into what the supervisor judges; remembers what it said before.

    Args:
        config: of the driver.
    """

    def __init__(self, config: DriverConfig) -> None:
        self._dry_run, self._hot = config.dry_run, config.temperature_hot
        self._watch, self._losses = FeedbackWatch(config.feedback_frozen), 0

    def facts(self, report: ArmReport, state: ArmState, motion: Motion, now_mono_ns: int) -> Facts:
        """Of one tick. An arm that was out of reach is not where it was sent any more: the motion forgets it."""
        if report.losses != self._losses:
            self._losses = report.losses
            motion.forget()
        reference = None if self._dry_run else motion.reference
        found = self._watch.update(now_mono_ns, state, None if reference is None else reference.joints)
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
            enabled=(True,) * N_JOINTS if self._dry_run else state.enabled,
            moving=not motion.arrived,
            words=(tables.CTRL_MODES.get(report.ctrl_mode, ""), tables.ARM_STATUS.get(report.arm_status, "")),
            feedback=found.name,
            feedback_words=found.words,
            link=report.link,
            hottest=max(*report.motor_temperatures, *report.driver_temperatures),
            hot=self._hot,
        )


def cannot_go_back(result: TickResult | None) -> str:
    """Why the arm cannot be moved to free a person, whatever a latched stop says; empty when it can."""
    if result is None or result.state is None:
        return "no feedback yet"
    state = result.decision.state
    if state in (State.FAULT, State.DISCONNECTED):
        return f"{state.value}: {result.decision.reason}. Support the arm; arm/power_cycle makes it fall"
    if not all(result.state.enabled):
        return "the motors have no power; move it by hand"
    return ""


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
