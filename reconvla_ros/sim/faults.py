"""Faults that the simulated arm can be given while it runs, and what each does to its firmware. Pure.

Two ways to set them, both at run time and both taken back by setting `Faults()`:
- in the same process: `SimulatedArm.faults = Faults(frozen=True)`, from any thread;
- from another process: `fault_channel.inject(bus, Faults(frozen=True))` (a UNIX datagram socket, never CAN).
What passes over the bus is spoilt in `faulty_bus.py`; what the arm itself suffers is done here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from reconvla_ros.errors import ConfigError, choices
from reconvla_ros.sim.feedback import Motor, Word

ZERO = ("", "joints", "all")
# foc bits, byte 5 of 0x261..0x266
HOT, OVER_CURRENT, DRIVER_HOT, COLLISION, DRIVER_ERROR, STALL = 1, 2, 3, 4, 5, 7
E_STOPPED, COLLIDED = 1, 7  # arm_status
_STANDBY, _CAN, _TEACH = 0, 1, 2  # ctrl_mode


@dataclass(frozen=True)
class Faults:
    """What is wrong with the arm now; the defaults are a healthy one. Joints are numbered 1..6, 0 = none.

    Attributes:
        bus_dead: neither sends nor receives; the arm goes on holding its last target.
        frozen: frames go on at their rates with the values of the instant.
        zero: "joints" (0x2A5..0x2A7 read zero) or "all" (every feedback frame is zero).
        joint_comm: 0x2A1 byte 7 says that this joint is lost.
        motor_hot, over_current, driver_hot, driver_error, stall: error bit of this motor; it goes on obeying.
        collision: at this joint: status 7 and its foc bit 4; the arm holds where it is and obeys nobody.
        e_stop: status 1: motors damp, the arm sinks. Taken back, it holds where it has sunk to, without the power cycle
            that a real one needs, so that a bench can go on.
        teach: ctrl_mode 2, the arm holds and obeys nobody; taken back, it is in standby.
        powerless: this motor loses power and cannot get it back: its joint falls. Taken back, it can be enabled again.
        temperature: of every motor [C], voltage: at every motor [V]; 0 = the usual value.
        loss: share of frames that get lost, in both directions.
        latency: how much later every frame arrives, in both directions [s].
    """

    bus_dead: bool = False
    frozen: bool = False
    zero: str = ""
    joint_comm: int = 0
    motor_hot: int = 0
    over_current: int = 0
    driver_hot: int = 0
    driver_error: int = 0
    stall: int = 0
    collision: int = 0
    e_stop: bool = False
    teach: bool = False
    powerless: int = 0
    temperature: float = 0.0
    voltage: float = 0.0
    loss: float = 0.0
    latency: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value, default = getattr(self, field.name), field.default
            kind: Any = (int, float) if isinstance(default, float) else type(default)
            if not isinstance(value, kind) or (isinstance(value, bool) and not isinstance(default, bool)):
                raise ConfigError(f"fault {field.name}: must be {type(default).__name__}, got {value!r}")
            if type(default) is int and not 0 <= value <= 6:
                raise ConfigError(f"fault {field.name}: must be a joint 1..6 or 0 (none), got {value}")
        if self.zero not in ZERO:
            raise ConfigError(f"fault zero: {choices(self.zero, ZERO)}")
        bounds = {"loss": 1.0, "latency": 2.0, "temperature": 127.0, "voltage": 60.0}
        for name, most in bounds.items():
            if not (math.isfinite(getattr(self, name)) and 0.0 <= getattr(self, name) <= most):
                raise ConfigError(f"fault {name}: must be in 0..{most:g}, got {getattr(self, name)}")

    def bits(self) -> tuple[int, ...]:
        """The foc bits that each motor shows for these faults (6,)."""
        marked = ((self.motor_hot, HOT), (self.over_current, OVER_CURRENT), (self.driver_hot, DRIVER_HOT),
                  (self.collision, COLLISION), (self.driver_error, DRIVER_ERROR), (self.stall, STALL))  # fmt: skip
        return tuple(sum(1 << bit for joint, bit in marked if joint == j) for j in range(1, 7))

    def to_json(self) -> str:
        """What differs from a healthy arm."""
        return json.dumps({k: v for k, v in asdict(self).items() if v != getattr(HEALTHY, k)})


def from_json(text: str) -> Faults:
    """Reverse of `Faults.to_json`; fields left out are healthy, so "{}" takes every fault back.

    Raises:
        ConfigError: no object, an unknown field, or a value that its field cannot hold.
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"faults: not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"faults: must be an object, got {type(values).__name__}")
    known = [field.name for field in fields(Faults)]
    for name in values:
        if name not in known:
            raise ConfigError(f"fault {choices(name, known)}")
    return Faults(**values)


def strike(new: Faults, old: Faults, word: Word, motors: Sequence[Motor]) -> bool:
    """Change the words and motors of a firmware from `old` faults to `new`; True when it must hold where it is now."""
    was_stopped, stopped = old.e_stop or old.collision > 0, new.e_stop or new.collision > 0
    if stopped:
        word.arm_status = E_STOPPED if new.e_stop else COLLIDED
    elif was_stopped:
        word.arm_status = 0
    if new.teach:
        word.ctrl_mode = _TEACH
    elif old.teach:
        word.ctrl_mode = _STANDBY
    word.comm_bits = 1 << new.joint_comm - 1 if new.joint_comm else 0
    for motor, bits in zip(motors, new.bits(), strict=True):
        motor.bits = bits
        motor.temperature = round(new.temperature) or Motor.temperature
        motor.voltage = round(new.voltage, 1) or Motor.voltage
    return (stopped and not was_stopped) or (new.teach and not old.teach)


def powerless(faults: Faults, motors: Sequence[Motor]) -> None:
    """Take the power of the motor that has lost it, again in every cycle: it cannot be enabled."""
    if faults.powerless:
        motor = motors[faults.powerless - 1]
        motor.enabled, motor.due = False, None


HEALTHY = Faults()
