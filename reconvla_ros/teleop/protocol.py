"""What a device to steer with is to the rest of the package; every one passes test/shared/teleop_contract.py.

A device says what the person's hand does now. It knows nothing of the arm that follows: what becomes of a reading is
decided in session.py, and whether the arm does it in the driver.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, runtime_checkable

from reconvla_ros.errors import TeleopError
from reconvla_ros.types import N_JOINTS

_TWIST = 6


class Act(Enum):
    """What one press of a key or button asks for, besides motion."""

    ENGAGE = "engage or let go"
    HAND_OVER = "hand the arm back to the policy"
    STOP = "stop the arm"
    CLEAR_STOP = "clear the stop"
    RECORD = "start recording, or keep it as a success"
    FAILED = "keep the recording as a failure"
    DISCARD = "throw the recording away"
    SLOW = "slow"
    MEDIUM = "medium"
    FAST = "fast"
    QUIT = "quit"


@dataclass(frozen=True)
class Reading:
    """What the hand does now.

    Attributes:
        held: the dead-man is held; False means: no motion, whatever the rest says.
        twist: share of the speed (6,) in [-1, 1]: x y z, then turning about x y z.
        grip: share of the gripper's speed in [-1, 1], + opens.
        joints: of a leader arm, joint1..joint6 [rad] (6,); None for other devices.
        opening: of its gripper [m]; None for other devices.
        acts: pressed since the last reading.
        note: why there is no motion, for a person; empty when there is nothing to say.
    """

    held: bool = False
    twist: tuple[float, ...] = (0.0,) * _TWIST
    grip: float = 0.0
    joints: tuple[float, ...] | None = None
    opening: float | None = None
    acts: tuple[Act, ...] = ()
    note: str = ""


@runtime_checkable
class Device(Protocol):
    """A device; used by one thread.

    Attributes:
        name: for tags and messages, one word.
        toggles: it has no dead-man of its own (a leader arm), so motion is switched on and off by `Act.ENGAGE`.
    """

    name: str
    toggles: bool

    def open(self) -> None:
        """Find it and make sure that it is what it should be; sends nothing to any arm.

        Raises:
            TeleopError: names what is missing or wrong, and the remedy.
        """

    def read(self, now_ns: int) -> Reading:
        """What the hand does at monotonic `now_ns`; never waits.

        Raises:
            TeleopError: the device is gone or gives nonsense; it has to be opened again.
        """

    def close(self) -> None:
        """Give it back; safe to call twice."""


def checked(device: str, reading: Reading) -> Reading:
    """The reading, when every number in it may be used.

    Raises:
        TeleopError: a wrong length, a number that is not finite or outside its range.
    """
    if len(reading.twist) != _TWIST:
        raise TeleopError(f"{device}: twist: must have {_TWIST} entries, got {len(reading.twist)}")
    for name, values in (("twist", reading.twist), ("grip", (reading.grip,))):
        for i, value in enumerate(values):
            if not -1.0 <= value <= 1.0:
                raise TeleopError(f"{device}: {name}[{i}]: must be in -1..1, got {value}")
    if reading.joints is not None:
        if len(reading.joints) != N_JOINTS:
            raise TeleopError(f"{device}: joints: must have {N_JOINTS} entries, got {len(reading.joints)}")
        for i, value in enumerate(reading.joints):
            if not abs(value) <= math.pi:
                raise TeleopError(f"{device}: joint{i + 1}: must be in -pi..pi rad, got {value}")
    if reading.opening is not None and not math.isfinite(reading.opening):
        raise TeleopError(f"{device}: opening: must be finite, got {reading.opening}")
    return reading
