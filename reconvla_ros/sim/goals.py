"""What a task is after, as facts of physics: something in a bowl, on another bowl, upright. Pure; poses are arguments.

A goal holds when the thing is where it should be, stands still, and the gripper does not touch it; when it got there does not
matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reconvla_ros.sim.things import BOWL, CUP, SMALL_BOWL

Float = NDArray[np.float64]

STILL = (0.03, 0.6)  # [m/s], [rad/s] slower than this a thing stands
UPRIGHT = 0.94  # least cosine of the angle between the axis of a dish and the vertical: 20 degrees
_INSIDE = 0.8  # share of the rim's radius within which the middle of a thing in a bowl lies
_STACK = 0.012  # [m] most that the middles of two stacked bowls are apart
_ON_TABLE = 0.006  # [m] most that the foot of a dish on the table is above it


@dataclass(frozen=True, eq=False)
class Thing:
    """One free body now: `position` of its origin [m] (3,), `rotation` (3, 3), both in base_link; speeds [m/s], [rad/s].

    `held` says whether arm or gripper touch it.
    """

    position: Float
    rotation: Float
    speed: float
    turning: float
    held: bool

    @property
    def still(self) -> bool:
        """Whether it stands and nobody touches it."""
        return not self.held and self.speed < STILL[0] and self.turning < STILL[1]

    @property
    def upright(self) -> bool:
        """Whether its own z axis points up, within 20 degrees."""
        return bool(self.rotation[2, 2] >= UPRIGHT)


Things = Mapping[str, Thing]


@dataclass(frozen=True)
class Goal:
    """Something that shall be so. `kind`: in (thing in the bowl `place`), on (bowl on the bowl `place`), up (cup upright)."""

    kind: str
    thing: str
    place: str = ""

    def holds(self, things: Things) -> bool:
        """Whether it is so now."""
        return {"in": _inside, "on": _stacked, "up": _stands}[self.kind](self, things)

    def __str__(self) -> str:
        return f"{self.thing} {self.kind} {self.place}".strip()


def _inside(goal: Goal, things: Things) -> bool:
    thing, bowl = things[goal.thing], things[goal.place]
    off = bowl.rotation.T @ (thing.position - bowl.position)
    inside = float(np.hypot(off[0], off[1])) < _INSIDE * BOWL.rim and 0.0 < float(off[2]) < 2.0 * BOWL.height
    return inside and bowl.upright and thing.still and bowl.still


def _stacked(goal: Goal, things: Things) -> bool:
    top, bottom = things[goal.thing], things[goal.place]
    off = top.position - bottom.position
    near = float(np.hypot(off[0], off[1])) < _STACK and 0.002 < float(off[2]) < 0.7 * SMALL_BOWL.height
    return near and top.upright and bottom.upright and bottom.position[2] < _ON_TABLE and top.still and bottom.still


def _stands(goal: Goal, things: Things) -> bool:
    cup = things[goal.thing]
    return cup.upright and abs(float(cup.position[2])) < _ON_TABLE and cup.still


def reach_of(goal: Goal) -> float:
    """How far [m] from its origin a thing of this goal reaches; for what must stay clear of it."""
    return {"in": 0.06, "on": SMALL_BOWL.rim, "up": CUP.height}[goal.kind]
