"""From a goal to the next joint target: governor -> inverse kinematics -> trajectory -> filter, once a tick.

The governor walks the Cartesian goal along a straight line at the TCP speed limit, inverse kinematics follows it on one
branch, ruckig makes the joint motion smooth, and the filter judges the result right before it goes out. A tick whose
TCP would be too fast advances the motion by less time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.arm.rotations import angle_between, slerp
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.arm.trajectory import JointTrajectory
from reconvla_ros.errors import KinematicsError
from reconvla_ros.safety.filter import Command, Filtered, Reference, Verdict, check
from reconvla_ros.safety.limits import Limits
from reconvla_ros.types import Float, JointCommand, Pose

_LAG = 0.15  # [rad] the governor waits while the joints are further than this behind it
_REANCHOR = 0.05  # [rad] a resting target further from the arm than this is forgotten: someone moved the arm
_STOP_SLACK = 0.05  # [rad] feedback this far beyond a limit (an arm on its stops) is taken for the limit
_SPEED_SHARE = 0.999  # the motion is scaled to this share of a speed limit, so that the filter has nothing to clamp


@dataclass(frozen=True, eq=False)
class Step:
    """One tick: `command` to send (None = nothing new), whether the arm moves, and what the filter said."""

    command: JointCommand | None
    moving: bool
    verdict: Verdict = Verdict.PASSED
    reason: str = ""
    detail: str = ""


class Motion:
    """The commanded motion of one arm.

    Args:
        kinematics, limits: of the arm.
        trajectory: made for the same period.
        period: one tick [s].
        gripper_speed: [m/s].
        branch_jump: largest joint jump of one tick that is still the same branch [rad].
        slack: Cartesian goals stay this far inside the workspace box [m].
    """

    def __init__(
        self,
        kinematics: Kinematics,
        limits: Limits,
        trajectory: JointTrajectory,
        period: float,
        gripper_speed: float,
        branch_jump: float,
        slack: float,
    ) -> None:
        self._kinematics, self._limits, self._trajectory = kinematics, limits, trajectory
        self._period, self._gripper_step, self._branch_jump = period, gripper_speed * period, branch_jump
        self._slack = slack
        self._reference: Reference | None = None
        self._unsent = False  # the reference was taken from the arm, and the arm still holds an older target
        self._goal_joints: Float | None = None
        self._goal_pose: Pose | None = None
        self._goal_gripper = 0.0
        self._walker: Pose | None = None
        self._solution: Float = np.zeros(6)

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
        self._reference = Reference(tcp.position, tcp.quaternion, inside, opening)
        self._trajectory.reset(inside)
        self._solution = inside
        self._drop_goal()
        self._goal_gripper = opening
        return ()

    def set_pose(self, pose: Pose, gripper: float | None, age: float) -> Filtered:
        """A Cartesian goal; refused, the goal before it is dropped. Needs `anchor` first."""
        reference = self._anchored()
        result = check(Command(pose.position, pose.quaternion, None, gripper, age), reference, self._limits)
        if result.verdict is not Verdict.REFUSED:
            result = self._solve_goal(result, reference)
        if result.verdict is Verdict.REFUSED:
            self._drop_goal()
            return result
        self._goal_joints = None
        self._goal_pose = Pose(result.command.position, result.command.quaternion)
        self._goal_gripper = self._goal_gripper if result.command.gripper is None else result.command.gripper
        if self._walker is None:
            self._walk_from(self._braking_point())
        return result

    def _solve_goal(self, result: Filtered, reference: Reference) -> Filtered:
        """Reachability and joint range of a goal that the Cartesian rules let through."""
        command = result.command
        position = self._inside_slack(command.position, reference)
        pose = Pose(position, command.quaternion)
        try:
            joints = self._kinematics.solve(pose, self._solution)
        except KinematicsError as error:
            return Filtered(Verdict.REFUSED, command, "kinematics", f"kinematics: {error}")
        with_joints = Command(position, pose.quaternion, joints, command.gripper, command.age)
        second = check(with_joints, reference, self._limits)
        if second.verdict is Verdict.CLAMPED and second.reason == "joint_range" and second.command.joints is not None:
            pose = self._kinematics.tcp(second.command.joints)
        final = Command(pose.position, pose.quaternion, None, second.command.gripper, command.age)
        if second.verdict is Verdict.PASSED:
            return Filtered(result.verdict, final, result.reason, result.detail)
        return Filtered(second.verdict, final, second.reason, second.detail)

    def _inside_slack(self, position: Float, reference: Reference) -> Float:
        limits = self._limits
        low = np.array([*limits.workspace_lower[:2], limits.floor]) + self._slack
        high = limits.workspace_upper - self._slack
        return np.clip(position, np.minimum(low, reference.position), np.maximum(high, reference.position))

    def set_joints(self, joints: Float, gripper: float | None) -> Filtered:
        """A joint goal (home, replay); same rules. Needs `anchor` first."""
        tcp = self._kinematics.tcp(joints)
        result = check(Command(tcp.position, tcp.quaternion, joints, gripper), self._anchored(), self._limits)
        if result.verdict is Verdict.REFUSED:
            self._drop_goal()
            return result
        self._goal_pose = self._walker = None
        self._goal_joints = self._solution = result.command.joints if result.command.joints is not None else joints
        self._goal_gripper = self._goal_gripper if result.command.gripper is None else result.command.gripper
        self._trajectory.set_target(self._goal_joints)
        return result

    def set_gripper(self, opening: float) -> None:
        """Change the opening alone, inside its range."""
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
            self._trajectory.reset(self._reference.joints)
            self._solution = self._reference.joints
            self._goal_gripper = self._reference.gripper

    def advance(self, wait: str = "") -> Step:
        """One tick. `wait` = why the arm must be waited for (the leash): decelerate, keep the goal."""
        reference = self._reference
        if reference is None:
            return Step(None, False)
        problem = ("leash", wait) if wait else self._track()
        if problem:
            self._trajectory.stop()
            if self._goal_pose is not None:
                self._walk_from(self._braking_point())
        unsent, self._unsent = self._unsent, False
        if not self._trajectory.moving and not self._gripper_left():
            held = JointCommand(reference.joints, reference.gripper) if unsent else None
            return Step(held, False, Verdict.REFUSED if problem else Verdict.PASSED, *problem)
        result = self._next(reference)
        command = result.command
        refused = result.verdict is Verdict.REFUSED
        joints = reference.joints if refused or command.joints is None else command.joints
        gripper = reference.gripper if refused or command.gripper is None else command.gripper
        if result.verdict is not Verdict.PASSED:
            self._trajectory.reset(joints)  # what was clamped or refused is not where ruckig thinks it is
            self._solution, self._walker = joints, None if self._goal_pose is None else self._kinematics.tcp(joints)
        if not refused:
            self._reference = Reference(command.position, command.quaternion, joints, gripper)
        reason, detail = problem or (result.reason, result.detail)
        verdict = Verdict.REFUSED if problem else result.verdict
        return Step(JointCommand(joints, gripper), True, verdict, reason, detail)

    def behind(self, measured: Float, bound: float) -> str:
        """Why the commanded motion must wait for the arm at `measured` (6,); empty when it is within `bound` [rad]."""
        if self._reference is None or self.arrived:
            return ""
        off = np.abs(self._reference.joints - measured)
        joint = int(np.argmax(off))
        return "" if off[joint] <= bound else f"joint{joint + 1} {off[joint]:.3f} rad behind, allowed {bound:g}"

    def _track(self) -> tuple[str, str] | tuple[()]:
        """Walk the governor and aim the trajectory at it; () or why that is not possible."""
        goal, walker = self._goal_pose, self._walker
        if goal is None:
            if self._goal_joints is not None:
                self._trajectory.set_target(self._goal_joints)
            return ()
        if walker is None:
            walker = self._walk_from(self._braking_point())
        if float(np.abs(self._solution - self._trajectory.position).max()) > _LAG:
            return ()
        distance = float(np.linalg.norm(goal.position - walker.position))
        angle = angle_between(walker.quaternion, goal.quaternion)
        ticks = max(distance / self._limits.tcp_speed, angle / self._limits.tcp_angular_speed) / self._period
        share = 1.0 if ticks <= 1.0 else 1.0 / ticks
        position = walker.position + share * (goal.position - walker.position)
        onward = Pose(position, slerp(walker.quaternion, goal.quaternion, share))
        try:
            joints = self._kinematics.solve(onward, self._solution, self._branch_jump)
        except KinematicsError as error:
            return "kinematics", f"kinematics: {error}"
        self._walker, self._solution = onward, joints
        reference, limits = self._anchored(), self._limits
        low = np.maximum(limits.joint_lower, np.minimum(limits.soft_lower, reference.joints))
        high = np.minimum(limits.joint_upper, np.maximum(limits.soft_upper, reference.joints))
        self._trajectory.set_target(np.clip(joints, low, high))
        return ()

    def _walk_from(self, joints: Float) -> Pose:
        """Set the governor there; were `_solution` left ahead of it, the governor could wait for ever for the joints."""
        self._walker, self._solution = self._kinematics.tcp(joints), joints
        return self._walker

    def _next(self, reference: Reference) -> Filtered:
        """The filtered command of this tick, the motion advanced with it."""
        share = self._speed_share(self._trajectory.propose(), reference)
        joints, _ = self._trajectory.commit(share)
        left = self._goal_gripper - reference.gripper
        gripper = reference.gripper + min(max(left, -self._gripper_step), self._gripper_step)
        tcp = self._kinematics.tcp(joints)
        command = Command(tcp.position, tcp.quaternion, joints, gripper)
        result = check(command, reference, self._limits, self._period)
        if result.verdict is Verdict.CLAMPED and result.command.joints is not None:
            # The clamp moved the joints, so the pose must be judged again, and this time without mercy.
            tcp = self._kinematics.tcp(result.command.joints)
            again = Command(tcp.position, tcp.quaternion, result.command.joints, result.command.gripper)
            second = check(again, reference, self._limits, self._period)
            verdict = Verdict.CLAMPED if second.verdict is Verdict.PASSED else Verdict.REFUSED
            return Filtered(verdict, again, result.reason, result.detail)
        return result

    def _speed_share(self, proposed: Float, reference: Reference) -> float:
        """The share of the tick that keeps the TCP inside its speed limits."""
        tcp = self._kinematics.tcp(proposed)
        way = float(np.linalg.norm(tcp.position - reference.position))
        turn = angle_between(reference.quaternion, tcp.quaternion)
        most = max(way / self._limits.tcp_speed, turn / self._limits.tcp_angular_speed) / self._period
        return 1.0 if most <= _SPEED_SHARE else _SPEED_SHARE / most

    def _braking_point(self) -> Float:
        return self._trajectory.braking_point(self._limits.joint_lower, self._limits.joint_upper)

    def _gripper_left(self) -> bool:
        return self._reference is not None and abs(self._goal_gripper - self._reference.gripper) > 1e-9

    def _anchored(self) -> Reference:
        assert self._reference is not None, "anchor comes before a goal"
        return self._reference

    def _drop_goal(self) -> None:
        self._goal_pose = self._goal_joints = self._walker = None


def motion_of(config: DriverConfig, kinematics: Kinematics, limits: Limits) -> Motion:
    """The motion that the parameters describe."""
    period = 1.0 / config.rate
    trajectory = JointTrajectory(
        period, config.joint_speed, config.joint_acceleration, config.joint_jerk, config.stop_acceleration
    )
    return Motion(
        kinematics, limits, trajectory, period, config.gripper_speed, config.branch_jump, config.workspace_slack
    )
