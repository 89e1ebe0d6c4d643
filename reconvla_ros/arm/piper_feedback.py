"""What the SDK's live objects say, as values. They change under our hands, so each is read once and copied.

The three joint frames arrive one after the other, so a sample may be torn by one frame, 0.1 ms; nothing here waits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from reconvla_ros.arm.protocol import ArmReport
from reconvla_ros.arm.rotations import quaternion_from_matrix
from reconvla_ros.types import N_JOINTS, ArmState, Pose

MILLIDEGREES = 1000.0 * 180.0 / math.pi  # per rad
_ENABLED_BIT = 1 << 6
_MOTORS = tuple(f"motor_{i}" for i in range(1, N_JOINTS + 1))
_JOINTS = tuple(f"joint_{i}" for i in range(1, N_JOINTS + 1))


def _rpy_matrix(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """Extrinsic x-y-z [rad] -> (3, 3), as the firmware and ROS mean it."""
    cr, sr, cp, sp, cy, sy = (f(a) for a in (roll, pitch, yaw) for f in (math.cos, math.sin))
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


class Freshness:
    """Age of a stamp that changes, on the monotonic clock: a jump of the system clock cannot fake it."""

    def __init__(self) -> None:
        self._stamp = 0.0
        self._seen_ns = 0

    def age(self, stamp: float, now_ns: int) -> float:
        """Since `stamp` was last seen to change [s]; inf before the first."""
        if stamp != self._stamp and stamp > 0.0:
            self._stamp, self._seen_ns = stamp, now_ns
        return (now_ns - self._seen_ns) / 1e9 if self._stamp > 0.0 else math.inf


def _motor_bits(sdk: Any) -> tuple[int, ...]:
    slow = sdk.GetArmLowSpdInfoMsgs()
    return tuple(int(getattr(slow, name).foc_status_code) for name in _MOTORS)


def state(sdk: Any, scale: tuple[float, ...]) -> ArmState:
    """Joints and gripper of the newest frames; `scale` (6,) is what the reported effort is multiplied with."""
    joints = sdk.GetArmJointMsgs()
    values, gripper = joints.joint_state, sdk.GetArmGripperMsgs().gripper_state
    fast = sdk.GetArmHighSpdInfoMsgs()
    motors = [getattr(fast, name) for name in _MOTORS]
    return ArmState(
        stamp_ns=int(joints.time_stamp * 1e9),
        position=np.array([getattr(values, name) for name in _JOINTS]) / MILLIDEGREES,
        velocity=np.array([m.motor_speed for m in motors]) * 1e-3,
        effort=np.array([m.effort for m in motors]) * 1e-3 * np.array(scale),
        gripper=gripper.grippers_angle * 1e-6,
        gripper_effort=gripper.grippers_effort * 1e-3,
        enabled=tuple(bool(bits & _ENABLED_BIT) for bits in _motor_bits(sdk)),
    )


def report(sdk: Any) -> ArmReport:
    """Status word, bits and flange of the newest frames; ages and counters are the caller's."""
    status, gripper = sdk.GetArmStatus(), sdk.GetArmGripperMsgs().gripper_state
    word = status.arm_status
    errors = int(word.err_code)  # 0x2A1 byte 6 << 8 | byte 7
    fast, slow = sdk.GetArmHighSpdInfoMsgs(), sdk.GetArmLowSpdInfoMsgs()
    motors = [getattr(slow, name) for name in _MOTORS]
    return ArmReport(
        ctrl_mode=int(word.ctrl_mode),
        arm_status=int(word.arm_status),
        move_mode=int(word.mode_feed),
        motion_status=int(word.motion_status),
        limit_bits=errors >> 8 & 0xFF,
        comm_bits=errors & 0xFF,
        flange=_flange(sdk),
        gripper_enabled=bool(int(gripper.status_code) & _ENABLED_BIT),
        gripper_bits=int(gripper.status_code),
        motor_bits=_motor_bits(sdk),
        status_stamp_ns=int(status.time_stamp * 1e9),
        joint_stamp_ns=int(sdk.GetArmJointMsgs().time_stamp * 1e9),
        currents=tuple(getattr(fast, name).current * 1e-3 for name in _MOTORS),
        voltages=tuple(motor.vol * 0.1 for motor in motors),
        driver_temperatures=tuple(float(motor.foc_temp) for motor in motors),
        motor_temperatures=tuple(float(motor.motor_temp) for motor in motors),
    )


def _flange(sdk: Any) -> Pose | None:
    message = sdk.GetArmEndPoseMsgs()
    if message.time_stamp <= 0:
        return None
    pose = message.end_pose
    angles = (math.radians(v * 1e-3) for v in (pose.RX_axis, pose.RY_axis, pose.RZ_axis))
    position = np.array([pose.X_axis, pose.Y_axis, pose.Z_axis]) * 1e-6
    return Pose(position, quaternion_from_matrix(_rpy_matrix(*angles)))
