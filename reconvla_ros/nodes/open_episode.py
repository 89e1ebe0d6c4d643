"""One episode under way: its taps, its writer thread, its folder; opened whole or not at all."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterable

from rclpy.node import Node

from reconvla_ros.errors import ReconVlaError, RecordingError
from reconvla_ros.nodes.taps import Taps, offered
from reconvla_ros.recording.bag import BagSummary, BagWriter
from reconvla_ros.recording.episode import Episode, EpisodeStore
from reconvla_ros.recording.schema import message_schema
from reconvla_ros.recording.session import RecordingSession
from reconvla_ros.recording.settings import RecordedTopic, RecorderConfig


def utc_now() -> datetime.datetime:
    """The wall clock."""
    return datetime.datetime.now(datetime.timezone.utc)


class OpenEpisode:
    """Subscribes and records from construction until `close`.

    Args:
        node: of the taps; nothing else uses it. topics: with resolved names.
        store: where episodes are. episode: planned, not begun.

    Raises:
        RecordingError: the folder cannot be written or a type is not installed; nothing is left behind.
    """

    def __init__(
        self,
        node: Node,
        topics: Iterable[RecordedTopic],
        config: RecorderConfig,
        store: EpisodeStore,
        episode: Episode,
    ) -> None:
        self.episode, self.folder = episode, store.folder(episode)
        self._store, self._drain = store, config.drain
        schemas = {topic: message_schema(topic.type_name) for topic in topics}
        bag = BagWriter(self.folder, crc=config.chunk_crc)
        self._session = RecordingSession(bag, config.queue_mb * 1_000_000, config.flush_period)
        try:
            store.begin(episode)
            for topic, schema in schemas.items():
                bag.add_topic(topic.name, schema, offered(node, topic.name))
            self._taps = Taps(node, schemas, self._session.put, config.poll_period)
        except ReconVlaError:
            with contextlib.suppress(RecordingError):
                self._session.close()
            with contextlib.suppress(RecordingError):
                store.discard(episode.name)
            raise
        self._taps.start()
        self.connected = self._taps.wait_matched(config.match_timeout)

    @property
    def problem(self) -> str:
        """Why nothing is recorded any more; empty while all is well."""
        return self._taps.error or self._session.error

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

    def close(self, outcome: str, until_ns: int) -> Episode:
        """Take what was published up to `until_ns` (ROS time), close the bag, write the sidecar.

        Raises:
            RecordingError: the sidecar cannot be written. A bag that the disk refused says so in the episode's `note`.
        """
        self._taps.close(until_ns, self._drain)
        note = self.problem
        try:
            summary = self._session.close()
        except RecordingError as error:
            note, summary = str(error), self._session.summary()
        return self._store.finish(
            self.episode,
            outcome,
            utc_now(),
            counts=dict(summary.counts),
            dropped={name: count for name, count in self.dropped().items() if count},
            bytes=summary.bytes,
            duration=(summary.end_ns - summary.start_ns) / 1e9,
            note=note,
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
