"""The ways to tell a PiPER where to go: joint targets, flange poses, or torques by stiffness (MIT).

Joint targets are the default. Flange poses are solved by the firmware, which may take another branch and does not keep
its joint limits there; the joint leash of the driver then holds. MIT frames change with the firmware; piper_sdk 0.6.2
speaks one form of them, so every other firmware is refused.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from reconvla_ros.arm import firmware
from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.arm.piper_feedback import MILLIDEGREES
from reconvla_ros.errors import ArmError
from reconvla_ros.safety.body import Body
from reconvla_ros.safety.effort import gravity_torque
from reconvla_ros.types import N_JOINTS, Float

_CAN = 1  # ctrl_mode
_MOVE_P, _MOVE_J, _MOVE_MIT = 0, 1, 4
_FOLLOW = 0xAD  # byte 3 of 0x151 in MIT mode, as in AgileX's demo
_GIMBAL = 1e-9
_MIT_TORQUE = 8.0  # [N m] range of the 8-bit torque; the SDK lets larger values wrap around


class Mode(Protocol):
    """One way. `code` is what byte 2 of 0x2A1 says once the arm has taken it."""

    code: int

    def require(self, version: str) -> None:
        """Refuse firmware `version` ("" = unknown).

        Raises:
            ArmError: this way is not known to work with it.
        """

    def select(self, sdk: Any, speed: int, mounting: int) -> None:
        """Send 0x151."""

    def target(self, sdk: Any, position: Float) -> None:
        """Send joint positions (6,) [rad]."""


class JointMode:
    """MOVE J."""

    code = _MOVE_J

    def require(self, version: str) -> None:
        """Every firmware."""

    def select(self, sdk: Any, speed: int, mounting: int) -> None:
        """Send 0x151."""
        sdk.MotionCtrl_2(_CAN, _MOVE_J, speed, 0, 0, mounting)

    def target(self, sdk: Any, position: Float) -> None:
        """0x155..0x157, whole thousandths of a degree."""
        sdk.JointCtrl(*(round(float(v) * MILLIDEGREES) for v in position))


class EndPoseMode:
    """MOVE P: the pose of the flange for the joints; `require` chooses the zeros of joints 2 and 3."""

    code = _MOVE_P

    def __init__(self) -> None:
        self._kinematics = Kinematics()

    def require(self, version: str) -> None:
        """Every firmware."""
        self._kinematics = Kinematics(firmware.dh_variant(version))

    def select(self, sdk: Any, speed: int, mounting: int) -> None:
        """Send 0x151."""
        sdk.MotionCtrl_2(_CAN, _MOVE_P, speed, 0, 0, mounting)

    def target(self, sdk: Any, position: Float) -> None:
        """0x152..0x154, plain integers: of any other type the SDK sends nothing."""
        flange = self._kinematics.flange(position)
        place = [round(float(v) * 1e6) for v in flange[:3, 3]]
        turn = [round(v * MILLIDEGREES) for v in rpy(flange)]
        sdk.EndPoseCtrl(*place, *turn)


class MitMode:
    """Torque = kp (p - q) + kd (v - dq) + t, with gravity as t.

    Args:
        kp: [N m/rad]. kd: [N m s/rad]. gripper: whether one is fitted, for its weight.
    """

    code = _MOVE_MIT

    def __init__(self, kp: float, kd: float, gripper: bool) -> None:
        self._kp, self._kd, self._gripper = kp, kd, gripper
        self._body = Body()  # MIT is refused on the firmware with the older zeros
        self._scale: Float = np.ones(N_JOINTS)

    def require(self, version: str) -> None:
        """Firmware whose frame is the one of the SDK."""
        if why := firmware.mit_refusal(version):
            raise ArmError(f"command_mode mit: {why}")
        self._scale = np.array(firmware.effort_scale(version))

    def select(self, sdk: Any, speed: int, mounting: int) -> None:
        """Send 0x151; speed does not apply to this mode."""
        del speed
        sdk.MotionCtrl_2(_CAN, _MOVE_MIT, 0, _FOLLOW, 0, mounting)

    def target(self, sdk: Any, position: Float) -> None:
        """0x15A..0x15F. The target rests at each instant: velocity 0."""
        torque = gravity_torque(self._body, position, self._gripper) / self._scale
        for joint in range(N_JOINTS):
            feed = min(max(float(torque[joint]), -_MIT_TORQUE), _MIT_TORQUE)
            sdk.JointMitCtrl(joint + 1, float(position[joint]), 0.0, self._kp, self._kd, feed)


def rpy(flange: Float) -> tuple[float, float, float]:
    """A frame (4, 4) -> extrinsic x-y-z angles [rad]; in gimbal lock the last is 0, as the SDK reports it."""
    r = flange[:3, :3]
    down = math.hypot(r[0, 0], r[1, 0])
    if down < _GIMBAL:
        return math.atan2(-r[1, 2], r[1, 1]), math.atan2(-r[2, 0], down), 0.0
    return math.atan2(r[2, 1], r[2, 2]), math.atan2(-r[2, 0], down), math.atan2(r[1, 0], r[0, 0])


def mode_of(name: str, kp: float, kd: float, gripper: bool) -> Mode:
    """The way called "joint", "end_pose" or "mit"."""
    if name == "mit":
        return MitMode(kp, kd, gripper)
    return EndPoseMode() if name == "end_pose" else JointMode()
