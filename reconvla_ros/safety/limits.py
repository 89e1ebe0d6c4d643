"""The bounds of motion: the hard table of the arm, which a configuration may tighten and never loosen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from reconvla_ros.errors import LimitError, ShapeError, choices
from reconvla_ros.safety.body import Body, boxes_of
from reconvla_ros.tables import TCP_OFFSET
from reconvla_ros.types import N_JOINTS, Float, frozen_array

# The ceiling of what a configuration may ask for at the TCP, ours: about what one joint at its firmware maximum does
# to the TCP of a half-stretched arm. The arm's own ceilings come with its `HardTable`.
MAX_TCP_SPEED = 1.0  # [m/s]
MAX_TCP_ANGULAR_SPEED = 3.0  # [rad/s]
MAX_REACH = 0.80  # [m] no workspace box may lie further out: 0.63 to the flange plus the tool
MAX_COMMAND_AGE = 1.0  # [s]
MAX_BOX = 2.0  # [m] a keep-out box beyond it is a mistake of units
MAX_MARGIN = 0.2  # [m] a wider distance to boxes leaves the arm no room
MAX_JOINT_STEP = 0.15  # [rad] one tick at the firmware's 3 rad/s and the slowest loop, 20 Hz
MAX_TCP_STEP = 0.05  # [m] one tick at MAX_TCP_SPEED and 20 Hz
MAX_EFFORT = (32.0, 32.0, 32.0, 10.0, 10.0, 10.0)  # [N m] what the motors give at most (piper_control 1.5.0)


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
        stop_acceleration: of a joint that gets slower (6,) [rad/s^2], at least joint_acceleration.
        tcp_speed, tcp_angular_speed: [m/s], [rad/s].
        workspace_lower, workspace_upper: box for the TCP in base_link (3,) [m].
        table_z: height of the table in base_link [m]. table_clearance: least TCP height above it [m].
        table_margin: least distance of every moving part of arm and gripper from the table [m].
        keep_out: boxes that no part may enter, flat: x y z of the low corner, x y z of the high corner in base_link [m], ...
        keep_out_margin: least distance from them [m]. self_margin: least distance between two parts that could touch [m].
        tool_axis: where the tool's z axis may point at most tool_cone away from, in base_link (3,), unit; tool_cone [rad],
            pi = anywhere.
        target_joint_step: a Cartesian target that turns a joint further than this is refused [rad].
        joint_step, tcp_step: largest step of one tick [rad], [m], whatever its dt.
        singularity_slow, singularity_stop: distance (see rules_place.py) below which Cartesian motion gets slower, and below
            which it may only lead away.
        external_effort: per joint (6,) [N m]; pushing on against more than this is refused.
        gripper_range: largest opening [m]. gripper_effort: [N m].
        command_age: a single command older than this is refused [s].
        target_distance: a target further than this from the present TCP is refused [m].
        clamp_distance: a target at most this far outside the box is moved onto it, beyond it is refused [m].
        variant: `dh_is_offset`, by firmware. tcp_offset: from tool0 to tcp (3,) [m].
    """

    hard: HardTable
    joint_lower: Float
    joint_upper: Float
    joint_speed: Float
    joint_acceleration: Float
    stop_acceleration: Float
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
    table_margin: float = 0.0
    keep_out: tuple[float, ...] = ()
    keep_out_margin: float = 0.01
    self_margin: float = 0.0
    tool_axis: Float | tuple[float, ...] = (0.0, 0.0, -1.0)
    tool_cone: float = math.pi
    target_joint_step: float = 1.5
    joint_step: float = 0.03
    tcp_step: float = 0.006
    singularity_slow: float = 0.15
    singularity_stop: float = 0.05
    external_effort: Float | tuple[float, ...] = (15.0, 15.0, 10.0, 6.0, 6.0, 6.0)
    variant: int = 1
    tcp_offset: tuple[float, ...] = TCP_OFFSET

    def __post_init__(self) -> None:
        for name, length in (
            ("joint_lower", N_JOINTS),
            ("joint_upper", N_JOINTS),
            ("joint_speed", N_JOINTS),
            ("joint_acceleration", N_JOINTS),
            ("stop_acceleration", N_JOINTS),
            ("workspace_lower", 3),
            ("workspace_upper", 3),
            ("tool_axis", 3),
            ("external_effort", N_JOINTS),
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
        _between("stop_acceleration", self.stop_acceleration, self.hard.joint_acceleration, "rad/s^2")
        if np.any(self.stop_acceleration < self.joint_acceleration):
            raise LimitError(
                f"limits.stop_acceleration: must be at least joint_acceleration, got {self.stop_acceleration.tolist()} "
                f"and {self.joint_acceleration.tolist()}"
            )
        for name, value in (("workspace_lower", self.workspace_lower), ("workspace_upper", self.workspace_upper)):
            _within(name, value, np.full(3, -MAX_REACH), np.full(3, MAX_REACH))
        _within("external_effort", np.asarray(self.external_effort), np.full(N_JOINTS, 0.1), np.array(MAX_EFFORT))
        self._check_scalars()
        self._check_geometry()

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
            ("table_margin", 0.0, MAX_MARGIN, "m"),
            ("keep_out_margin", 0.0, MAX_MARGIN, "m"),
            ("self_margin", 0.0, MAX_MARGIN, "m"),
            ("tool_cone", 0.01, math.pi, "rad"),
            ("target_joint_step", 0.01, math.pi, "rad"),
            ("joint_step", 1e-4, MAX_JOINT_STEP, "rad"),
            ("tcp_step", 1e-5, MAX_TCP_STEP, "m"),
            ("singularity_stop", 0.0, 0.5, ""),
            ("singularity_slow", self.singularity_stop, 1.0, ""),
        ):
            value: Any = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise LimitError(f"limits.{name}: must be a finite number, got {value!r}")
            if not low <= value <= high:
                raise LimitError(f"limits.{name}: must be in {low:g}..{high:g} {unit}, got {value!r}")

    def _check_geometry(self) -> None:
        norm = float(np.linalg.norm(self.tool_axis))
        if abs(norm - 1.0) > 1e-3:
            raise LimitError(f"limits.tool_axis: must have length 1, got {norm:.4g}")
        if self.variant not in (0, 1):
            raise LimitError(f"limits.variant: {choices(self.variant, (0, 1))}")
        for number, box in enumerate(boxes_of(self._flat("keep_out")), start=1):
            if not np.all(box[0] < box[1]):
                raise LimitError(
                    f"limits.keep_out: box {number}: low corner {box[0].tolist()} must be below high {box[1].tolist()}"
                )
            if float(np.abs(box).max()) > MAX_BOX:
                raise LimitError(
                    f"limits.keep_out: box {number}: corners must lie within {MAX_BOX:g} m, got {box.tolist()}"
                )
        if len(self._flat("tcp_offset")) != 3 or float(np.abs(self.tcp_offset).max()) > 0.5:
            raise LimitError(f"limits.tcp_offset: expected 3 numbers within 0.5 m, got {self.tcp_offset!r}")

    def _flat(self, name: str) -> tuple[float, ...]:
        """A tuple of finite numbers, kept as such."""
        try:
            values = tuple(frozen_array(f"limits.{name}", getattr(self, name), (None,)).tolist())
        except ShapeError as error:
            raise LimitError(str(error)) from error
        object.__setattr__(self, name, values)
        return values

    @cached_property
    def body(self) -> Body:
        """Arm, gripper, table and boxes as the rules see them."""
        return Body(self.variant, self.table_z, self.keep_out, self.tcp_offset)

    @cached_property
    def body_bounds(self) -> Float:
        """Least clearance of every item of `body` (M,) [m]."""
        margins = {"table": self.table_margin, "self_collision": self.self_margin, "keep_out": self.keep_out_margin}
        return np.array([margins[reason] for reason, _ in self.body.items])

    @cached_property
    def floor(self) -> float:
        """Least TCP height in base_link [m]: the box or the table, whichever is higher."""
        return max(float(self.workspace_lower[2]), self.table_z + self.table_clearance)

    @cached_property
    def soft_lower(self) -> Float:
        """joint_lower plus the margin (6,) [rad]."""
        return self.joint_lower + self.joint_margin

    @cached_property
    def soft_upper(self) -> Float:
        """joint_upper minus the margin (6,) [rad]."""
        return self.joint_upper - self.joint_margin

    @cached_property
    def _ranges(self) -> list[tuple[float, float, float, float]]:
        rows = (self.joint_lower, self.soft_lower, self.soft_upper, self.joint_upper)
        return list(zip(*(row.tolist() for row in rows), strict=True))

    @cached_property
    def sides(self) -> tuple[list[float], list[float]]:
        """Low and high corner of the TCP's box above the table, as plain floats [m]."""
        return [*self.workspace_lower[:2].tolist(), self.floor], self.workspace_upper.tolist()

    def in_margin(self, joints: list[float]) -> bool:
        """Whether a joint is within the margin of its range, or outside it [rad]."""
        return any(not low <= v <= high for v, (_, low, high, _) in zip(joints, self._ranges, strict=True))

    def allowed_range(self, joints: list[float]) -> list[tuple[float, float]]:
        """Where each joint may go from `joints` [rad]: inside the margin, and from within it inward or nowhere."""
        return [
            (max(low, min(soft_low, here)), min(high, max(soft_high, here)))
            for here, (low, soft_low, soft_high, high) in zip(joints, self._ranges, strict=True)
        ]


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
