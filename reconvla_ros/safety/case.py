"""What the filter is asked and what it answers: command, reference, limits and step in one `Case`, which the rules share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np

from reconvla_ros.safety.body import Look
from reconvla_ros.safety.limits import Limits
from reconvla_ros.types import Float

ROUNDING = 1e-9
# How far any point of the arm moves at most when a joint turns, stretched out with the gripper [m/rad]; tables.dh_table.
REACH = np.array([0.77, 0.77, 0.51, 0.26, 0.26, 0.12])
_SAMPLE = 0.005  # [m] no point of the arm moves further than this between two samples of a way, ...
_SAMPLES = 50  # ... as long as this many samples suffice; the tick looks again on the way itself


class Verdict(IntEnum):
    """As in ActionTrace.msg."""

    PASSED = 0
    CLAMPED = 1
    REFUSED = 2


@dataclass(frozen=True, eq=False)
class Command:
    """What is asked for; any part may be nonsense, that is what the filter is for.

    Attributes:
        position: TCP in base_link (3,) [m].
        quaternion: x y z w (4,).
        joints: (6,) [rad], or None before inverse kinematics.
        gripper: total opening [m], None = keep.
        age: since it was decided [s]; negative = from the future.
        effort: gripping torque [N m], None = that of the configuration.
        ahead: joint positions (K, 6) [rad] that follow whatever comes next: where a stop from here would pass and end.
        straight: the way is one of the joints (home, replay, braking): orientation and singularity are no matter, and a
            target (dt None) is judged with its whole way.
    """

    position: Float
    quaternion: Float
    joints: Float | None = None
    gripper: float | None = None
    age: float = 0.0
    effort: float | None = None
    ahead: Float | None = None
    straight: bool = False


@dataclass(frozen=True, eq=False)
class Room:
    """How far any point of the arm may go from where it was looked at before anything can be in its way.

    No point of the arm moves further than its lever times the turn of each joint, so no clearance shrinks by more. While that is
    less than what there was to spare, looking again can find nothing.

    Attributes:
        joints, opening: (6,) [rad], [m] where it was looked at.
        spare: the least of all clearances over their bounds, and of the TCP to the sides of its box [m].
    """

    joints: Float
    opening: float
    spare: float

    def holds(self, way: Float, opening: float) -> bool:
        """Whether nothing can be in the way at the joints (N, 6) [rad] and the opening [m]."""
        moved = float((np.abs(way - self.joints) @ REACH).max()) + abs(opening - self.opening)
        return moved < self.spare


@dataclass(frozen=True, eq=False)
class Reference:
    """Where the arm was last sent, or where it is measured before the first command: same fields, always finite.

    Attributes:
        velocity: of the last tick (6,) [rad/s]; None = unknown, nothing is said about acceleration.
        external: effort beyond the arm's own weight, debounced (6,) [N m]; None = not measured.
        look, room: what `Filtered` said of this very position and opening, to save looking again; None = unknown.
    """

    position: Float
    quaternion: Float
    joints: Float
    gripper: float
    velocity: Float | None = None
    external: Float | None = None
    look: Look | None = None
    room: Room | None = None


@dataclass(frozen=True, eq=False)
class Filtered:
    """Outcome: `command` is what may go on (that of the reference's pose when refused is the caller's business).

    `look`: arm and gripper at the command's joints, where a rule looked. `room`: around them, or still around the reference's.
    """

    verdict: Verdict
    command: Command
    reason: str = ""
    detail: str = ""
    look: Look | None = None
    room: Room | None = None


@dataclass(eq=False)
class Case:
    """One question. Rules after `shape` and `not_finite` may rely on shapes and finite numbers.

    Attributes:
        dt: time for the way from `state` to `command` [s]; None for a target.
    """

    command: Command
    state: Reference
    limits: Limits
    dt: float | None

    @cached_property
    def position(self) -> list[float]:
        """TCP asked for [m]."""
        return [float(v) for v in self.command.position.tolist()]

    @cached_property
    def step(self) -> list[float]:
        """What the joints turn [rad]; nothing where there are no joints yet."""
        joints = self.command.joints
        return [] if joints is None else [float(v) for v in (joints - self.state.joints).tolist()]

    @cached_property
    def way(self) -> Float:
        """Joint positions to look at (N, 6): the command first, then what is ahead, or samples of a straight way."""
        joints = self.command.joints
        assert joints is not None
        if self.dt is None and self.command.straight:
            moved = float(np.abs(joints - self.state.joints) @ REACH)
            count = min(_SAMPLES, max(1, int(np.ceil(moved / _SAMPLE))))
            shares = np.linspace(1.0, 0.0, count, endpoint=False)[:, None]
            return np.asarray(self.state.joints + shares * (joints - self.state.joints))
        if self.command.ahead is None:
            return joints[None]
        return np.concatenate([joints[None], self.command.ahead])

    @property
    def opening(self) -> float:
        """Of the gripper, asked for or as it is [m]."""
        return self.state.gripper if self.command.gripper is None else self.command.gripper

    @cached_property
    def free(self) -> bool:
        """Whether nothing can be in the way, from what was seen some ticks ago."""
        room = self.state.room
        return room is not None and self.dt is not None and room.holds(self.way, self.opening)

    @cached_property
    def inside(self) -> bool:
        """Whether TCP, and what is ahead, is inside its box and above the table."""
        low, high = self.limits.sides
        here = all(a <= v <= b for v, a, b in zip(self.position, low, high, strict=True))
        return here and (self.command.ahead is None or self.command.joints is None or self.free)

    def seen(self) -> tuple[Look | None, Room | None]:
        """What the next tick may build on."""
        if "looks" not in self.__dict__:
            return None, self.state.room if "free" in self.__dict__ and self.free else None
        look = self.looks[0].row(0)
        assert self.command.joints is not None
        limits, tcp = self.limits, look.tcp[0]
        low, high = limits.sides
        sides = (min(v - a, b - v) for v, a, b in zip(tcp.tolist(), low, high, strict=True))
        spare = min(float((look.clearance[0] - limits.body_bounds).min()), *sides)
        return look, Room(self.command.joints, self.opening, spare)

    @cached_property
    def looks(self) -> tuple[Look, Look]:
        """Arm and gripper along `way`, and at the reference (one row)."""
        body, state = self.limits.body, self.state
        opening = self.opening
        if state.look is not None:
            return body.look(self.way, opening), state.look
        openings = np.full(len(self.way) + 1, opening)
        openings[-1] = state.gripper
        both = body.look(np.concatenate([self.way, state.joints[None]]), openings)
        return Look(both.clearance[:-1], both.tcp[:-1], both.tool[:-1]), both.row(len(self.way))

    @cached_property
    def trespass(self) -> dict[str, str]:
        """Where arm or gripper would come too near: reason -> detail. What is too near already may not come nearer."""
        if self.free:
            return {}
        looked, here = self.looks
        bounds = self.limits.body_bounds
        lack = np.minimum(bounds, here.clearance[0]) - ROUNDING - looked.clearance
        if float(lack.max()) <= 0.0:
            return {}
        found: dict[str, str] = {}
        for row, item in np.argwhere(lack > 0.0).tolist():
            reason, what = self.limits.body.items[item]
            where = "" if row == 0 else " where a stop would end" if self.dt is not None else " on the way"
            detail = f"{what} {1e3 * looked.clearance[row, item]:.1f} mm apart{where}, allowed {1e3 * bounds[item]:.1f}"
            found.setdefault(reason, detail)
        return found


# One rule: None = nothing to say; (command, detail) = clamped; (None, detail) = refused.
Ruling = tuple[Command | None, str] | None
Rule = Callable[[Case], Ruling]
