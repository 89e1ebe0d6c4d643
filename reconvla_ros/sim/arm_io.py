"""What passes between the firmware and the physics of the simulated arm, and how one arm differs from the next."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from reconvla_ros.errors import ConfigError
from reconvla_ros.sim.mit import MitTarget

Float = NDArray[np.float64]

OLDEST_VERSION = "S-V1.6-3"  # older firmware has other zeros of J2 and J3 than the simulated arm


class Servo(IntEnum):
    """What a motor is told to do: no current, damping only, hold a target, or the torque of a MIT frame."""

    OFF = 0
    DAMPED = 1
    HOLD = 2
    TORQUE = 3


@dataclass
class Sensed:
    """What the sensors say: joints (6,) [rad], [rad/s], [N m]; gripper total opening [m] and effort [N m]."""

    position: Float
    velocity: Float
    effort: Float
    opening: float = 0.0
    gripper_effort: float = 0.0


@dataclass
class Drive:
    """What the motors are told: `servo` per joint, targets (6,) [rad], [rad/s]; gripper opening [m], effort [N m].

    `mit` holds, for each joint whose servo is TORQUE, what its last MIT frame said.
    """

    servo: list[Servo]
    position: Float
    velocity: Float
    gripper_on: bool
    opening: float
    gripper_effort: float
    mit: list[MitTarget | None] = field(default_factory=lambda: [None] * 6)


@dataclass(frozen=True)
class FirmwareOptions:
    """How this arm differs from the next: version, gripper range [mm] (0 = unset), enable latency per motor [s], leader."""

    version: str = "S-V1.8-5"
    gripper_range: int = 70
    enable_latency: float = 0.015
    leader: bool = False

    def __post_init__(self) -> None:
        if self.gripper_range not in (0, 70, 100):
            raise ConfigError(f"gripper_range: must be 0 (unset), 70 or 100 mm, got {self.gripper_range}")
        if len(self.version) != 8 or not self.version.startswith("S-V") or self.version < OLDEST_VERSION:
            raise ConfigError(f"version: must look like 'S-V1.8-5' and be >= {OLDEST_VERSION}, got {self.version!r}")
