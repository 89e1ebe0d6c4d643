"""What every source of demonstrations gives: episodes, and of each its frames in order, or why there is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reconvla_ros.errors import DatasetError, choices
from reconvla_ros.observation.assemble import AssemblyLimits
from reconvla_ros.policy.contract import Contract
from reconvla_ros.types import Float, Pose

Rgb = NDArray[np.uint8]
ACTIONS = ("filtered", "measured")
"""What the arm is taken to have done: the targets that the filter let through, or the path that was measured."""


@dataclass(frozen=True)
class Request:
    """How the frames of an episode are wanted.

    Attributes:
        rate: ticks per second [Hz].
        steps: future targets a frame carries; step k is due (k + 1) / rate after the frame's stamp.
        actions: of ACTIONS.
        limits: what may be used together; the policy node's by default.
        repeats: how many ticks in a row may show the pair of images of the one before.
    """

    rate: float = 10.0
    steps: int = 5
    actions: str = ACTIONS[0]
    limits: AssemblyLimits = field(default_factory=AssemblyLimits)
    repeats: int = 0

    def __post_init__(self) -> None:
        if self.actions not in ACTIONS:
            raise DatasetError(f"actions: {choices(self.actions, ACTIONS)}")


@dataclass(frozen=True)
class Info:
    """An episode before it is read.

    Attributes:
        name: unique in its source, usable as a folder's name.
        instruction: empty where it is only known when the episode is read (Source.instruction).
        outcome: success, failure, unlabeled or discarded.
        problem: why it cannot be read; empty when it can.
        digest: changes whenever the episode does.
        seconds: about how long it is [s], for the progress bar.
    """

    name: str
    instruction: str
    outcome: str = "success"
    problem: str = ""
    digest: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Commands:
    """What was done with the command in force when a frame's first step is due.

    Attributes:
        requested, filtered: TCP xyz [m], quaternion x y z w, opening [m] (8,); NaN = nothing, or keep.
        applied: joint targets [rad] and opening [m] that went to the bus (7,); NaN = nothing was sent.
    """

    requested: Float
    filtered: Float
    applied: Float


@dataclass(frozen=True, eq=False)
class Frame:
    """One tick of an episode.

    Attributes:
        tick: its number, from 0. at_ns: when it was [ns]. stamp_ns: capture stamp of the older image [ns].
        base, wrist: (H, W, 3) uint8 RGB; wrist is None where the data has none.
        tcp: measured, in the contract's frame. gripper: measured opening [m].
        joints: (6,) [rad], None where the data has none.
        open_before: the gripper command in force at the stamp.
        positions (T, 3) [m], quaternions (T, 4), opens (T,) bool: where the TCP was sent, step by step.
        openings: (T,) [m], of the gripper at those steps.
        valid: steps that end before the episode does.
        human: a person had the arm.
        commands: None where the data has none.
        goal: joints [rad] and opening [m] measured when the first step is due (7,); None where the data has none.
    """

    tick: int
    at_ns: int
    stamp_ns: int
    base: Rgb
    wrist: Rgb | None
    tcp: Pose
    gripper: float
    joints: Float | None
    open_before: bool
    positions: Float
    quaternions: Float
    opens: NDArray[np.bool_]
    openings: Float
    valid: int
    human: bool = False
    commands: Commands | None = None
    goal: Float | None = None


@dataclass(frozen=True)
class Refused:
    """A tick without a frame: the kind (missing, stale, skew, future, repeat, gap, end, backwards, unreadable) and why."""

    tick: int
    reason: str
    detail: str = ""


class Source(Protocol):
    """Demonstrations in one format.

    Attributes:
        kind: of KINDS in dataset/sources.py.
    """

    kind: str

    def infos(self) -> Sequence[Info]:
        """Every episode, sorted by name; cheap."""

    def contract(self) -> Contract:
        """What the numbers of this data mean, before its own statistics are known."""

    def instruction(self, name: str) -> str:
        """What the episode shows, where `infos` leaves it open; may read the episode."""

    def frames(self, name: str, request: Request) -> Iterator[Frame | Refused]:
        """The ticks of one episode in order.

        Raises:
            DatasetError: no such episode, or it cannot be read at all.
        """

    def notes(self, name: str) -> dict[str, int]:
        """What was found while the episode was read: messages left out, by reason; valid after `frames` has ended."""
