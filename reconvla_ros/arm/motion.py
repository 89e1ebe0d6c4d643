"""From a goal to the next joint target: governor -> inverse kinematics -> trajectory -> filter, once a tick.

The governor walks to a Cartesian goal, ruckig makes the motion smooth, and the filter judges it right before it goes out, and
where a stop from there would end. A tick whose TCP would be too fast advances by less time. What the filter refuses makes the
motion brake inside its limits and stand until the next goal; only when braking is refused too, the target stays at once.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from reconvla_ros.arm.governor import Governor
from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.arm.rotations import angle_between
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.arm.step import Step
from reconvla_ros.arm.trajectory import JointTrajectory
from reconvla_ros.errors import KinematicsError
from reconvla_ros.safety.effort import ExternalEffort
from reconvla_ros.safety.filter import Command, Filtered, Reference, Verdict, check
from reconvla_ros.safety.limits import Limits
from reconvla_ros.types import Float, JointCommand, Pose

_REANCHOR = 0.05  # [rad] a resting target further from the arm than this is forgotten: someone moved the arm
_SAME = 1e-6  # [rad] a clamp by less is rounding
_STOP_SLACK = 0.05  # [rad] feedback this far beyond a limit (an arm on its stops) is taken for the limit
_SPEED_SHARE = 0.999  # the motion is scaled to this share of a speed limit, so that the filter has nothing to clamp


class Motion:
    """The commanded motion of one arm.

    Args:
        kinematics, limits: of the arm.
        trajectory: made for the same period.
        period: one tick [s].
        gripper_speed: [m/s].
        governor: of the same arm and period.
        effort: tells what pushes on the arm; None = not known, as for an arm that is not mounted upright.
    """

    def __init__(
        self,
        kinematics: Kinematics,
        limits: Limits,
        trajectory: JointTrajectory,
        period: float,
        gripper_speed: float,
        governor: Governor,
        effort: ExternalEffort | None = None,
    ) -> None:
        self._kinematics, self._limits, self._trajectory = kinematics, limits, trajectory
        self._period, self._gripper_step, self._governor = period, gripper_speed * period, governor
        self._reference: Reference | None = None
        self._unsent = False  # the reference was taken from the arm, which still holds an older target
        self._goal_joints: Float | None = None
        self._goal_gripper = 0.0
        self._blocked: tuple[str, str] | tuple[()] = ()  # why the motion brakes and stands until the next goal
        self._effort, self._external = effort, None if effort is None else effort.value
        self._pace = 1.0  # share of the speed limits that the present goal is after

    @property
    def reference(self) -> Reference | None:
        """Where the arm was last sent; None when nothing was sent since the last anchor."""
        return self._reference

    @property
    def arrived(self) -> bool:
        """Whether nothing is left to do for the goal."""
        return not self._trajectory.moving and (self._reference is None or not self._gripper_left())

    def forget(self) -> None:
        """Start from the measured arm at the next goal."""
        self._reference, self._unsent = None, False
        self._drop_goal()
        self._trajectory.reset(self._trajectory.position)  # nothing runs on, or the arm would count as moving for ever

    def anchor(self, joints: Float, gripper: float, still: bool = True) -> tuple[str, str] | tuple[()]:
        """Take the measured arm as the reference, unless it is where it was sent; `still`: the arm stands.

        Returns (reason, words) why not: one that swings would leave it at once, and from outside its range it leaps.
        """
        if self._reference is not None:
            off = float(np.abs(self._reference.joints - joints).max())
            if self._trajectory.moving or off <= _REANCHOR:
                return ()
            if not still:
                return "leash", f"leash: the arm is {off:.3f} rad from where it was sent, and moves"
            gripper = self._reference.gripper  # who moved the arm did not ask for another opening
        inside = np.clip(joints, self._limits.joint_lower, self._limits.joint_upper)
        joint = int(np.argmax(np.abs(inside - joints)))
        if abs(inside[joint] - joints[joint]) > _STOP_SLACK:
            words = (
                f"joint{joint + 1} is at {joints[joint]:.3f} rad, allowed up to {inside[joint]:.3f}: move it by hand"
            )
            return "joint_range", f"joint_range: {words}"
        opening = min(max(gripper, 0.0), self._limits.gripper_range)
        tcp = self._kinematics.tcp(inside)
        # What the arm holds must be what the next motion starts from: a reference taken from the arm is sent once.
        self._unsent = True
        self._reference = Reference(tcp.position, tcp.quaternion, inside, opening, np.zeros(6))
        self._trajectory.reset(inside)
        self._governor.solution = inside
        self._drop_goal()
        self._goal_gripper = opening
        return ()

    def set_pose(self, pose: Pose, gripper: float | None, age: float) -> Filtered:
        """A Cartesian goal; refused, the goal before it is dropped. Needs `anchor` first."""
        reference = self._anchored()
        result = check(Command(pose.position, pose.quaternion, None, gripper, age), reference, self._limits)
        if result.verdict is not Verdict.REFUSED:
            if self._governor.goal is None:  # the branch is that of the motion, not of where an errand would have ended
                self._governor.restart(self._braking_point())
            result = self._governor.reach(result, reference)
        if result.verdict is Verdict.REFUSED:
            self._drop_goal()
            return result
        if self._blocked:
            self._drop_goal()  # the walk starts anew
        self._set_pace(1.0)
        self._goal_joints = None
        self._governor.aim(Pose(result.command.position, result.command.quaternion), self._braking_point())
        self._goal_gripper = self._goal_gripper if result.command.gripper is None else result.command.gripper
        return result

    def set_joints(self, joints: Float, gripper: float | None, pace: float = 1.0) -> Filtered:
        """A joint goal (home, replay, the way back) at a share of the speed limits; same rules. Needs `anchor` first."""
        tcp = self._kinematics.tcp(joints)
        command = Command(tcp.position, tcp.quaternion, joints, gripper, straight=True)
        result = check(command, self._anchored(), self._limits)
        self._drop_goal()
        if result.verdict is Verdict.REFUSED:
            return result
        self._set_pace(pace)
        self._goal_joints = result.command.joints if result.command.joints is not None else joints
        self._goal_gripper = self._goal_gripper if result.command.gripper is None else result.command.gripper
        self._trajectory.set_target(self._goal_joints)
        return result

    def _set_pace(self, pace: float) -> None:
        if pace != self._pace:
            self._pace = pace
            self._trajectory.pace(pace)

    def set_gripper(self, opening: float) -> None:
        """Change the opening alone, inside its range."""
        self._blocked = ()
        self._goal_gripper = min(max(opening, 0.0), self._limits.gripper_range)

    def stop(self) -> None:
        """Decelerate and hold joints and opening."""
        self._drop_goal()
        self._trajectory.stop()
        if self._reference is not None:
            self._goal_gripper = self._reference.gripper

    def freeze(self) -> None:
        """Stand still at once: the target stays where it was sent last. The arm's own smoothing of MOVE J brakes."""
        self._drop_goal()
        if self._reference is None:
            self._trajectory.reset(self._trajectory.position)
        else:
            self._halt(self._reference)
            self._goal_gripper = self._reference.gripper

    def feel(self, joints: Float, effort: Float) -> None:
        """Take a measurement (6,) [rad], (6,) [N m]: what pushes on the arm, for the filter."""
        if self._effort is not None:
            self._external = self._effort.feel(joints, effort)

    def advance(self, wait: str = "") -> Step:
        """One tick. `wait` = why the arm must be waited for (the leash): decelerate, keep the goal."""
        reference = self._reference
        if reference is None:
            return Step(None, False)
        problem = ("leash", wait) if wait else self._blocked or self._track()
        if problem:
            self._trajectory.stop()
            self._governor.restart(self._braking_point())
        unsent, self._unsent = self._unsent, False
        if not self._trajectory.moving and not self._gripper_left():
            self._reference = replace(reference, velocity=np.zeros(6))
            held = JointCommand(reference.joints, reference.gripper) if unsent else None
            return Step(held, False, Verdict.REFUSED if problem else Verdict.PASSED, *problem)
        if self._external is not None:
            reference = replace(reference, external=self._external)
        result, problem = self._judged(reference, problem)
        command = result.command
        if result.verdict is Verdict.REFUSED or command.joints is None:
            self._halt(reference)
            return Step(JointCommand(reference.joints, reference.gripper), True, Verdict.REFUSED, *problem)
        gripper = reference.gripper if command.gripper is None else command.gripper
        velocity = (command.joints - reference.joints) / self._period
        self._reference = Reference(
            command.position, command.quaternion, command.joints, gripper, velocity, None, result.look, result.room
        )
        verdict = Verdict.REFUSED if problem else Verdict.PASSED
        return Step(JointCommand(command.joints, gripper), True, verdict, *problem)

    def _judged(
        self, reference: Reference, problem: tuple[str, str] | tuple[()]
    ) -> tuple[Filtered, tuple[str, str] | tuple[()]]:
        """The command of this tick and what is wrong: the next step of the motion, or, should that not pass, of its braking."""
        before = self._trajectory.snapshot()
        if not self._trajectory.stopping:
            result = self._next(reference)
            if result.verdict is Verdict.PASSED:
                return result, problem
            problem = self._blocked = result.reason, result.detail
            self._trajectory.restore(before)
            self._trajectory.stop()
            self._goal_gripper = reference.gripper
        braked = self._next(reference)
        return braked, problem or (braked.reason, braked.detail)

    def _halt(self, reference: Reference) -> None:
        """The target stays where it is, from one tick to the next."""
        self._trajectory.reset(reference.joints)
        self._governor.restart(reference.joints)
        self._reference = replace(reference, velocity=np.zeros(6))

    def behind(self, measured: Float, bound: float) -> str:
        """Why the commanded motion must wait for the arm at `measured` (6,); empty when it is within `bound` [rad]."""
        if self._reference is None or self.arrived:
            return ""
        off = [abs(a - b) for a, b in zip(self._reference.joints.tolist(), measured.tolist(), strict=True)]
        joint = off.index(max(off))
        return "" if off[joint] <= bound else f"joint{joint + 1} {off[joint]:.3f} rad behind, allowed {bound:g}"

    def _track(self) -> tuple[str, str] | tuple[()]:
        """Aim the trajectory at the goal; () or why that is not possible."""
        if self._governor.goal is None:
            if self._goal_joints is not None:
                self._trajectory.set_target(self._goal_joints)
            return ()
        try:
            target = self._governor.step(self._trajectory.position, self._anchored())
        except KinematicsError as error:
            return "kinematics", f"kinematics: {error}"
        if target is not None:
            self._trajectory.set_target(target)
        return ()

    def _next(self, reference: Reference) -> Filtered:
        """The filtered command of this tick, the motion advanced with it; a clamp by more than rounding is a refusal."""
        braking = self._trajectory.stopping
        tcp = self._kinematics.tcp(self._trajectory.propose())
        share = self._speed_share(tcp, reference)
        joints, _ = self._trajectory.commit(share)
        if share < 1.0:
            tcp = self._kinematics.tcp(joints)
        left = self._goal_gripper - reference.gripper
        gripper = reference.gripper + min(max(left, -self._gripper_step), self._gripper_step)
        # Braking goes where the tick before has looked already.
        ahead = None if braking else self._trajectory.stopping_way()
        straight = braking or self._governor.goal is None
        command = Command(tcp.position, tcp.quaternion, joints, gripper, ahead=ahead, straight=straight)
        result = check(command, reference, self._limits, self._period)
        if result.verdict is not Verdict.CLAMPED or result.command.joints is None:
            return result
        off = float(np.abs(result.command.joints - joints).max())
        return replace(result, verdict=Verdict.PASSED if off <= _SAME else Verdict.REFUSED)

    def _speed_share(self, tcp: Pose, reference: Reference) -> float:
        """The share of the tick that keeps the TCP inside its speed limits."""
        way = math.dist(tcp.position.tolist(), reference.position.tolist())
        turn = angle_between(reference.quaternion, tcp.quaternion)
        most = max(way / self._limits.tcp_speed, turn / self._limits.tcp_angular_speed) / self._period
        most /= self._pace
        return 1.0 if most <= _SPEED_SHARE else _SPEED_SHARE / most

    def _braking_point(self) -> Float:
        return self._trajectory.braking_point(self._limits.joint_lower, self._limits.joint_upper)

    def _gripper_left(self) -> bool:
        return self._reference is not None and abs(self._goal_gripper - self._reference.gripper) > 1e-9

    def _anchored(self) -> Reference:
        assert self._reference is not None, "anchor comes before a goal"
        return self._reference

    def _drop_goal(self) -> None:
        self._governor.drop()
        self._goal_joints, self._blocked = None, ()


def motion_of(config: DriverConfig, kinematics: Kinematics, limits: Limits) -> Motion:
    """The motion that the parameters describe."""
    period = 1.0 / config.rate
    bounds = (config.joint_speed, config.joint_acceleration, config.joint_jerk)
    trajectory = JointTrajectory(period, *bounds, config.stop_acceleration, config.stop_jerk)
    governor = Governor(kinematics, limits, period, config.branch_jump, config.workspace_slack)
    effort = ExternalEffort(limits.body) if config.mounting in ("keep", "upright") else None
    return Motion(kinematics, limits, trajectory, period, config.gripper_speed, governor, effort)
