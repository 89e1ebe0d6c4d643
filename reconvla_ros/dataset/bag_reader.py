"""One bag, read once, in the order in which it was recorded, through the assembly that runs live."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mcap.reader import make_reader

from reconvla_ros.dataset.bag_chunks import messages
from reconvla_ros.dataset.frame import Request
from reconvla_ros.dataset.tracks import Tracks, holder_of
from reconvla_ros.errors import DatasetError, ObservationError, RecordingError, ShapeError
from reconvla_ros.observation.assemble import NS, ObservationAssembler
from reconvla_ros.observation.cdr import (
    STATE_SPACING_NS,
    Buffer,
    Thinner,
    color_of,
    joint_state_of,
    pose_of,
    stamp_of,
)
from reconvla_ros.recording.reading import readable, relative
from reconvla_ros.recording.settings import COLORS
from reconvla_ros.types import Observation

VIEWS = dict(zip(COLORS, ("base", "wrist"), strict=True))
_STATES = ("joint_states", "arm/ee_pose")
_TOPICS = (*COLORS, *_STATES, "arm/action_trace", "arm/status")
NEEDED = (*COLORS, *_STATES)


@dataclass(frozen=True, eq=False)
class Tick:
    """One tick: `observation`, or why there is none; `human`: a person had the lease."""

    number: int
    at_ns: int
    observation: Observation | None
    refused: str
    human: bool


def kind_of(error: Exception) -> str:
    """The word under which a refusal is counted."""
    text = str(error)
    found = [word for word in ("missing", "stale", "skew", "future") if word in text]
    return found[0] if found and isinstance(error, ObservationError) else "unreadable"


class BagReader:
    """One pass over one bag: messages in, ticks out.

    Attributes:
        tracks: what was done, as far as it has been read.
        notes: messages left out, by reason.
        resets: how often stamps went back and everything was forgotten.
    """

    def __init__(self, file: Path, request: Request, instruction: str) -> None:
        self._file, self._request, self._instruction = file, request, instruction
        self._assembler = ObservationAssembler(request.limits)
        self._thinners = {topic: Thinner(STATE_SPACING_NS) for topic in _STATES}
        self._last: dict[str, int] = {}
        self.tracks, self.notes, self.resets = Tracks(), Counter[str](), 0

    def ticks(self, times: Iterable[int] | None = None) -> Iterator[Tick]:
        """Every tick from the first message to the last: at `times` [ns] in order, else at the rate asked for.

        Raises:
            RecordingError: the bag cannot be read to its end. DatasetError: a stream that is needed is not in it.
        """
        with readable(self._file), self._file.open("rb") as stream:
            summary = make_reader(stream, validate_crcs=True).get_summary()
            if summary is None:
                raise RecordingError(f"bag {self._file} has no index: it was cut; remedy: reconvla episodes recover")
            counts = summary.statistics.channel_message_counts if summary.statistics else {}
            names = {c.id: relative(c.topic) for c in summary.channels.values()}
            held = {names[i] for i, count in counts.items() if count}
            absent = [topic for topic in NEEDED if topic not in held]
            if absent:
                raise DatasetError(f"streams missing: {', '.join(absent)}")
            wanted = {number for number, name in names.items() if name in _TOPICS}
            ticks: Iterator[tuple[int, int]] | None = None
            due: tuple[int, int] | None = None
            for log, channel, data in messages(self._file, summary, wanted):
                if ticks is None:
                    ticks = enumerate(times if times is not None else self._grid(log))
                    due = next(ticks, None)
                while due is not None and due[1] < log:
                    yield self._tick(*due)
                    due = next(ticks, None)
                self._take(names[channel], data)
            if times is not None and ticks is not None and due is not None:
                yield from (self._tick(*tick) for tick in itertools.chain([due], ticks))

    def _grid(self, begin: int) -> Iterator[int]:
        return (begin + round(k * NS / self._request.rate) for k in itertools.count())

    def _tick(self, number: int, at_ns: int) -> Tick:
        human = self.tracks.holder == "teleop"
        try:
            found = self._assembler.assemble(at_ns, self._instruction, "")
        except (ObservationError, ShapeError) as error:
            return Tick(number, at_ns, None, f"{kind_of(error)}: {error}", human)
        return Tick(number, at_ns, found, "", human)

    def _take(self, topic: str, data: Buffer) -> None:
        try:
            stamp = stamp_of(data)
            if stamp < self._last.get(topic, stamp):
                self._forget()
            self._last[topic] = stamp
            if topic in VIEWS:
                self._assembler.add_image(VIEWS[topic], stamp, lambda: color_of(data))
            elif topic == "arm/action_trace":
                self.tracks.take_trace(data)
            elif topic == "arm/status":
                self.tracks.holder = holder_of(data)
            elif self._thinners[topic].takes(stamp):
                self._take_state(topic, stamp, data)
        except ShapeError:
            self.notes[f"{topic}: not finite"] += 1
        except ObservationError:
            self.notes[f"{topic}: unreadable"] += 1

    def _take_state(self, topic: str, stamp: int, data: Buffer) -> None:
        if topic == "joint_states":
            state = joint_state_of(data)
            self._assembler.add_state(state)
            self.tracks.opening.add(stamp, state.gripper)
            self.tracks.joints.add(stamp, np.append(state.position, state.gripper))
        else:
            pose = pose_of(data)
            self._assembler.add_tcp(stamp, pose)
            self.tracks.tcp.add(stamp, pose)

    def _forget(self) -> None:
        """Stamps went back: nothing from before may be used together with what comes."""
        holder = self.tracks.holder
        self.tracks = Tracks(holder=holder)
        self._assembler.clear()
        self._last.clear()
        self.notes["stamps went back"] += 1
        self.resets += 1
