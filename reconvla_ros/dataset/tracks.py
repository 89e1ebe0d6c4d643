"""The streams of small messages of a bag while it is read: where the TCP was, where it was sent, who had the arm."""

from __future__ import annotations

import bisect
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from reconvla_ros.dataset.frame import Commands
from reconvla_ros.errors import ObservationError
from reconvla_ros.observation.cdr import ORIGIN, PLAIN_CDR, Buffer, Reader, stamp_of
from reconvla_ros.observation.latest import Lazy
from reconvla_ros.types import Float, Pose

T = TypeVar("T")
COMMAND_STALE_NS = 300_000_000
"""How long a command stands: the driver holds where it is when none came for so long (config/piper.yaml, command_age)."""


class Track(Generic[T]):
    """Samples in order of their stamps [ns]."""

    def __init__(self) -> None:
        self.stamps: list[int] = []
        self._values: list[T] = []

    def add(self, stamp_ns: int, value: T) -> None:
        """Append a sample; stamps grow, an equal one replaces the last."""
        if self.stamps and stamp_ns <= self.stamps[-1]:
            self.stamps.pop(), self._values.pop()
        self.stamps.append(stamp_ns)
        self._values.append(value)

    def nearest(self, at_ns: int, within_ns: int) -> T | None:
        """The sample nearest to `at_ns`, None when it is further away than `within_ns`."""
        k = bisect.bisect_left(self.stamps, at_ns)
        near = [i for i in (k - 1, k) if 0 <= i < len(self.stamps)]
        if not near:
            return None
        best = min(near, key=lambda i: abs(self.stamps[i] - at_ns))
        return self._values[best] if abs(self.stamps[best] - at_ns) <= within_ns else None

    def before(self, at_ns: int, within_ns: float = math.inf) -> T | None:
        """The last sample at or before `at_ns`, None when it is older than `within_ns`."""
        k = bisect.bisect_right(self.stamps, at_ns) - 1
        return self._values[k] if k >= 0 and at_ns - self.stamps[k] <= within_ns else None

    def back(self, at_ns: int) -> Iterator[tuple[int, T]]:
        """The samples at or before `at_ns` with their stamps, newest first."""
        k = bisect.bisect_right(self.stamps, at_ns)
        return ((self.stamps[i], self._values[i]) for i in range(k - 1, -1, -1))

    @property
    def end(self) -> int | None:
        """The last stamp."""
        return self.stamps[-1] if self.stamps else None


@dataclass(frozen=True, eq=False)
class Target:
    """A command that was in force: `filtered` None when nothing passed; `opening` [m], None = keep."""

    filtered: Pose | None
    opening: float | None
    commands: Commands


def target_of(data: Buffer) -> Target:
    """Serialised ActionTrace -> what it says.

    Raises:
        ObservationError: cut off, or not plain CDR. ShapeError: a pose that is none.
    """
    order = PLAIN_CDR.get(bytes(data[:2]))
    if order is None:
        raise ObservationError("action_trace: not plain CDR")
    try:
        reader = Reader(data, order, ORIGIN + 8)
        reader.octets()  # frame_id
        reader.octets()  # source
        reader.octets()  # task_id
        reader.number()  # chunk_sequence
        reader.octet(), reader.octet()  # chunk_step (int16)
        reader.octet()  # verdict
        reader.octets(), reader.octets()  # reason, detail
        requested, asked = reader.doubles(7), reader.float32()
        filtered, let = reader.doubles(7), reader.float32()
        applied, sent = reader.doubles(6), reader.float32()
    except (struct.error, IndexError) as error:
        raise ObservationError(f"action_trace message of {len(data)} bytes is cut off: {error}") from error
    commands = Commands(np.append(requested, asked), np.append(filtered, let), np.append(applied, sent))
    pose = Pose(filtered[:3], filtered[3:]) if np.isfinite(filtered).all() else None
    return Target(pose, float(let) if math.isfinite(let) else None, commands)


def holder_of(data: Buffer) -> str:
    """Serialised ArmStatus -> the holder of the lease.

    Raises:
        ObservationError: cut off, or not plain CDR.
    """
    order = PLAIN_CDR.get(bytes(data[:2]))
    if order is None:
        raise ObservationError("arm/status: not plain CDR")
    try:
        reader = Reader(data, order, ORIGIN + 8)
        reader.octets()  # frame_id
        reader.octets(), reader.octets()  # state, reason
        return reader.text()
    except (struct.error, IndexError) as error:
        raise ObservationError(f"arm/status message of {len(data)} bytes is cut off: {error}") from error


@dataclass
class Tracks:
    """Everything a frame's targets are read from."""

    tcp: Track[Pose] = field(default_factory=Track)
    opening: Track[float] = field(default_factory=Track)
    joints: Track[Float] = field(default_factory=Track)  # joint1..6 [rad] and the opening [m] (7,)
    targets: Track[Lazy[Target]] = field(default_factory=Track)  # 200 a second come, some ten are used
    holder: str = "none"
    _grips: dict[int, float | None] = field(default_factory=dict)  # answers of `grip`, by stamp

    def take_trace(self, data: Buffer) -> None:
        """One arm/action_trace; it is decoded when it is asked for."""
        stamp = stamp_of(data)
        self.targets.add(stamp, Lazy(lambda: target_of(data)))
        self._grips.pop(stamp, None)

    def grip(self, at_ns: int) -> float | None:
        """The opening [m] that was last commanded at `at_ns`; None before any."""
        passed, opening = [], None
        for stamp, command in self.targets.back(at_ns):
            opening = self._grips[stamp] if stamp in self._grips else command.get().opening
            passed.append(stamp)
            if opening is not None or stamp in self._grips:
                break
        self._grips.update(dict.fromkeys(passed, opening))
        return opening

    def target(self, at_ns: int, measured: bool, gap_ns: int) -> tuple[Pose, float] | None:
        """Where the TCP was sent at `at_ns`, and the gripper's opening [m]; None where nothing is known.

        While no command was in force the arm held, so what was measured is where it was to be.
        """
        pose, opening = self.tcp.nearest(at_ns, gap_ns), self.opening.nearest(at_ns, gap_ns)
        if pose is None or opening is None:
            return None
        if measured:
            return pose, opening
        command, grip = self.targets.before(at_ns, COMMAND_STALE_NS), self.grip(at_ns)
        if command is not None:
            pose = command.get().filtered or pose
        return pose, opening if grip is None else grip

    def path(
        self, times: list[int], measured: bool, gap_ns: int, final: bool
    ) -> tuple[list[tuple[Pose, float]], int] | None:
        """The targets at `times`, and how many of them lie inside the data; beyond its end the last one stands.

        None when there is a gap among them, or none lies inside. `final`: the data ends here; else it goes on.
        """
        end = min(self.tcp.end or 0, self.opening.end or 0) + gap_ns
        inside = [at for at in times if at <= end] if final else times
        found = [self.target(at, measured, gap_ns) for at in inside]
        known = [entry for entry in found if entry is not None]
        if not known or len(known) != len(inside):
            return None
        return known + [known[-1]] * (len(times) - len(known)), len(known)

    def commands(self, at_ns: int) -> Commands | None:
        """What was done with the command in force at `at_ns`."""
        command = self.targets.before(at_ns, COMMAND_STALE_NS)
        return None if command is None else command.get().commands
