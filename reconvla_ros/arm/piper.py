"""The PiPER behind piper_sdk, the same code for `can0` and for a simulated bus. One instance per process and bus.

What is tamed here (piper_sdk 0.6.2), beside the connection itself (`piper_link.py`): two threads that send corrupt each
other's frames, so one lock guards every send; getters hand out live objects and zeros before the first frame; targets
are whole thousandths.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from reconvla_ros import tables
from reconvla_ros.arm import bus as can_bus
from reconvla_ros.arm import firmware
from reconvla_ros.arm import piper_feedback as feedback
from reconvla_ros.arm.piper_inspect import Inspector
from reconvla_ros.arm.piper_link import Link
from reconvla_ros.arm.piper_modes import JointMode, Mode
from reconvla_ros.arm.protocol import ArmReport, ArmSetup
from reconvla_ros.errors import ArmError, BusError
from reconvla_ros.types import N_JOINTS, ArmState, JointCommand

_MOUNTING = {"keep": 0, "upright": 1, "left": 2, "right": 3}
_FIRST_FEEDBACK = 3.0  # [s] for the first complete set of frames
_MODE_PERIOD_NS = 200_000_000  # 0x151 is repeated at 5 Hz: a mode frame that got lost must not last
_GRIPPER_PERIOD_NS = 100_000_000
_SEED_SLACK = 0.05  # [rad] feedback this far beyond a limit (an arm on its stops) is seeded on the limit
_CAN_MODE = 1


class PiperArm:
    """An `Arm` on a CAN bus.

    Args:
        address: the bus.
        speed_percent: MOVE J speed of 0x151.
        mounting: of the base, "keep" leaves the arm's own setting.
        gripper_effort: [N m].
        wait: how long `open` waits for the first frame [s].
        clock: monotonic [ns].
        gripper: whether one is fitted; else nothing is sent to it, and 0x2A8 is not waited for.
        mode: how it is told where to go.
        stop: asked while `open` waits; True ends the wait.
    """

    def __init__(
        self,
        address: can_bus.BusAddress,
        speed_percent: int = 50,
        mounting: str = "keep",
        gripper_effort: float = 1.0,
        wait: float = 0.0,
        clock: Callable[[], int] = time.monotonic_ns,
        gripper: bool = True,
        mode: Mode | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._address = address
        self._speed = speed_percent
        self._mounting = _MOUNTING[mounting]
        self._effort = round(gripper_effort * 1000.0)
        self._clock, self._wait, self._stop = clock, wait, stop
        self._gripper, self._mode = gripper, mode or JointMode()
        self._mode_known = False
        self._lock = threading.RLock()
        self._bus_lock = can_bus.BusLock(address)
        self._sdk: Any = None
        self._inspector: Inspector | None = None
        self._joints, self._status = feedback.Freshness(), feedback.Freshness()
        self._last: JointCommand | None = None
        self._mode_ns = self._gripper_ns = 0
        self._gripper_sent: int | None = None
        self._link: Link | None = None
        self._messages: feedback.Messages | None = None
        self._losses = 0
        self._firmware = ""

    def open(self) -> None:
        """See `Arm.open`."""
        can_bus.check_interface(self._address)
        self._bus_lock.acquire()
        try:
            can_bus.await_arm(self._address, self._wait, self._stop)
            self._connect()
            self._await_feedback()
            if self._link is not None:
                self._link.tend()
        except BaseException:
            self.close()
            raise

    def _connect(self) -> None:
        self._link = Link(self._address, self._clock)
        self._sdk, self._firmware, self._losses = self._link.sdk, "", 0
        self._inspector = Inspector(self._sdk, self._lock, self._link.foreign)

    def _await_feedback(self) -> None:
        """Wait until every value `state` gives came from a frame; ask for the firmware meanwhile."""
        sdk, deadline = self._sdk, time.monotonic() + _FIRST_FEEDBACK
        with self._lock:
            sdk.SearchPiperFirmwareVersion()
        while True:
            missing = [
                name
                for name, there in (
                    ("0x2A1", sdk.GetArmStatus().time_stamp > 0),
                    # The rate is above 0 only when all three joint frames flow.
                    ("0x2A5..0x2A7", sdk.GetArmJointMsgs().Hz > 0),
                    ("0x2A8", not self._gripper or sdk.GetArmGripperMsgs().time_stamp > 0),
                    ("0x261..0x266", sdk.GetArmLowSpdInfoMsgs().time_stamp > 0),
                )
                if not there
            ]
            if not missing:
                return
            if self._stop():
                raise BusError(f"CAN bus {self._address}: told to end while waiting for the arm")
            if time.monotonic() > deadline:
                hint = "; an arm without a gripper needs gripper: none" if missing == ["0x2A8"] else ""
                raise BusError(f"CAN bus {self._address}: {', '.join(missing)} missing after {_FIRST_FEEDBACK} s{hint}")
            time.sleep(0.02)

    def _require(self) -> Any:
        if self._sdk is None:
            raise BusError(f"CAN bus {self._address} is not open")
        return self._sdk

    def state(self) -> ArmState:
        """See `Arm.state`."""
        return feedback.state(self._live(), firmware.effort_scale(self._firmware))

    def report(self) -> ArmReport:
        """See `Arm.report`."""
        return self._report(self._live(), pose=True)

    def read(self) -> tuple[ArmReport, ArmState]:
        """See `Arm.read`."""
        messages = self._live()
        report = self._report(messages, pose=False)
        return report, feedback.state(messages, firmware.effort_scale(self._firmware))

    def _live(self) -> feedback.Messages:
        sdk = self._require()
        if self._messages is None or self._messages.sdk is not sdk:
            self._messages = feedback.Messages(sdk)
        return self._messages

    def _report(self, messages: feedback.Messages, pose: bool) -> ArmReport:
        now, link = self._clock(), self._link
        assert link is not None
        if not self._firmware and self._inspector is not None:
            self._firmware = self._inspector.firmware()
        return feedback.report(
            messages, pose,
            **messages.health(now),
            firmware=self._firmware,
            status_age=self._status.age(messages.status.time_stamp, now),
            joint_age=self._joints.age(messages.joints.time_stamp, now),
            bus_ok=link.send_ok,
            frames_sent=link.sent,
            losses=link.watch.losses,
            link=link.watch.words,
        )  # fmt: skip

    def inspect(self) -> ArmSetup:
        """See `Arm.inspect`."""
        self._require()
        assert self._inspector is not None
        return self._inspector.read()

    def enable(self, timeout: float = 5.0) -> JointCommand | None:
        """See `Arm.enable`. Motors 1 to 6 one by one: number 7 would also move the gripper on some firmware."""
        sdk, deadline = self._require(), time.monotonic() + timeout
        self._mode.require(self.report().firmware)
        self._mode_known = True
        if self._last is not None and all(self.state().enabled) and self._in_mode():
            return None  # it holds, or moves: a seed would step back to where the arm is
        self._last = None  # `hold` must not send an arm that has just got power to where it was before
        while off := [i + 1 for i, on in enumerate(self.state().enabled) if not on]:
            if time.monotonic() > deadline:
                raise ArmError(f"motors {off} did not take power within {timeout:g} s; {self._say_status()}")
            with self._lock:
                for motor in off:
                    sdk.EnableArm(motor)
            time.sleep(0.05)  # two rounds of 0x261..0x266 at 40 Hz
        seed = self._seed()
        while True:
            with self._lock:
                self._send_mode()
                self._mode.target(sdk, seed.position)
                self._send_gripper(seed.gripper or 0.0)
                self._last = seed
            time.sleep(0.05)
            if self._in_mode():
                return seed
            if time.monotonic() > deadline:
                raise ArmError(
                    f"CAN mode (move mode {self._mode.code}) was not taken within {timeout:g} s; {self._say_status()}"
                )

    def _in_mode(self) -> bool:
        report = self.report()
        return (report.ctrl_mode, report.move_mode) == (_CAN_MODE, self._mode.code)

    def _say_status(self) -> str:
        report = self.report()
        mode = tables.CTRL_MODES.get(report.ctrl_mode, "unknown")
        status = tables.ARM_STATUS.get(report.arm_status, "unknown")
        return f"mode {report.ctrl_mode} ({mode}), status {report.arm_status} ({status}), move mode {report.move_mode}"

    def _seed(self) -> JointCommand:
        """A target where the arm is, for the first command must not be a jump."""
        state = self.state()
        inside = np.clip(state.position, tables.JOINT_LOWER, tables.JOINT_UPPER)
        far = np.abs(inside - state.position)
        if float(far.max()) > _SEED_SLACK:
            joint = int(np.argmax(far))
            low, high = tables.JOINT_LOWER[joint], tables.JOINT_UPPER[joint]
            raise ArmError(
                f"joint{joint + 1} reads {state.position[joint]:.4f} rad, outside {low:g}..{high:g}: not driven"
            )
        return JointCommand(inside, max(0.0, state.gripper))

    def send(self, command: JointCommand) -> None:
        """See `Arm.send`. To an arm that is out of reach nothing is sent, and what it was sent before is forgotten."""
        self._require()
        with self._lock:
            if self._out_of_reach():
                return
            if not self._mode_known:  # an arm that had power before we came
                self._mode.require(self._firmware)
                self._mode_known = True
            now = self._clock()
            if now - self._mode_ns >= _MODE_PERIOD_NS:
                self._mode_ns = now
                self._send_mode()
            self._mode.target(self._sdk, command.position)
            if command.gripper is not None:
                wanted = round(command.gripper * 1e6)
                if wanted != self._gripper_sent or now - self._gripper_ns >= _GRIPPER_PERIOD_NS:
                    self._gripper_ns = now
                    self._send_gripper(command.gripper)
            self._last = command

    def _out_of_reach(self) -> bool:
        """Whether the bus is lost; after a loss the old target is not to be held any more."""
        watch = self._link.watch if self._link is not None else None
        if watch is None:
            return True
        if watch.losses != self._losses:
            self._losses, self._last = watch.losses, None
        return watch.lost

    def _send_mode(self) -> None:
        self._mode.select(self._sdk, self._speed, self._mounting)

    def _send_gripper(self, opening: float) -> None:
        if not self._gripper:
            return
        self._gripper_sent = round(opening * 1e6)
        self._sdk.GripperCtrl(self._gripper_sent, self._effort, 1, 0)

    def hold(self) -> None:
        """See `Arm.hold`."""
        with self._lock:
            if not self._out_of_reach() and self._last is not None:
                self.send(self._last)

    def damped_stop(self) -> None:
        """See `Arm.damped_stop`."""
        with self._lock:
            self._last = None
            self._require().EmergencyStop(1)

    def power_cycle(self) -> None:
        """See `Arm.power_cycle`."""
        with self._lock:
            self._last = None
            self._require().ResetPiper()

    def disable(self) -> None:
        """See `Arm.disable`."""
        with self._lock:
            self._last = None
            for motor in range(1, N_JOINTS + 1):
                self._require().DisableArm(motor)

    def close(self) -> None:
        """See `Arm.close`."""
        with self._lock:
            link, self._link, self._sdk, self._last = self._link, None, None, None
        if link is not None:
            link.close()
        self._bus_lock.release()
