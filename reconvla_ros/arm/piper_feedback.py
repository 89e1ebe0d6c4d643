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
_HEALTH_PERIOD_NS = 25_000_000
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


class Messages:
    """The SDK's live objects of one interface, fetched once.

    piper_sdk 0.6.2 makes them when the interface is made and changes them in place; its getters hand out the same objects each
    time, but work out frame rates first, under a lock that its reader takes too: a tick goes past them.
    """

    def __init__(self, sdk: Any) -> None:
        self.sdk = sdk
        self.status, self.joints = sdk.GetArmStatus(), sdk.GetArmJointMsgs()
        self._gripper, self._fast, self._slow = (
            sdk.GetArmGripperMsgs(), sdk.GetArmHighSpdInfoMsgs(), sdk.GetArmLowSpdInfoMsgs()
        )  # fmt: skip
        self._health: dict[str, tuple[float, ...]] = {}
        self._health_ns = -_HEALTH_PERIOD_NS

    @property
    def gripper(self) -> Any:
        """Of 0x2A8."""
        return self._gripper.gripper_state

    @property
    def motors_fast(self) -> list[Any]:
        """Per joint, of 0x251..0x256."""
        return [getattr(self._fast, name) for name in _MOTORS]

    @property
    def motors_slow(self) -> list[Any]:
        """Per joint, of 0x261..0x266."""
        return [getattr(self._slow, name) for name in _MOTORS]

    def health(self, now_ns: int) -> dict[str, tuple[float, ...]]:
        """Fields of `ArmReport` by which nothing is decided within a tick; read anew as often as 0x261..0x266 come, 40 Hz."""
        if now_ns - self._health_ns >= _HEALTH_PERIOD_NS:
            fast, slow = self.motors_fast, self.motors_slow
            self._health_ns = now_ns
            self._health = {
                "currents": tuple(motor.current * 1e-3 for motor in fast),
                "voltages": tuple(motor.vol * 0.1 for motor in slow),
                "driver_temperatures": tuple(float(motor.foc_temp) for motor in slow),
                "motor_temperatures": tuple(float(motor.motor_temp) for motor in slow),
            }
        return self._health


def state(m: Messages, scale: tuple[float, ...]) -> ArmState:
    """Joints and gripper of the newest frames; `scale` (6,) is what the reported effort is multiplied with."""
    values, fast = m.joints.joint_state, m.motors_fast
    gripper = m.gripper
    return ArmState(
        stamp_ns=int(m.joints.time_stamp * 1e9),
        position=np.array([getattr(values, name) / MILLIDEGREES for name in _JOINTS]),
        velocity=np.array([motor.motor_speed * 1e-3 for motor in fast]),
        effort=np.array([motor.effort * 1e-3 * k for motor, k in zip(fast, scale, strict=True)]),
        gripper=gripper.grippers_angle * 1e-6,
        gripper_effort=gripper.grippers_effort * 1e-3,
        enabled=tuple(bool(int(motor.foc_status_code) & _ENABLED_BIT) for motor in m.motors_slow),
    )


def report(m: Messages, pose: bool, **known: Any) -> ArmReport:
    """Status word and bits of the newest frames, the flange if `pose`; ages and counters are the caller's, in `known`."""
    word, gripper_bits = m.status.arm_status, int(m.gripper.status_code)
    slow = m.motors_slow
    errors = int(word.err_code)  # 0x2A1 byte 6 << 8 | byte 7
    return ArmReport(
        ctrl_mode=int(word.ctrl_mode),
        arm_status=int(word.arm_status),
        move_mode=int(word.mode_feed),
        motion_status=int(word.motion_status),
        limit_bits=errors >> 8 & 0xFF,
        comm_bits=errors & 0xFF,
        flange=_flange(m.sdk) if pose else None,
        gripper_enabled=bool(gripper_bits & _ENABLED_BIT),
        gripper_bits=gripper_bits,
        motor_bits=tuple(int(motor.foc_status_code) for motor in slow),
        status_stamp_ns=int(m.status.time_stamp * 1e9),
        joint_stamp_ns=int(m.joints.time_stamp * 1e9),
        **known,
    )


def _flange(sdk: Any) -> Pose | None:
    message = sdk.GetArmEndPoseMsgs()
    if message.time_stamp <= 0:
        return None
    pose = message.end_pose
    angles = (math.radians(v * 1e-3) for v in (pose.RX_axis, pose.RY_axis, pose.RZ_axis))
    position = np.array([pose.X_axis, pose.Y_axis, pose.Z_axis]) * 1e-6
    return Pose(position, quaternion_from_matrix(_rpy_matrix(*angles)))
