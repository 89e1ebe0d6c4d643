"""The simulated PiPER without a bus: firmware model and physics behind the driver's `Arm`, on a clock that only `cycle` moves.

For many episodes faster than real time. What the driver says reaches the same firmware model in the same frames as on the
bus; what the sensors read comes back rounded as the frames round it, without piper_sdk in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from reconvla_ros.arm.protocol import ArmReport, ArmSetup
from reconvla_ros.errors import ArmError
from reconvla_ros.sim import frames
from reconvla_ros.sim.arm_io import FirmwareOptions
from reconvla_ros.sim.firmware import Firmware
from reconvla_ros.sim.scenes import Scene
from reconvla_ros.sim.world import World
from reconvla_ros.types import N_JOINTS, ArmState, JointCommand, Pose

EPOCH_NS = 1_700_000_000_000_000_000  # ROS time of the first instant
PERIOD_NS = 5_000_000  # one cycle of the arm
STEPS = 2  # time steps of the world in a cycle
_QUANTUM = math.radians(1e-3)  # [rad] one count of a joint
_MODE_EVERY, _GRIPPER_EVERY = 200_000_000, 100_000_000  # [ns] as PiperArm repeats them


class DirectArm:
    """An `Arm` on a scene of its own.

    Args:
        scene: what is on the table. options: of the firmware.
        speed_percent: MOVE J speed of 0x151. gripper_effort: [N m].

    Attributes:
        world, firmware: the simulated ones. now_ns: monotonic time, as `cycle` has moved it [ns].
    """

    def __init__(
        self, scene: Scene, speed_percent: int = 50, gripper_effort: float = 1.0, options: FirmwareOptions | None = None
    ) -> None:
        self.world, self.firmware = World(scene), Firmware(options or FirmwareOptions())
        self.now_ns = PERIOD_NS
        self._speed, self._effort = speed_percent, gripper_effort
        self._sensed = self.world.sensed()
        self._last: JointCommand | None = None
        self._gripper: float | None = None
        self._mode_ns = self._gripper_ns = -_MODE_EVERY
        self._sent = 0
        self.after_cycle: Callable[[], None] = lambda: None

    @property
    def ros_ns(self) -> int:
        """ROS time of the newest sample [ns]."""
        return EPOCH_NS + self.now_ns

    def cycle(self) -> None:
        """Advance arm and world by 5 ms."""
        self.now_ns += PERIOD_NS
        self.world.step(self.firmware.tick(self.world.time, self._sensed), STEPS)
        self._sensed = self.firmware.sensed = self.world.sensed()
        self.firmware.replies()
        self.after_cycle()

    def open(self) -> None:
        """See `Arm.open`: it is always there."""

    def close(self) -> None:
        """See `Arm.close`."""

    def state(self) -> ArmState:
        """See `Arm.state`: as the frames round it."""
        s = self._sensed
        return ArmState(
            stamp_ns=self.ros_ns,
            position=np.round(s.position / _QUANTUM) * _QUANTUM,
            velocity=np.round(s.velocity, 3),
            effort=np.round(s.effort, 3),
            gripper=round(s.opening, 6),
            gripper_effort=round(s.gripper_effort, 3),
            enabled=tuple(motor.enabled for motor in self.firmware.motors),
        )

    def report(self) -> ArmReport:
        """See `Arm.report`."""
        place, turn = self.firmware.chain.flange(self.state().position.tolist())
        flange = Pose(np.array(place), Rotation.from_euler("xyz", turn).as_quat())
        return replace(self._report(), flange=flange)

    def _report(self) -> ArmReport:
        word, motors = self.firmware.word, self.firmware.motors
        return ArmReport(
            ctrl_mode=word.ctrl_mode,
            arm_status=word.arm_status,
            move_mode=word.move_mode,
            motion_status=int(word.moving),
            limit_bits=word.limit_bits,
            gripper_enabled=self.firmware.gripper.enabled,
            gripper_bits=0x80 | (0x40 if self.firmware.gripper.enabled else 0),
            motor_bits=tuple(motor.bits | (0x40 if motor.enabled else 0) for motor in motors),
            firmware=self.firmware.options.version,
            status_stamp_ns=self.ros_ns,
            joint_stamp_ns=self.ros_ns,
            status_age=0.0,
            joint_age=0.0,
            frames_sent=self._sent,
            voltages=tuple(motor.voltage for motor in motors),
            driver_temperatures=tuple(float(motor.temperature - 2) for motor in motors),
            motor_temperatures=tuple(float(motor.temperature) for motor in motors),
        )

    def read(self) -> tuple[ArmReport, ArmState]:
        """See `Arm.read`."""
        return self._report(), self.state()

    def inspect(self) -> ArmSetup:
        """See `Arm.inspect`."""
        flash, report = self.firmware.flash, self._report()
        return ArmSetup(
            firmware=report.firmware,
            joint_limits=tuple(zip(flash.lower, flash.upper, strict=True)),
            gripper_range=flash.gripper_range / 1000,
            collision_levels=(0,) * N_JOINTS,
            voltages=report.voltages,
            driver_temperatures=report.driver_temperatures,
            motor_temperatures=report.motor_temperatures,
            commanders=(),
        )

    def enable(self, timeout: float = 5.0) -> JointCommand | None:
        """See `Arm.enable`; the cycles that it takes pass meanwhile."""
        until = self.now_ns + round(timeout * 1e9)
        for motor in range(1, N_JOINTS + 1):
            self._say(frames.ENABLE, motor=motor, code=2)
        while not all(motor.enabled for motor in self.firmware.motors):
            if self.now_ns > until:
                raise ArmError(f"motors did not take power within {timeout:g} s")
            self.cycle()
        state = self.state()
        seed = JointCommand(
            np.clip(state.position, self.firmware.flash.lower, self.firmware.flash.upper), state.gripper
        )
        self._mode_ns = -_MODE_EVERY
        self.send(seed)
        return seed

    def _say(self, can_id: int, **values: float) -> None:
        self._sent += 1
        self.firmware.receive(can_id, frames.encode(can_id, values))

    def send(self, command: JointCommand) -> None:
        """See `Arm.send`."""
        if self.now_ns - self._mode_ns >= _MODE_EVERY:
            self._mode_ns = self.now_ns
            self._say(frames.MODE, ctrl_mode=1, move_mode=1, speed=self._speed)
        q = command.position.tolist()
        for i in range(3):
            first = 2 * i
            self._say(frames.TARGET_12 + i, **{f"joint{first + 1}": q[first], f"joint{first + 2}": q[first + 1]})
        opening = command.gripper
        if opening is not None and (opening != self._gripper or self.now_ns - self._gripper_ns >= _GRIPPER_EVERY):
            self._gripper, self._gripper_ns = opening, self.now_ns
            self._say(frames.TARGET_GRIPPER, opening=opening, effort=self._effort, code=1)
        self._last = command

    def hold(self) -> None:
        """See `Arm.hold`."""
        if self._last is not None:
            self.send(self._last)

    def damped_stop(self) -> None:
        """See `Arm.damped_stop`."""
        self._last = None
        self._say(frames.STOP, stop=1)

    def power_cycle(self) -> None:
        """See `Arm.power_cycle`."""
        self._last = None
        self._say(frames.STOP, stop=2)

    def disable(self) -> None:
        """See `Arm.disable`."""
        self._last = None
        for motor in range(1, N_JOINTS + 1):
            self._say(frames.ENABLE, motor=motor, code=1)
