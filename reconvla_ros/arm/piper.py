"""The PiPER behind piper_sdk, the same code for `can0` and for a simulated bus. One instance per process and bus.

What is tamed here (piper.md of piper_sdk 0.6.2): instances are singletons by name, so each open makes a new name; two
threads that send corrupt each other's frames, so one lock guards every send; `isOk` counts our own frames, so freshness
is judged by 0x2A1 and 0x2A5 alone; getters hand out live objects and zeros before the first frame; sends never raise;
targets are whole thousandths.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from piper_sdk import C_PiperInterface_V2, LogLevel

from reconvla_ros import tables
from reconvla_ros.arm import bus as can_bus
from reconvla_ros.arm import piper_feedback as feedback
from reconvla_ros.arm.piper_inspect import Inspector
from reconvla_ros.arm.protocol import ArmReport, ArmSetup
from reconvla_ros.arm.socket_filter import drop_ids
from reconvla_ros.errors import ArmError, BusError
from reconvla_ros.types import N_JOINTS, ArmState, JointCommand

_MOUNTING = {"keep": 0, "upright": 1, "left": 2, "right": 3}
_LISTEN = 0.3  # [s] before anything is sent: about 900 frames of a live arm, and any host that streams
_FIRST_FEEDBACK = 3.0  # [s] for the first complete set of frames
_MODE_PERIOD_NS = 200_000_000  # 0x151 is repeated at 5 Hz: a mode frame that got lost must not last
_GRIPPER_PERIOD_NS = 100_000_000
_SEED_SLACK = 0.05  # [rad] feedback this far beyond a limit (an arm on its stops) is seeded on the limit
_JOINT_MODE = 1
_CAN_MODE = 1
_instances = itertools.count()


class PiperArm:
    """An `Arm` on a CAN bus.

    Args:
        address: the bus.
        speed_percent: MOVE J speed of 0x151.
        mounting: of the base, "keep" leaves the arm's own setting.
        gripper_effort: [N m].
        wait: how long `open` waits for the first frame [s].
        clock: monotonic [ns].
    """

    def __init__(
        self,
        address: can_bus.BusAddress,
        speed_percent: int = 50,
        mounting: str = "keep",
        gripper_effort: float = 1.0,
        wait: float = 0.0,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._address = address
        self._speed = speed_percent
        self._mounting = _MOUNTING[mounting]
        self._effort = round(gripper_effort * 1000.0)
        self._clock, self._wait = clock, wait
        self._lock = threading.RLock()
        self._bus_lock = can_bus.BusLock(address)
        self._sdk: Any = None
        self._inspector: Inspector | None = None
        self._joints, self._status = feedback.Freshness(), feedback.Freshness()
        self._last: JointCommand | None = None
        self._mode_ns = self._gripper_ns = 0
        self._gripper_sent: int | None = None
        self._firmware = ""
        self._sent = 0
        self._bus_ok = True

    def open(self) -> None:
        """See `Arm.open`."""
        can_bus.check_interface(self._address)
        self._bus_lock.acquire()
        try:
            self._listen()
            self._connect()
            self._await_feedback()
        except BaseException:
            self.close()
            raise

    def _listen(self) -> None:
        """Hear the arm, and nobody who commands it, before anything is sent."""
        end = time.monotonic() + self._wait
        while True:
            heard = can_bus.listen(self._address, _LISTEN)
            can_bus.refuse_foreign_commands(self._address, heard)
            if can_bus.STATUS_ID in heard:
                return
            if time.monotonic() >= end:
                break
        seen = ", ".join(f"{i:#05x}" for i in sorted(heard)) or "nothing"
        raise BusError(
            f"CAN bus {self._address}: no arm (0x2A1 not heard in {max(self._wait, _LISTEN):g} s, heard: {seen}); "
            "check power, cable and, in sim, that the simulator runs on the same port"
        )

    def _connect(self) -> None:
        name = f"{self._address.key}#{next(_instances)}"
        sdk = C_PiperInterface_V2(name, judge_flag=False, can_auto_init=False, logger_level=LogLevel.SILENT)
        try:
            with can_bus.bus_defaults(self._address):
                sdk.CreateCanBus(self._address.channel, bustype=self._address.bus_type, judge_flag=False)
        except ConnectionError as error:
            raise BusError(f"CAN bus {self._address} ({self._address.bus_type}): {error}") from error
        port = sdk.GetCanBus()
        if port.recv_bus is None or port.send_bus is None:
            raise BusError(f"CAN bus {self._address} ({self._address.bus_type}) could not be opened")
        drop_ids(
            port.recv_bus, min(can_bus.COMMAND_IDS), 0x15F
        )  # our own, as on socketcan; each would wake the SDK's reader
        send = port.SendCanMessage

        # The SDK logs a failed send and goes on; this is where it is counted and noticed.
        def counted(*args: Any, **kwargs: Any) -> Any:
            outcome = send(*args, **kwargs)
            self._bus_ok = outcome is port.CAN_STATUS.SEND_MESSAGE_SUCCESS
            self._sent += self._bus_ok
            return outcome

        port.SendCanMessage = counted
        sdk.ConnectPort(piper_init=False)
        self._sdk, self._inspector, self._firmware = sdk, Inspector(sdk, self._lock), ""

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
                    ("0x2A8", sdk.GetArmGripperMsgs().time_stamp > 0),
                    ("0x261..0x266", sdk.GetArmLowSpdInfoMsgs().time_stamp > 0),
                )
                if not there
            ]
            if not missing:
                return
            if time.monotonic() > deadline:
                raise BusError(f"CAN bus {self._address}: {', '.join(missing)} missing after {_FIRST_FEEDBACK} s")
            time.sleep(0.02)

    def _require(self) -> Any:
        if self._sdk is None:
            raise BusError(f"CAN bus {self._address} is not open")
        return self._sdk

    def state(self) -> ArmState:
        """See `Arm.state`."""
        return feedback.state(self._require())

    def report(self) -> ArmReport:
        """See `Arm.report`."""
        sdk, now = self._require(), self._clock()
        if not self._firmware and self._inspector is not None:
            self._firmware = self._inspector.firmware()
        return replace(
            feedback.report(sdk),
            firmware=self._firmware,
            status_age=self._status.age(sdk.GetArmStatus().time_stamp, now),
            joint_age=self._joints.age(sdk.GetArmJointMsgs().time_stamp, now),
            bus_ok=self._bus_ok,
            frames_sent=self._sent,
        )

    def inspect(self) -> ArmSetup:
        """See `Arm.inspect`."""
        self._require()
        assert self._inspector is not None
        return self._inspector.read()

    def enable(self, timeout: float = 5.0) -> JointCommand | None:
        """See `Arm.enable`. Motors 1 to 6 one by one: number 7 would also move the gripper on some firmware."""
        sdk, deadline = self._require(), time.monotonic() + timeout
        if self._last is not None and all(self.state().enabled) and self._in_joint_mode():
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
                self._send_joints(seed.position)
                self._send_gripper(seed.gripper or 0.0)
                self._last = seed
            time.sleep(0.05)
            if self._in_joint_mode():
                return seed
            if time.monotonic() > deadline:
                raise ArmError(f"CAN joint mode was not taken within {timeout:g} s; {self._say_status()}")

    def _in_joint_mode(self) -> bool:
        report = self.report()
        return (report.ctrl_mode, report.move_mode) == (_CAN_MODE, _JOINT_MODE)

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
        """See `Arm.send`."""
        self._require()
        with self._lock:
            now = self._clock()
            if now - self._mode_ns >= _MODE_PERIOD_NS:
                self._mode_ns = now
                self._send_mode()
            self._send_joints(command.position)
            if command.gripper is not None:
                wanted = round(command.gripper * 1e6)
                if wanted != self._gripper_sent or now - self._gripper_ns >= _GRIPPER_PERIOD_NS:
                    self._gripper_ns = now
                    self._send_gripper(command.gripper)
            self._last = command

    def _send_mode(self) -> None:
        self._sdk.MotionCtrl_2(_CAN_MODE, _JOINT_MODE, self._speed, 0, 0, self._mounting)

    def _send_joints(self, position: np.ndarray) -> None:
        self._sdk.JointCtrl(*(round(float(v) * feedback.MILLIDEGREES) for v in position))

    def _send_gripper(self, opening: float) -> None:
        self._gripper_sent = round(opening * 1e6)
        self._sdk.GripperCtrl(self._gripper_sent, self._effort, 1, 0)

    def hold(self) -> None:
        """See `Arm.hold`."""
        if self._last is not None:
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
            sdk, self._sdk = self._sdk, None
            self._last = None
            if sdk is not None:
                sdk.DisconnectPort()
        self._bus_lock.release()
