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
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import can
import numpy as np

from reconvla_ros.arm import gate, piper, piper_inspect
from reconvla_ros.arm.bus import BusAddress
from reconvla_ros.arm.control import DriverCore
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.arm.tick import TickResult
from reconvla_ros.bench.judge import Judge
from reconvla_ros.bench.judge_bounds import Bounds
from reconvla_ros.errors import BusError
from reconvla_ros.safety.supervisor import State
from reconvla_ros.sim import frames
from reconvla_ros.sim.arm_io import Sensed, Servo
from reconvla_ros.sim.faults import HEALTHY, Faults
from reconvla_ros.sim.firmware import Firmware
from reconvla_ros.types import Float

_EPOCH_NS = 1_700_000_000_000_000_000
_SLOW_EVERY = 5  # ticks between the frames 0x261..0x266 and the pose, as on the arm
_JOINT_IDS = (frames.JOINT_12, frames.JOINT_34, frames.JOINT_56)
_EACH_TICK = (frames.STATUS, frames.JOINT_12, frames.JOINT_34, frames.JOINT_56, frames.GRIPPER)
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
        config.speed_percent, 1.0 / config.rate,
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
        self.silent = self.stuck = self.zero = self.blocked = self.ill = 0  # ticks that each fault lasts yet
        self.last: TickResult | None = None
        self.moving = 0
        self._pushes: list[Float] = []
        self._said: dict[int, bytes] = {}
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
        self._core: DriverCore | None = None
        with self._injected_sleep():
            self._core = DriverCore(self._arm, config)

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_: object) -> None:
        self._arm.close()
        self._bus.shutdown()

    @property
    def core(self) -> DriverCore:
        """The driver."""
        assert self._core is not None
        return self._core

    @property
    def measured(self) -> Float:
        """Where the arm is (6,) [rad]."""
        return self._sensed.position

    def push(self, offset: Float, ticks: int = 1) -> None:
        """Someone moves the joints by `offset` (6,) [rad] in so many ticks; they stay inside their range.

        Nobody does while the feedback is stuck: an arm that held still when it froze says nothing that would tell a driver.
        """
        if not self.stuck:
            self._pushes = [offset / ticks] * ticks

    def fall_ill(self, faults: Faults, ticks: int) -> None:
        """The arm has these faults for so many ticks."""
        self.firmware.suffer(faults)
        self.ill = ticks

    def lose_power(self) -> None:
        """All motors at once, and the driver did not ask for it."""
        for motor in self.firmware.motors:
            motor.enabled, motor.due = False, None

    def enable(self) -> None:
        """Power the motors; ticks go on while the call waits."""
        self.judge.expect("enable", 1)
        with self._injected_sleep():
            self.core.enable(True)
        self.judge.expect("enable", 0)

    @contextmanager
    def _injected_sleep(self) -> Iterator[None]:
        """`PiperArm.enable` and the preflight poll; their sleeps are ticks here."""

        def sleep(seconds: float) -> None:
            for _ in range(max(1, round(seconds * 1e9 / self._period_ns))):
                if self._core is None:
                    self._arm_side()
                    self._deliver()
                else:
                    self.step()

        time = SimpleNamespace(sleep=sleep, monotonic=lambda: self.clock.mono_ns / 1e9)
        with ExitStack() as stack:
            for module in (piper, piper_inspect, gate):
                stack.enter_context(mock.patch.object(module, "time", time))
            yield

    def step(self) -> TickResult:
        """One period of arm, bus and driver."""
        self._arm_side()
        result = self.core.tick(self.clock.mono_ns, self.clock.ros_ns)
        self.judge.power([motor.enabled for motor in self.firmware.motors])
        self._deliver()
        state = result.decision.state
        still = self.core.stop_latched or state is State.FAULT
        self.judge.stopped(still, state in (State.DISABLED, State.DISCONNECTED))
        self.judge.end_tick(self._sensed.position)
        self.moving += result.decision.may_move and not self.core.standing
        self.last = result
        return result

    def _deliver(self) -> None:
        """What the host has said reaches judge and arm."""
        while not self._bus.queue.empty():
            message = self._bus.recv(0.0)
            assert message is not None
            self.judge.frame(message.arbitration_id, bytes(message.data))
            self.firmware.receive(message.arbitration_id, bytes(message.data))

    def _arm_side(self) -> None:
        self.clock.mono_ns += self._period_ns
        self._ticks += 1
        self._move_arm()
        if self.ill == 1:
            self.firmware.suffer(HEALTHY)
        if not self.silent:
            self._feed(everything=self._ticks % _SLOW_EVERY == 0)
        for name in ("silent", "stuck", "zero", "blocked", "ill"):
            setattr(self, name, max(0, getattr(self, name) - 1))
        self._arm.pump()

    def _move_arm(self) -> None:
        drive = self.firmware.tick(self.clock.mono_ns / 1e9, self._sensed)
        alive = np.array([servo is Servo.HOLD for servo in drive.servo])
        position = np.where(alive, drive.position, self._sensed.position)
        velocity = np.where(alive, drive.velocity, 0.0)
        if self.blocked or self._pushes:
            lower, upper = self.firmware.flash.lower, self.firmware.flash.upper
            position = np.clip(self._sensed.position + (self._pushes.pop() if self._pushes else 0.0), lower, upper)
            velocity = (position - self._sensed.position) / (self._period_ns / 1e9)
            for joint, angle in enumerate(position.tolist()):
                self.firmware._smoother.restart(joint, angle)
        opening = drive.opening if drive.gripper_on else self._sensed.opening
        self._sensed = Sensed(position, velocity, np.zeros(6), opening)
        self.firmware.sensed = self._sensed

    def _feed(self, everything: bool) -> None:
        """The arm's feedback; what the driver's rules do not look at each tick comes at the rate of the slow frames."""
        fast = self.firmware.fast()
        for index, can_id in enumerate(frames.FAST_IDS):
            if everything or self._pushes or can_id in _EACH_TICK:
                self._say(can_id, fast[8 * index : 8 * index + 8])
        if everything:
            slow = self.firmware.slow()
            for index, can_id in enumerate(frames.SLOW_IDS):
                self._say(can_id, slow[8 * index : 8 * index + 8])
        for can_id, data in self.firmware.replies():
            self._say(can_id, data)

    def _say(self, can_id: int, data: bytes) -> None:
        if self.zero and can_id in _JOINT_IDS:
            data = bytes(8)
        elif self.stuck:
            data = self._said.get(can_id, data)
        self._said[can_id] = data
        message: Any = can.Message(
            timestamp=self.clock.ros_ns / 1e9, arbitration_id=can_id, data=data, is_extended_id=False
        )
        self._bus.send(message)
