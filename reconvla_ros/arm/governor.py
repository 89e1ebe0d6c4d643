"""The governor: walks from where the arm is to a Cartesian goal, along a straight line at the TCP speed limit.

Inverse kinematics follows the walk on one branch; near a singularity the walk gets slower. It waits for joints that lag.
"""

from __future__ import annotations

import math

import numpy as np

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.arm.rotations import angle_between, slerp
from reconvla_ros.errors import KinematicsError
from reconvla_ros.safety.filter import Command, Filtered, Reference, Verdict, check
from reconvla_ros.safety.limits import Limits
from reconvla_ros.safety.rules_place import slowdown
from reconvla_ros.types import Float, Pose

_LAG = 0.15  # [rad] the governor waits while the joints are further than this behind it


class Governor:
    """One Cartesian goal at a time.

    Args:
        kinematics, limits: of the arm.
        period: one tick [s].
        branch_jump: largest joint jump of one tick that is still the same branch [rad].
        slack: goals stay this far inside the workspace box [m].

    Attributes:
        goal: what it walks to; None = nothing.
        solution: joints (6,) [rad] of where it stands, the seed of the next solution.
    """

    def __init__(self, kinematics: Kinematics, limits: Limits, period: float, branch_jump: float, slack: float) -> None:
        self._kinematics, self._limits, self._period = kinematics, limits, period
        self._branch_jump, self._slack = branch_jump, slack
        self._walker: Pose | None = None
        self.goal: Pose | None = None
        self.solution: Float = np.zeros(6)

    def drop(self) -> None:
        """Forget the goal."""
        self.goal = self._walker = None

    def restart(self, joints: Float) -> None:
        """Stand at `joints` (6,), and walk on from there when there is a goal.

        The solution goes with the walk: left ahead of it, the governor would wait for ever for joints that never come.
        """
        self.solution = joints
        if self.goal is not None:
            self._walker = self._kinematics.tcp(joints)

    def aim(self, pose: Pose, start: Float) -> None:
        """Walk to `pose`, from where the walk is now, or from the joints `start` (6,)."""
        self.goal = pose
        if self._walker is None:
            self.restart(start)

    def reach(self, result: Filtered, reference: Reference) -> Filtered:
        """Reachability, joint range and clearance of a goal that the Cartesian rules let through."""
        command = result.command
        position = self._inside_slack(command.position, reference)
        pose = Pose(position, command.quaternion)
        try:
            joints = self._kinematics.solve(pose, self.solution)
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

    def step(self, joints: Float, reference: Reference) -> Float | None:
        """One tick of the walk: joint target (6,) [rad] inside the soft range; None while `joints` (6,) lag too far.

        Raises:
            KinematicsError: no way on.
        """
        goal, walker, limits = self.goal, self._walker, self._limits
        assert goal is not None and walker is not None, "aim comes before a step"
        if float(np.abs(self.solution - joints).max()) > _LAG:
            return None
        distance = math.dist(goal.position.tolist(), walker.position.tolist())
        angle = angle_between(walker.quaternion, goal.quaternion)
        ticks = max(distance / limits.tcp_speed, angle / limits.tcp_angular_speed) / self._period
        ticks /= slowdown(limits, self.solution)
        if ticks < 1e-9:  # it has arrived
            return self._inside(self.solution, reference)
        share = 1.0 if ticks <= 1.0 else 1.0 / ticks
        position = walker.position + share * (goal.position - walker.position)
        onward = Pose(position, slerp(walker.quaternion, goal.quaternion, share))
        self.solution = self._kinematics.solve(onward, self.solution, self._branch_jump)
        self._walker = onward
        return self._inside(self.solution, reference)

    def _inside(self, joints: Float, reference: Reference) -> Float:
        ranges = self._limits.allowed_range(reference.joints.tolist())
        return np.array([min(max(v, low), high) for v, (low, high) in zip(joints.tolist(), ranges, strict=True)])
