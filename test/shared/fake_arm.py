"""An arm without a bus: follows its target at once, or not at all; every fact of its report can be set."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from reconvla_ros import tables
from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.arm.protocol import ArmReport, ArmSetup
from reconvla_ros.arm.rotations import quaternion_from_matrix
from reconvla_ros.types import ArmState, Float, JointCommand, Pose

MS = 1_000_000
ROS_START = 1_700_000_000_000 * MS
HEALTHY = ArmSetup(
    "S-V1.8-5",
    tuple(zip(tables.JOINT_LOWER, tables.JOINT_UPPER, strict=True)),
    0.07,
    (1,) * 6,
    (24.0,) * 6,
    (30.0,) * 6,
    (30.0,) * 6,
)
_KINEMATICS = Kinematics()
_COUNT = np.radians(1e-3)  # of the joint feedback


class FakeArm:
    def __init__(self, joints: Float) -> None:
        self.joints = np.array(joints, dtype=np.float64)
        self.gripper = 0.03
        self.enabled = (True,) * 6
        self.follows = True
        self.frozen = False
        self._strain = 0.0
        self.seed: JointCommand | None = None
        self.stamp_ns = ROS_START
        self.facts: dict[str, Any] = {}
        self.setup = HEALTHY
        self.sent: list[JointCommand] = []
        self.calls: list[str] = []

    def open(self) -> None:
        self.calls.append("open")

    def state(self) -> ArmState:
        if not self.follows and not self.frozen:
            self._strain = _COUNT - self._strain  # an arm that is blocked strains, a frozen one reads the same for ever
        return ArmState(
            self.stamp_ns, self.joints + self._strain, np.zeros(6), np.zeros(6), self.gripper, 0.0, self.enabled
        )

    def report(self) -> ArmReport:
        flange = _KINEMATICS.flange(self.joints)
        good = ArmReport(
            flange=Pose(flange[:3, 3], quaternion_from_matrix(flange)), firmware=self.setup.firmware,
            ctrl_mode=1, move_mode=1, gripper_enabled=True, status_stamp_ns=self.stamp_ns, joint_stamp_ns=self.stamp_ns,
            status_age=0.0, joint_age=0.0, frames_sent=3 * len(self.sent),
        )  # fmt: skip
        return replace(good, **self.facts)

    def read(self) -> tuple[ArmReport, ArmState]:
        return self.report(), self.state()

    def inspect(self) -> ArmSetup:
        return self.setup

    def enable(self, timeout: float = 5.0) -> JointCommand | None:
        self.calls.append("enable")
        self.enabled = (True,) * 6
        return self.seed

    def send(self, command: JointCommand) -> None:
        self.sent.append(command)
        if self.follows:
            self.joints = command.position
            self.gripper = self.gripper if command.gripper is None else command.gripper

    def hold(self) -> None:
        self.calls.append("hold")

    def damped_stop(self) -> None:
        self.calls.append("damped_stop")

    def power_cycle(self) -> None:
        self.calls.append("power_cycle")

    def disable(self) -> None:
        self.calls.append("disable")
        self.enabled = (False,) * 6

    def close(self) -> None:
        self.calls.append("close")
