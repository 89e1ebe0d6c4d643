"""The driver on a virtual bus with an ideal arm at its other end, on a clock that only `Rig.step` moves.

Real: `DriverCore`, `PiperArm`, the encoding and decoding of piper_sdk, python-can's `virtual` bus, the firmware model.
Injected: time (`Clock`, for the core, for `PiperArm` and for the stamps of frames), the SDK's reader thread (its read
is called from `step`, so that every run is the same), and physics: each motor is where its set point is. Not covered:
`PiperArm.open` beyond the connection, which listens in real time, and the ROS node around the core.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import can
import numpy as np

from reconvla_ros.arm import piper
from reconvla_ros.arm.bus import BusAddress
from reconvla_ros.arm.control import DriverCore
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.arm.tick import TickResult
from reconvla_ros.bench.judge import Bounds, Judge
from reconvla_ros.errors import BusError
from reconvla_ros.sim import frames
from reconvla_ros.sim.arm_io import Sensed, Servo
from reconvla_ros.sim.firmware import Firmware
from reconvla_ros.types import Float

_EPOCH_NS = 1_700_000_000_000_000_000
_SLOW_EVERY = 5  # ticks between the frames 0x261..0x266 and the pose, as on the arm
_EACH_TICK = (frames.STATUS, frames.JOINT_12, frames.JOINT_34, frames.JOINT_56, frames.GRIPPER)
_SETTLE = 0.6  # [s] from the largest speed to rest at the braking acceleration and jerk, with reserve
_channels = itertools.count()


class Clock:
    """Monotonic and ROS time [ns] of one run."""

    def __init__(self) -> None:
        self.mono_ns = 1_000_000_000

    @property
    def ros_ns(self) -> int:
        """Epoch time [ns]."""
        return _EPOCH_NS + self.mono_ns


class _Arm(piper.PiperArm):
    """The driver's own arm, read by hand."""

    def open(self) -> None:
        """Connect to the virtual bus, and take the reading over from the SDK's thread."""
        self._connect()
        port = self._sdk.GetCanBus()
        self._port, left = port, threading.Event()

        def leave() -> None:
            left.set()
            raise can.CanOperationError("read by the bench")

        port.ReadCanMessage = leave
        if not left.wait(5.0):
            raise BusError("soak: the SDK's reader did not end")
        # On Linux the SDK sends from a bus of its own that nobody ever reads: its queue would grow without end.
        port.send_bus.channel.remove(port.send_bus.queue)

    def close(self) -> None:
        """See `Arm.close`."""
        if self._sdk is not None:
            self._port.send_bus.channel.append(self._port.send_bus.queue)
        super().close()

    def pump(self) -> None:
        """Let the SDK parse all that waits."""
        for _ in range(self._port.recv_bus.queue.qsize()):
            type(self._port).ReadCanMessage(self._port)


def bounds_of(config: DriverConfig) -> Bounds:
    """What the parameters promise, for the judge; stopping may brake harder than moving."""
    floor = max(config.workspace_lower[2], config.table_z + config.table_clearance)
    return Bounds(
        config.joint_lower, config.joint_upper, config.joint_speed,
        max(config.joint_acceleration, config.stop_acceleration),
        (*config.workspace_lower[:2], floor), config.workspace_upper, config.tcp_offset,
        config.tcp_speed, config.tcp_angular_speed, config.gripper_range, config.gripper_speed, config.gripper_effort,
        config.speed_percent, 1.0 / config.rate, _SETTLE,
    )  # fmt: skip


class Rig:
    """One run. Use as a context manager.

    Args:
        config: of the driver; `bounds` are what the judge asks for, default those of `config`.
    """

    def __init__(self, config: DriverConfig, bounds: Bounds | None = None) -> None:
        self.clock = Clock()
        self.judge = Judge(bounds or bounds_of(config))
        self.firmware = Firmware()
        self.frozen = 0  # ticks for which the arm says nothing
        self.last: TickResult | None = None
        self.moving = 0
        channel = f"soak-{next(_channels)}"
        self._period_ns = int(1e9 / config.rate)
        self._ticks = 0
        self._sensed = Sensed(np.zeros(6), np.zeros(6), np.zeros(6))
        # Stamps are those of the injected clock, so they must survive the bus.
        self._bus = can.Bus(interface="virtual", channel=channel, preserve_timestamps=True)
        self._arm = _Arm(
            BusAddress("virtual", channel), config.speed_percent, config.mounting, config.gripper_effort,
            clock=lambda: self.clock.mono_ns,
        )  # fmt: skip
        self._arm.open()
        self._feed(everything=True)
        self._arm.pump()
        self.core = DriverCore(self._arm, config)

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_: object) -> None:
        self._arm.close()
        self._bus.shutdown()

    @property
    def measured(self) -> Float:
        """Where the arm is (6,) [rad]."""
        return self._sensed.position

    def push(self, offset: Float) -> None:
        """Someone moves the joints by `offset` (6,) [rad]; they stay inside their range."""
        lower, upper = np.array(self.firmware.flash.lower), np.array(self.firmware.flash.upper)
        place = np.clip(self._sensed.position + offset, lower, upper)
        for joint, angle in enumerate(place):
            self.firmware._smoother.restart(joint, float(angle))
            self.firmware._target[joint] = angle
        self.judge.allow_seed()

    def enable(self) -> None:
        """Power the motors; ticks go on while the call waits."""
        self.judge.expect("enable", 1)
        with self._injected_sleep():
            self.core.enable(True)
        self.judge.expect("enable", 0)

    @contextmanager
    def _injected_sleep(self) -> Iterator[None]:
        """`PiperArm.enable` polls; its sleeps are ticks here."""

        def sleep(seconds: float) -> None:
            for _ in range(max(1, round(seconds * 1e9 / self._period_ns))):
                self.step()

        time = SimpleNamespace(sleep=sleep, monotonic=lambda: self.clock.mono_ns / 1e9)
        with mock.patch.object(piper, "time", time):
            yield

    def step(self) -> TickResult:
        """One period of arm, bus and driver."""
        self.clock.mono_ns += self._period_ns
        self._ticks += 1
        self._move_arm()
        if self.frozen > 0:
            self.frozen -= 1
        else:
            self._feed(everything=self._ticks % _SLOW_EVERY == 0)
        self._arm.pump()
        result = self.core.tick(self.clock.mono_ns, self.clock.ros_ns)
        while not self._bus.queue.empty():
            message = self._bus.recv(0.0)
            self.judge.frame(message.arbitration_id, bytes(message.data))
            self.firmware.receive(message.arbitration_id, bytes(message.data))
        self.judge.stopped(self.core.stop_latched)
        if not all(motor.enabled for motor in self.firmware.motors):
            self.judge.allow_seed()
        self.judge.end_tick(self._sensed.position)
        self.moving += result.decision.may_move and not self.core.standing
        self.last = result
        return result

    def _move_arm(self) -> None:
        drive = self.firmware.tick(self.clock.mono_ns / 1e9, self._sensed)
        alive = np.array([servo is Servo.HOLD for servo in drive.servo])
        position = np.where(alive, drive.position, self._sensed.position)
        velocity = np.where(alive, drive.velocity, 0.0)
        opening = drive.opening if drive.gripper_on else self._sensed.opening
        self._sensed = Sensed(position, velocity, np.zeros(6), opening)
        self.firmware.sensed = self._sensed

    def _feed(self, everything: bool) -> None:
        """The arm's feedback; what the driver's rules do not look at each tick comes at the rate of the slow frames."""
        fast = self.firmware.fast()
        for index, can_id in enumerate(frames.FAST_IDS):
            if everything or can_id in _EACH_TICK:
                self._say(can_id, fast[8 * index : 8 * index + 8])
        if everything:
            slow = self.firmware.slow()
            for index, can_id in enumerate(frames.SLOW_IDS):
                self._say(can_id, slow[8 * index : 8 * index + 8])
        for can_id, data in self.firmware.replies():
            self._say(can_id, data)

    def _say(self, can_id: int, data: bytes) -> None:
        message: Any = can.Message(
            timestamp=self.clock.ros_ns / 1e9, arbitration_id=can_id, data=data, is_extended_id=False
        )
        self._bus.send(message)
