"""One episode under way: its taps, its writer thread, its audit, its folder; opened whole or not at all."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from rclpy.node import Node

from reconvla_ros.errors import ReconVlaError, RecordingError
from reconvla_ros.nodes.provenance import Provenance
from reconvla_ros.nodes.serialized import stamp_of
from reconvla_ros.nodes.taps import Taps, offered
from reconvla_ros.recording.audit import Auditor, Finding
from reconvla_ros.recording.bag import BagSummary, BagWriter
from reconvla_ros.recording.cdr import finite_positions
from reconvla_ros.recording.episode import Episode, EpisodeStore, write_sidecar
from reconvla_ros.recording.repair import NOTE, note_of
from reconvla_ros.recording.schema import message_schema
from reconvla_ros.recording.session import RecordingSession, Taken
from reconvla_ros.recording.settings import CALIBRATION, COLORS, IMAGES, STATES, RecordedTopic, RecorderConfig

_JOINTS = "joint_states"


def utc_now() -> datetime.datetime:
    """The wall clock."""
    return datetime.datetime.now(datetime.timezone.utc)


class OpenEpisode:
    """Subscribes and records from construction until `close`.

    Args:
        node: of the taps; nothing else uses it. topics: with names relative to the namespace.
        names: relative -> resolved name of each topic.
        store: where episodes are. episode: planned, not begun.

    Raises:
        RecordingError: the folder cannot be written or a type is not installed; nothing is left behind.
    """

    def __init__(
        self,
        node: Node,
        topics: Iterable[RecordedTopic],
        names: Mapping[str, str],
        config: RecorderConfig,
        store: EpisodeStore,
        episode: Episode,
    ) -> None:
        self.episode, self.folder = episode, store.folder(episode)
        self._store, self._drain, self._names = store, config.drain, names
        self._provenance = Provenance(names, CALIBRATION)
        schemas = {replace(topic, name=names[topic.name]): message_schema(topic.type_name) for topic in topics}
        bag = BagWriter(self.folder, crc=config.chunk_crc)
        self._session = RecordingSession(bag, config.queue_mb * 1_000_000, config.flush_period)
        self._audit = self._make_audit(config)
        self._watched = frozenset(self._audit.topics)
        self.blind = ""  # what the audit could not read; empty while all is well
        try:
            store.begin(episode)
            bag.add_note(NOTE, note_of(episode))
            for topic, schema in schemas.items():
                bag.add_topic(topic.name, schema, offered(node, topic.name))
            bag.flush()  # from here on a crash leaves a file that says what it is
            self._taps = Taps(node, schemas, self._take, config.poll_period)
        except ReconVlaError:
            with contextlib.suppress(RecordingError):
                self._session.close()
            with contextlib.suppress(RecordingError):
                store.discard(episode.name)
            raise
        self._taps.start()
        self.connected = self._taps.wait_matched(config.match_timeout)

    def _make_audit(self, config: RecorderConfig) -> Auditor:
        known = self._names
        images, states = ([known[n] for n in names if n in known] for names in (IMAGES, STATES))
        pair = tuple(known[n] for n in COLORS if n in known)
        return Auditor(images, states, pair, config.audit, time.monotonic_ns())

    def _take(self, taken: Taken) -> None:
        """One message, in the thread of the taps; first of all it is written."""
        self._session.put(taken)
        try:
            self._look(taken)
        except Exception as error:  # whatever a message holds, looking at it must not end the recording
            self.blind = f"the audit does not understand {taken.topic}: {type(error).__name__}: {error}"

    def _look(self, taken: Taken) -> None:
        topic = taken.topic
        if topic in self._watched:
            finite = topic != self._names.get(_JOINTS) or finite_positions(taken.data)
            self._audit.note(topic, stamp_of(taken.data), taken.log_ns, time.monotonic_ns(), finite)
        elif topic in self._provenance.topics:
            self._provenance.take(taken)

    def expect(self, topic: str, rate: float) -> None:
        """Say what the rate of a topic, named relative to the namespace, should be [Hz]."""
        self._audit.expect(self._names.get(topic, ""), rate)

    @property
    def problem(self) -> str:
        """Why nothing is recorded any more; empty while all is well."""
        return self._taps.error or self._session.error

    def findings(self) -> list[Finding]:
        """What the audit finds now."""
        now = time.monotonic_ns()
        self._audit.lost(self.dropped(), now)
        return self._audit.findings(now)

    @property
    def skew(self) -> float:
        """Distance of the two cameras' nearest colour stamps now [s]."""
        return self._audit.skew

    def gaps(self) -> dict[str, int]:
        """Gaps so far, per watched topic."""
        return self._audit.gaps()

    def summary(self) -> BagSummary:
        """What is in the bag now."""
        return self._session.summary()

    def rates(self) -> dict[str, float]:
        """Messages per second and topic over the last second [Hz]."""
        return dict(self._session.rates())

    def dropped(self) -> dict[str, int]:
        """Lost on the way to us, plus dropped before the disk, per topic."""
        lost, dropped = self._taps.lost(), self._session.dropped
        return {name: lost.get(name, 0) + dropped.get(name, 0) for name in {**lost, **dropped}}

    def note_down(self, parameters: Mapping[str, Any]) -> None:
        """Write into the sidecar what is known by now, for the case that it is not closed.

        Raises:
            RecordingError: the sidecar cannot be written.
        """
        started = self.summary().start_ns
        known = self._provenance.snapshot(started)
        self.episode = replace(self.episode, started_ns=started, parameters=dict(parameters), **known)
        write_sidecar(self.folder, self.episode)

    def close(self, outcome: str, until_ns: int, parameters: Mapping[str, Any], note: str = "") -> Episode:
        """Take what was published up to `until_ns` (ROS time), close the bag, write the sidecar.

        Args:
            note: why it ends, when not because somebody asked.

        Raises:
            RecordingError: the sidecar cannot be written. A bag that the disk refused says so in the episode's `note`.
        """
        self._taps.close(until_ns, self._drain)
        problem = self.problem
        try:
            summary = self._session.close()
        except RecordingError as error:
            problem, summary = str(error), self._session.summary()
        self._audit.lost(self.dropped(), time.monotonic_ns())
        return self._store.finish(
            self.episode,
            outcome,
            utc_now(),
            counts=dict(summary.counts),
            dropped={name: count for name, count in self.dropped().items() if count},
            bytes=summary.bytes,
            duration=(summary.end_ns - summary.start_ns) / 1e9,
            note="; ".join(filter(None, (note, problem))),
            quality=self._audit.quality(),
            started_ns=summary.start_ns,
            parameters=dict(parameters),
            **self._provenance.snapshot(summary.start_ns),
        )

    def discard(self) -> None:
        """Stop at once and delete the folder.

        Raises:
            RecordingError: the file system refuses.
        """
        self._taps.close(0, 0.0)
        with contextlib.suppress(RecordingError):  # a full disk is no reason to keep what is thrown away
            self._session.close()
        self._store.discard(self.episode.name)
