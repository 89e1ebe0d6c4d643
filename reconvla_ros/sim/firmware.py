"""A model of the PiPER's firmware: what the arm does with each CAN frame, and what it says. Pure; time is an argument.

Modelled after the AgileX documents and users' reports (no brakes, no watchdog, damped stop, power cut, two enables
after it). Where the real behaviour is unknown the choice made here is stated: a motor that has had no MIT frame since
the mode was chosen holds. MOVE J with following (0xAD), MOVE C and teaching are ignored and counted in `ignored`; leader
mode is in leader.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from reconvla_ros.sim import faults, feedback, frames, mit
from reconvla_ros.sim.arm_io import Drive, FirmwareOptions, Sensed, Servo
from reconvla_ros.sim.chain import Chain, matrix_from_rpy
from reconvla_ros.sim.feedback import Gripper, Motor, Word
from reconvla_ros.sim.flash import Flash, Reply, acknowledge
from reconvla_ros.sim.motion import JointSmoother, Line, line_fault, nearest

Float = NDArray[np.float64]

GRIPPER_SPEED = 0.2  # [m/s] of the total opening; a guess
LIMIT_SLACK = 2e-3  # [rad] flash keeps tenths of a degree, and the folded arm stands on its limits
MOVING_BAND = 0.01  # [rad] "reached" is reported inside it
_DEAF = (faults.E_STOPPED, faults.COLLIDED)  # the status in which no target is taken


@dataclass
class Firmware:
    """The state machine: frames go to `receive`, once a cycle `tick`, then `fast`, `slow` and `replies` are sent."""

    options: FirmwareOptions = field(default_factory=FirmwareOptions)
    ignored: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.flash = Flash(self.options.version, self.options.gripper_range)
        self.chain = Chain()
        self.motors = [Motor() for _ in range(6)]
        self.gripper = Gripper()
        self.word = Word()
        self.faults = faults.HEALTHY
        self.sensed = Sensed(np.zeros(6), np.zeros(6), np.zeros(6))
        self._smoother = JointSmoother(np.zeros(6))
        self._target: Float = np.zeros(6)
        self._line: Line | None = None
        self._pose: dict[int, bytes] = {}
        self._now: float | None = None
        self._replies: list[Reply] = []
        self._form = mit.form_of(self.options.version)
        self._mit: list[mit.MitTarget | None] = [None] * 6  # no watchdog: the last one stays in force

    # --- frames in ---------------------------------------------------------------------------------------------------
    def receive(self, can_id: int, data: bytes) -> None:
        """Take one frame from the bus; what is not understood is ignored (and counted), as the arm does."""
        handler = _HANDLERS.get(can_id)
        if handler is None:
            self._replies.extend(self.flash.answer(can_id, data))
        elif len(data) == 8:
            handler(self, can_id, data)
        else:
            self.ignored["short frame"] += 1

    def replies(self) -> list[Reply]:
        """Frames (id, data) to send once, oldest first; empties the queue."""
        waiting, self._replies = self._replies, []
        return waiting

    def _stop(self, _can_id: int, data: bytes) -> None:
        command = frames.counts(frames.STOP, data)
        if command["stop"] == 1:
            self.word.arm_status = 1
            self._line = None
        elif command["stop"] == 2:  # a power cut: everything limp, all flags cleared, the next enable is swallowed
            self.motors = [Motor(deaf=True) for _ in range(6)]
            self.gripper = Gripper()
            self.word = Word()
            self._line = None
            faults.strike(self.faults, faults.HEALTHY, self.word, self.motors)
        if command["teach"] or command["track"]:
            self.ignored["teaching"] += 1

    def _mode(self, _can_id: int, data: bytes) -> None:
        command = frames.counts(frames.MODE, data)
        ctrl, move = command["ctrl_mode"], command["move_mode"]
        if self.word.arm_status == 1 or self.faults.teach or ctrl not in (0, 1) or command["speed"] > 100:
            self.ignored["mode"] += 1
        elif move != self._form.code and (command["follow"] or move > 2):
            self.ignored["following or unknown mode"] += 1
        else:
            if (ctrl, move) != (self.word.ctrl_mode, self.word.move_mode):  # no stale target runs in a new mode
                self._line = None
                self._target = self._smoother.position.copy()
                self._pose.clear()
                self._mit = [None] * 6
            self.word.ctrl_mode, self.word.move_mode, self.word.speed = ctrl, move, command["speed"]

    def _enable(self, _can_id: int, data: bytes) -> None:
        command = frames.counts(frames.ENABLE, data)
        motor, code = command["motor"], command["code"]
        if code not in (1, 2) or not (1 <= motor <= 7 or motor == 0xFF):
            self.ignored["enable"] += 1
            return
        everything = motor in (7, 0xFF)
        for m in self.motors if everything else [self.motors[motor - 1]]:
            if code == 1:
                m.enabled, m.due = False, None
            elif m.deaf:
                m.deaf = False
            elif self.word.arm_status != 1 and not m.enabled and m.due is None:
                m.due = (self._now or 0.0) + self.options.enable_latency
        if everything and self.word.arm_status != 1:  # with 7 the gripper wakes too, and goes to its stored target
            self.gripper.enabled = code == 2 and self.flash.gripper_range > 0
            self.gripper.command = self.sensed.opening
        self._replies.append(acknowledge(frames.ENABLE))

    def _joint_target(self, can_id: int, data: bytes) -> None:
        if not self._obeys(1):
            return
        first = 2 * (can_id - frames.TARGET_12)
        for j, value in enumerate(frames.decode(can_id, data).values(), start=first):
            if self.flash.lower[j] - LIMIT_SLACK <= value <= self.flash.upper[j] + LIMIT_SLACK:
                self._target[j] = value
                self.word.limit_bits &= ~(1 << j)
            else:  # beyond the limit: the joint keeps its last target
                self.word.limit_bits |= 1 << j
        if not self.word.limit_bits or can_id == frames.TARGET_56:
            self.word.arm_status = 4 if self.word.limit_bits else 0

    def _obeys(self, *modes: int) -> bool:
        ok = self.word.ctrl_mode == 1 and self.word.move_mode in modes and self.word.arm_status not in _DEAF
        if not ok:
            self.ignored["target in another mode"] += 1
        return ok

    def _pose_target(self, can_id: int, data: bytes) -> None:
        if not self._obeys(0, 2):
            return
        self._pose[can_id] = bytes(data)
        if can_id != frames.TARGET_RYRZ or len(self._pose) < 3:
            return
        value = {k: v for i, raw in self._pose.items() for k, v in frames.decode(i, raw).items()}
        self._pose.clear()
        goal = np.eye(4)
        goal[:3, :3] = matrix_from_rpy(np.array([value["rx"], value["ry"], value["rz"]]))
        goal[:3, 3] = value["x"], value["y"], value["z"]
        self.word.arm_status = self._move_linear(goal) if self.word.move_mode == 2 else self._move_point(goal)

    def _move_point(self, goal: Float) -> int:
        """MOVE P: a joint target from the nearest solution. The status word: 0, 2 no solution, 4 beyond a limit."""
        solutions = self.chain.inverse(goal, self._smoother.position)
        target = nearest(solutions, self._smoother.position, *self._limits())
        if target is None:
            return 4 if solutions else 2
        self._line, self._target, self.word.limit_bits = None, target, 0
        return 0

    def _move_linear(self, goal: Float) -> int:
        """MOVE L: planned anew from where the flange is now, from rest. The status word: 0, 2, 3 singular, 4."""
        end, share = self.flash.end, self.word.speed / 100
        line = Line(
            self.chain.forward(self._smoother.position),
            goal,
            (end["linear_speed"] * share + 1e-6, end["linear_acceleration"]),
            (end["angular_speed"] * share + 1e-6, end["angular_acceleration"]),
        )
        fault = line_fault(self.chain, line, self._smoother.position, *self._limits())
        if fault == 0:
            self._line, self.word.limit_bits = line, 0
        return fault

    def _limits(self) -> tuple[Float, Float]:
        return np.array(self.flash.lower) - LIMIT_SLACK, np.array(self.flash.upper) + LIMIT_SLACK

    def _gripper_target(self, _can_id: int, data: bytes) -> None:
        command = frames.decode(frames.TARGET_GRIPPER, data)
        if self.word.arm_status == 1 or self.flash.gripper_range == 0:
            self.ignored["gripper"] += 1
            return
        if command["zero"] == 0xAE:
            self.ignored["gripper zero"] += 1
            return
        enabled = bool(int(command["code"]) & 1)
        if enabled and not self.gripper.enabled:
            self.gripper.command = self.sensed.opening
        self.gripper.enabled = enabled
        self.gripper.target = min(max(command["opening"], 0.0), self.flash.gripper_range / 1000)
        self.gripper.effort = min(command["effort"], 5.0)

    def _mit_target(self, can_id: int, data: bytes) -> None:
        if self._obeys(self._form.code):
            joint = can_id - frames.MIT[0]
            try:
                self._mit[joint] = self._form.read(joint + 1, data)
            except ValueError:
                self.ignored["MIT check"] += 1

    def _not_modelled(self, can_id: int, _data: bytes) -> None:
        self.ignored[frames.LAYOUTS[can_id].name] += 1

    def suffer(self, new: faults.Faults) -> None:
        """From now on have these faults, and no other."""
        if new is not self.faults:
            hold = faults.strike(new, self.faults, self.word, self.motors)
            self.faults = new
            if hold:
                self._line, self._mit = None, [None] * 6
                for j, angle in enumerate(self.sensed.position.tolist()):
                    self._smoother.restart(j, angle)
                    self._target[j] = angle

    # --- one cycle ---------------------------------------------------------------------------------------------------
    def tick(self, now: float, sensed: Sensed) -> Drive:
        """Advance to `now` [s, monotonic] with fresh sensor values; time never advances more than 20 ms in one tick."""
        dt = min(max(now - self._now, 0.0), 0.02) if self._now is not None else 0.0
        self._now, self.sensed = now, sensed
        faults.powerless(self.faults, self.motors)
        here = sensed.position.tolist()
        for j, motor in enumerate(self.motors):
            if motor.due is not None and now >= motor.due:
                motor.enabled, motor.due = True, None
                self._mit[j] = None
            if (
                not motor.enabled or self.word.arm_status == 1 or self._mit[j] is not None
            ):  # follow the joint, so that enabling does not jump
                self._smoother.restart(j, here[j])
                self._target[j] = here[j]
        if self.word.arm_status != 1:
            self._move(dt)
        self._move_gripper(dt)
        self.word.moving = any(abs(v) > 1e-3 for v in self._smoother.velocity.tolist()) or any(
            abs(a - b) > MOVING_BAND for a, b in zip(self._target.tolist(), here, strict=True)
        )
        grip = self.gripper
        return Drive(
            [self._servo(motor, target) for motor, target in zip(self.motors, self._mit, strict=True)],
            self._smoother.position,
            self._smoother.velocity,
            grip.enabled and self.word.arm_status != 1,
            grip.command,
            grip.effort,
            list(self._mit),
        )

    def _servo(self, motor: Motor, target: mit.MitTarget | None) -> Servo:
        if not motor.enabled or self.word.arm_status == faults.E_STOPPED:
            return Servo.DAMPED if motor.enabled else Servo.OFF
        return Servo.HOLD if target is None else Servo.TORQUE

    def _move(self, dt: float) -> None:
        if self._line is not None and dt > 0:
            goal = self._line.advance(dt)
            q = nearest(self.chain.inverse(goal, self._smoother.position), self._smoother.position, *self._limits())
            if q is None or not all(m.enabled for m in self.motors):
                self._line = None
                return
            self._smoother.velocity = (q - self._smoother.position) / dt
            self._smoother.position, self._target = q, q.copy()
            if self._line.done:
                self._line = None
            return
        limit = [speed * self.word.speed / 100 for speed in self.flash.speed]
        self._smoother.step(self._target, limit, self.flash.acceleration, dt)

    def _move_gripper(self, dt: float) -> None:
        grip = self.gripper
        if not grip.enabled:
            grip.command = self.sensed.opening
        change = grip.target - grip.command if grip.enabled else 0.0
        grip.command += min(max(change, -GRIPPER_SPEED * dt), GRIPPER_SPEED * dt)

    # --- frames out --------------------------------------------------------------------------------------------------
    def fast(self) -> bytes:
        """The 14 frames of a 200 Hz cycle, in the order of `frames.FAST_IDS`, 8 bytes each."""
        on, fitted, scale = self.gripper.enabled, self.flash.gripper_range > 0, self._form.effort_scale
        return feedback.fast(self.word, self.sensed, on, fitted, self.chain, scale)

    def slow(self) -> bytes:
        """The six frames of a 40 Hz cycle, in the order of `frames.SLOW_IDS`, 8 bytes each."""
        return feedback.slow(self.motors)


_HANDLERS: dict[int, Callable[[Firmware, int, bytes], None]] = {
    frames.STOP: Firmware._stop,
    frames.MODE: Firmware._mode,
    frames.ENABLE: Firmware._enable,
    frames.TARGET_GRIPPER: Firmware._gripper_target,
    frames.ARC_POINT: Firmware._not_modelled,
    frames.LEADER_HOME: Firmware._not_modelled,
    frames.LINKAGE: Firmware._not_modelled,
    **dict.fromkeys((frames.TARGET_12, frames.TARGET_34, frames.TARGET_56), Firmware._joint_target),
    **dict.fromkeys((frames.TARGET_XY, frames.TARGET_ZRX, frames.TARGET_RYRZ), Firmware._pose_target),
    **dict.fromkeys(frames.MIT, Firmware._mit_target),
}
