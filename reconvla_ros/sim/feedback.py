"""What the arm says in each cycle: its state words, and how state and sensor values become feedback frames.

Plain floats on purpose: in a process that wakes 200 times a second, small numpy arrays cost three times more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reconvla_ros.sim import frames
from reconvla_ros.sim.arm_io import Sensed
from reconvla_ros.sim.chain import Chain

# SDK effort = current x factor [N m/A]; what the arm reports is the current.
EFFORT_PER_AMPERE = (1.18125,) * 3 + (0.95844,) * 3


@dataclass
class Gripper:
    """The gripper motor: target and the moving set point [m] of the total opening, effort [N m]."""

    enabled: bool = False
    target: float = 0.0
    effort: float = 1.0
    command: float = 0.0


@dataclass
class Motor:
    """One joint motor; `due` is when a pending enable takes effect [s], `deaf` swallows the first one after a reset.

    `bits` are the foc error bits; `temperature` [C] and `voltage` [V] are what it reports.
    """

    enabled: bool = False
    due: float | None = None
    deaf: bool = False
    bits: int = 0
    temperature: int = 34
    voltage: float = 24.0


@dataclass
class Word:
    """The status word 0x2A1 and the mode that 0x151 set."""

    ctrl_mode: int = 0
    arm_status: int = 0
    move_mode: int = 0
    speed: int = 0
    limit_bits: int = 0
    comm_bits: int = 0
    moving: bool = False


def _thousandths(value: float) -> int:
    """In 0.001 units, held inside 16 bits."""
    return round(min(max(value, -32.0), 32.0) * 1000)


def fast(
    word: Word, sensed: Sensed, gripper_enabled: bool, has_gripper: bool, chain: Chain, scale: float = 1.0
) -> bytes:
    """The 14 frames of a 200 Hz cycle, in the order of `frames.FAST_IDS`, 8 bytes each.

    `scale` is what joints 1 to 3 report of their torque.
    """
    status = (word.ctrl_mode, word.arm_status, word.move_mode, 0, int(word.moving), 0, word.limit_bits, word.comm_bits)
    position = sensed.position.tolist()
    joints = [round(angle / frames.DEG) for angle in position]
    # The flange is reported for the joints as reported, rounding included, as encoders give them.
    place, turn = chain.flange([count * frames.DEG for count in joints])
    pose = [round(v / frames.MM) for v in place] + [round(v / frames.DEG) for v in turn]
    opening = round(sensed.opening / frames.MM) if has_gripper else 0
    gripper = (opening, _thousandths(sensed.gripper_effort), 0x80 | (0x40 if gripper_enabled else 0))
    motors: list[int] = []
    efforts = [value * (scale if j < 3 else 1.0) for j, value in enumerate(sensed.effort.tolist())]
    for speed, effort, factor, angle in zip(
        sensed.velocity.tolist(), efforts, EFFORT_PER_AMPERE, position, strict=True
    ):
        motors += (_thousandths(speed), _thousandths(effort / factor), round(angle * 1000))
    return frames.pack_fast(status, pose, joints, gripper, motors)


def slow(motors: Iterable[Motor]) -> bytes:
    """The six frames of a 40 Hz cycle, in the order of `frames.SLOW_IDS`, 8 bytes each."""
    values: list[int] = []
    for motor in motors:
        bits = motor.bits | (0x40 if motor.enabled else 0)
        values += (round(10 * motor.voltage), motor.temperature - 2, motor.temperature, bits, 0)  # 0.1 V, C, C, bits, A
    return frames.pack_slow(values)
