"""Asks a PiPER for what it keeps in flash: firmware, joint limits, gripper range, collision levels. Queries only.

The SDK keeps one object per answer, whatever the question, and changes it in place: so one question at a time, and what
comes is told from what was there by its stamp, copied, and remembered. An answer that is lost leaves the earlier one.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from typing import Any

from reconvla_ros.arm import firmware
from reconvla_ros.arm.protocol import ArmSetup
from reconvla_ros.types import N_JOINTS

_ANSWER = 0.15  # [s] for one answer; the arm answers within a few milliseconds
_TRIES = 2
_POLL = 0.002  # [s]
_TENTH_DEGREE = math.radians(0.1)
_ASK_COLLISION, _ASK_GRIPPER = 2, 4  # 0x477 byte 0
_NO_LOAD_CHANGE = 3  # 0x477 byte 4; byte 3 stays 0, so that nothing is written
_MOTORS = tuple(f"motor_{i}" for i in range(1, N_JOINTS + 1))


class Inspector:
    """For one connection.

    Args:
        sdk: connected. lock: guards its sends.
        foreign: listens for commands of others, as `Link.foreign`.
    """

    def __init__(
        self,
        sdk: Any,
        lock: contextlib.AbstractContextManager[Any],
        foreign: Callable[[], tuple[int, ...] | None],
    ) -> None:
        self._sdk, self._lock, self._foreign = sdk, lock, foreign
        self._limits: list[tuple[float, float] | None] = [None] * N_JOINTS
        self._gripper: float | None = None
        self._collision: tuple[int, ...] | None = None

    def firmware(self) -> str:
        """The version, as far as it has arrived whole; empty until then. Sends nothing."""
        text = self._sdk.GetPiperFirmwareVersion()
        return text if isinstance(text, str) and firmware.version(text) is not None else ""

    def read(self) -> ArmSetup:
        """Ask for everything; up to 1.5 s with an arm that answers nothing."""
        self._ask_firmware()
        for joint in range(N_JOINTS):
            if not self._ask_limits(joint) and joint == 0:
                break  # an arm that does not know the question: the others would only take time
        sdk = self._sdk
        levels = self._ask_parameter(_ASK_COLLISION, sdk.GetCrashProtectionLevelFeedback)
        if levels is not None:
            values = levels.crash_protection_level_feedback
            names = (f"joint_{i}_protection_level" for i in range(1, N_JOINTS + 1))
            self._collision = tuple(int(getattr(values, name)) for name in names)
        gripper = self._ask_parameter(_ASK_GRIPPER, sdk.GetGripperTeachingPendantParamFeedback)
        if gripper is not None:
            self._gripper = int(gripper.arm_gripper_teaching_param_feedback.max_range_config) * 1e-3
        slow = sdk.GetArmLowSpdInfoMsgs()
        motors = [getattr(slow, name) for name in _MOTORS]
        return ArmSetup(
            firmware=self.firmware(),
            joint_limits=tuple(self._limits),
            gripper_range=self._gripper,
            collision_levels=self._collision,
            voltages=tuple(int(m.vol) * 0.1 for m in motors),
            driver_temperatures=tuple(float(m.foc_temp) for m in motors),
            motor_temperatures=tuple(float(m.motor_temp) for m in motors),
            commanders=self._foreign(),
        )

    def _until(self, ready: Callable[[], bool]) -> bool:
        end = time.monotonic() + _ANSWER
        while not ready():
            if time.monotonic() > end:
                return False
            time.sleep(_POLL)
        return True

    def _ask_firmware(self) -> None:
        """It was asked for at the start; ask again only where the answer is missing, since asking forgets the last."""
        for _ in range(_TRIES):
            if self._until(lambda: bool(self.firmware())):
                return
            with self._lock:
                self._sdk.SearchPiperFirmwareVersion()
        self._until(lambda: bool(self.firmware()))

    def _ask_limits(self, joint: int) -> bool:
        sdk = self._sdk
        for _ in range(_TRIES):
            before = sdk.GetCurrentMotorAngleLimitMaxVel().time_stamp
            with self._lock:
                sdk.SearchMotorMaxAngleSpdAccLimit(joint + 1, 1)

            def answered(before: float = before) -> bool:
                message = sdk.GetCurrentMotorAngleLimitMaxVel()
                number = int(message.current_motor_angle_limit_max_vel.motor_num)
                return message.time_stamp != before and number == joint + 1

            if self._until(answered):
                value = sdk.GetCurrentMotorAngleLimitMaxVel().current_motor_angle_limit_max_vel
                low, high = int(value.min_angle_limit), int(value.max_angle_limit)
                self._limits[joint] = (low * _TENTH_DEGREE, high * _TENTH_DEGREE)
                return True
        return False

    def _ask_parameter(self, what: int, get: Callable[[], Any]) -> Any:
        """The SDK's object with a new answer; None when none came."""
        for _ in range(_TRIES):
            before = get().time_stamp
            with self._lock:
                self._sdk.ArmParamEnquiryAndConfig(what, 0, 0, 0, _NO_LOAD_CHANGE)
            if self._until(lambda before=before: get().time_stamp != before):  # type: ignore[misc]
                return get()
        return None
