"""What was heard of the arm, its task and the recorder, put together for the session and for a person. Pure."""

from __future__ import annotations

import math

import numpy as np

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.teleop.anchor import anchor
from reconvla_ros.teleop.session import Follower
from reconvla_ros.types import Float, Pose

_SHOWN = 1.5  # [s] a refusal is shown this long


class Ear:
    """Filled by the node's callbacks.

    Attributes:
        holder: of the lease. task: state of the running or last one. joints (6,) [rad], gripper [m]: measured.
        recording, recorded [s], record_warning: of the recorder.
    """

    def __init__(self, kinematics: Kinematics) -> None:
        self._kinematics = kinematics
        self._pose: Pose | None = None
        self._pose_ns = 0
        self.joints: Float | None = None
        self.gripper = 0.0
        self._applied: Float | None = None
        self._applied_gripper: float | None = None
        self.holder, self._granted_ns = "none", 0
        self.state, self.reason, self._ctrl_mode = "DISCONNECTED", "", 0
        self.task = ""
        self._refusal, self._refused_ns = "", 0
        self.recording, self.recorded, self.record_warning = False, 0.0, ""

    def pose(self, pose: Pose, now_ns: int) -> None:
        """The measured TCP, heard at monotonic `now_ns`."""
        self._pose, self._pose_ns = pose, now_ns

    def status(self, state: str, reason: str, holder: str, ctrl_mode: int, stamp_ns: int) -> None:
        """The driver's word of `stamp_ns` (ROS time). One that is older than a grant says nothing of the lease."""
        self.state, self.reason, self._ctrl_mode = state, reason, ctrl_mode
        if stamp_ns > self._granted_ns:
            self.holder = holder

    def granted(self, holder: str, now_ns: int) -> None:
        """The answer of arm/source, at ROS time `now_ns`."""
        self.holder, self._granted_ns = holder, now_ns

    def trace(self, applied: Float, gripper: float, refusal: str, now_ns: int) -> None:
        """What went to the bus (NaN: nothing), and what the filter said of our command."""
        if np.all(np.isfinite(applied)):
            self._applied = applied
        if math.isfinite(gripper):
            self._applied_gripper = gripper
        if refusal:
            self._refusal, self._refused_ns = refusal, now_ns

    def tasks(self, state: str) -> None:
        """State of the running or the last task."""
        self.task = state

    def records(self, recording: bool, duration: float, warning: str) -> None:
        """The recorder's word; `duration` [s]."""
        self.recording, self.recorded, self.record_warning = recording, duration, warning

    def refusal(self, now_ns: int) -> str:
        """Why the filter changed or refused a command lately; empty when it did not."""
        return self._refusal if now_ns - self._refused_ns < _SHOWN * 1e9 else ""

    def follower(self, now_ns: int) -> Follower:
        """All of it at monotonic `now_ns`."""
        pose = self._pose
        return Follower(
            age=math.inf if pose is None else (now_ns - self._pose_ns) / 1e9,
            measured=pose,
            anchor=None if pose is None else anchor(pose, self.joints, self._applied, self._kinematics),
            opening=self.gripper if self._applied_gripper is None else self._applied_gripper,
            holder=self.holder,
            state=self.state,
            reason=self.reason,
            ctrl_mode=self._ctrl_mode,
        )
