"""The bounds of motion: the hard table of the arm, which a configuration may tighten and never loosen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from reconvla_ros.errors import LimitError, ShapeError
from reconvla_ros.types import N_JOINTS, Float, frozen_array

# The ceiling of what a configuration may ask for at the TCP, ours: about what one joint at its firmware maximum does
# to the TCP of a half-stretched arm. The arm's own ceilings come with its `HardTable`.
MAX_TCP_SPEED = 1.0  # [m/s]
MAX_TCP_ANGULAR_SPEED = 3.0  # [rad/s]
MAX_REACH = 0.80  # [m] no workspace box may lie further out: 0.63 to the flange plus the tool
MAX_COMMAND_AGE = 1.0  # [s]


@dataclass(frozen=True)
class HardTable:
    """What the arm itself bounds, whatever a configuration says: joints (6,) [rad], [rad/s], [rad/s^2], [m], [N m]."""

    joint_lower: tuple[float, ...]
    joint_upper: tuple[float, ...]
    joint_speed: float
    joint_acceleration: float
    gripper_range: float
    gripper_effort: float


@dataclass(frozen=True, eq=False)
class Limits:
    """What the filter enforces. Built only when every bound is finite, ordered, of its exact length and no looser
    than the hard table; the defaults are those of a first motion.

    Attributes:
        hard: the table of the arm.
        joint_lower, joint_upper: (6,) [rad].
        joint_margin: inside both ends [rad]; outside it only inward motion and holding pass.
        joint_speed, joint_acceleration: per joint (6,) [rad/s], [rad/s^2].
        tcp_speed, tcp_angular_speed: [m/s], [rad/s].
        workspace_lower, workspace_upper: box for the TCP in base_link (3,) [m].
        table_z: height of the table in base_link [m]. table_clearance: least TCP height above it [m].
        gripper_range: largest opening [m]. gripper_effort: [N m].
        command_age: a single command older than this is refused [s].
        target_distance: a target further than this from the present TCP is refused [m].
        clamp_distance: a target at most this far outside the box is moved onto it, beyond it is refused [m].
    """

    hard: HardTable
    joint_lower: Float
    joint_upper: Float
    joint_speed: Float
    joint_acceleration: Float
    workspace_lower: Float
    workspace_upper: Float
    joint_margin: float = 0.1
    tcp_speed: float = 0.10
    tcp_angular_speed: float = 0.5
    table_z: float = 0.0
    table_clearance: float = 0.005
    gripper_range: float = 0.07
    gripper_effort: float = 1.0
    command_age: float = 0.3
    target_distance: float = 0.3
    clamp_distance: float = 0.05

    def __post_init__(self) -> None:
        for name, length in (
            ("joint_lower", N_JOINTS),
            ("joint_upper", N_JOINTS),
            ("joint_speed", N_JOINTS),
            ("joint_acceleration", N_JOINTS),
            ("workspace_lower", 3),
            ("workspace_upper", 3),
        ):
            try:
                object.__setattr__(self, name, frozen_array(f"limits.{name}", getattr(self, name), (length,)))
            except ShapeError as error:
                raise LimitError(str(error)) from error
        _ordered("joint", self.joint_lower, self.joint_upper)
        _ordered("workspace", self.workspace_lower, self.workspace_upper)
        lowest, highest = np.array(self.hard.joint_lower), np.array(self.hard.joint_upper)
        _within("joint_lower", self.joint_lower, lowest, highest)
        _within("joint_upper", self.joint_upper, lowest, highest)
        _between("joint_speed", self.joint_speed, self.hard.joint_speed, "rad/s")
        _between("joint_acceleration", self.joint_acceleration, self.hard.joint_acceleration, "rad/s^2")
        for name, value in (("workspace_lower", self.workspace_lower), ("workspace_upper", self.workspace_upper)):
            _within(name, value, np.full(3, -MAX_REACH), np.full(3, MAX_REACH))
        self._check_scalars()

    def _check_scalars(self) -> None:
        narrowest = float(np.min(self.joint_upper - self.joint_lower))
        for name, low, high, unit in (
            ("joint_margin", 0.0, narrowest / 2.0, "rad"),
            ("tcp_speed", 1e-4, MAX_TCP_SPEED, "m/s"),
            ("tcp_angular_speed", 1e-4, MAX_TCP_ANGULAR_SPEED, "rad/s"),
            ("table_z", -MAX_REACH, MAX_REACH, "m"),
            ("table_clearance", 0.0, MAX_REACH, "m"),
            ("gripper_range", 1e-4, self.hard.gripper_range, "m"),
            ("gripper_effort", 0.0, self.hard.gripper_effort, "N m"),
            ("command_age", 1e-3, MAX_COMMAND_AGE, "s"),
            ("target_distance", 1e-3, 2.0 * MAX_REACH, "m"),
            ("clamp_distance", 0.0, 0.1, "m"),
        ):
            value: Any = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise LimitError(f"limits.{name}: must be a finite number, got {value!r}")
            if not low <= value <= high:
                raise LimitError(f"limits.{name}: must be in {low:g}..{high:g} {unit}, got {value!r}")

    @property
    def floor(self) -> float:
        """Least TCP height in base_link [m]: the box or the table, whichever is higher."""
        return max(float(self.workspace_lower[2]), self.table_z + self.table_clearance)

    @property
    def soft_lower(self) -> Float:
        """joint_lower plus the margin (6,) [rad]."""
        return self.joint_lower + self.joint_margin

    @property
    def soft_upper(self) -> Float:
        """joint_upper minus the margin (6,) [rad]."""
        return self.joint_upper - self.joint_margin


def _ordered(name: str, lower: Float, upper: Float) -> None:
    for i, (low, high) in enumerate(zip(lower, upper, strict=True)):
        if not low < high:
            raise LimitError(f"limits.{name}[{i}]: lower must be below upper, got {low:g} and {high:g}")


def _within(name: str, value: Float, low: Float, high: Float) -> None:
    for i, v in enumerate(value):
        if not low[i] <= v <= high[i]:
            raise LimitError(f"limits.{name}[{i}]: hard table allows {low[i]:g}..{high[i]:g}, got {v:g}")


def _between(name: str, value: Float, high: float, unit: str) -> None:
    for i, v in enumerate(value):
        if not 0.0 < v <= high:
            raise LimitError(f"limits.{name}[{i}]: must be above 0 and at most {high:g} {unit}, got {v:g}")
