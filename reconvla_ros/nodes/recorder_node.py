"""The recorder: record/start and record/stop, one bag an episode, record/state with rates and losses."""

from __future__ import annotations

import datetime
import sys
from dataclasses import dataclass, replace

import rclpy
from rclpy.node import Node

from reconvla_ros.errors import ReconVlaError, RecordingError
from reconvla_ros.msg import RecordState, TaskState
from reconvla_ros.nodes import qos
from reconvla_ros.nodes.base import ERROR, OK, WARN, ManagedNode, run
from reconvla_ros.nodes.taps import Taps, offered
from reconvla_ros.recording.bag import BagWriter
from reconvla_ros.recording.episode import Episode, EpisodeStore, check_outcome
from reconvla_ros.recording.schema import message_schema
from reconvla_ros.recording.session import RecordingSession
from reconvla_ros.recording.settings import RECORDER_TOPIC, RecorderConfig, episodes_folder, recorded_topics
from reconvla_ros.srv import RecordStart, RecordStop


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


@dataclass
class _Open:
    """The episode under way."""

    episode: Episode
    session: RecordingSession
    taps: Taps


class RecorderNode(ManagedNode):
    """Wires the services to the store, the taps to the session."""

    def __init__(self) -> None:
        super().__init__("recorder", RecorderConfig)
        self._tap_node: Node | None = None
        self._open: _Open | None = None
        self._task = TaskState()
        self._last_path = ""
        self._warning = ""

    def setup(self) -> None:
        """Check the topics, make the services."""
        self._topics = recorded_topics(self.config)
        self._store = EpisodeStore(episodes_folder(self.config))
        # Remaps given to this process are for the recorder alone, so the taps get names that it has resolved.
        self._tap_node = rclpy.create_node(
            f"{self.get_name()}_taps", namespace=self.get_namespace(), use_global_arguments=False,
            enable_rosout=False, start_parameter_services=False)  # fmt: skip
        self._topics = tuple(replace(t, name=self.resolve_topic_name(t.name)) for t in self._topics)
        self._state = self.publish_on(RecordState, RECORDER_TOPIC, qos.LATCHED, always=True)
        self.create_subscription(TaskState, "task/state", self._on_task, qos.LATCHED)
        self.create_service(RecordStart, "record/start", self._on_start)
        self.create_service(RecordStop, "record/stop", self._on_stop)
        self.create_timer(1.0 / self.config.state_rate, self._publish_state)

    def start(self) -> None:
        """Say that nothing is recorded; or, with record_at_start, begin."""
        if self.config.record_at_start:
            self.begin(self.config.instruction, self.config.operator, ["record_at_start"])
        self._publish_state(force=True)

    def stop(self) -> None:
        """Close an open episode as unlabeled; SIGINT and SIGTERM come here too."""
        if self._open is not None:
            self.finish("unlabeled", discard=False)

    def close(self) -> None:
        """Give the taps' node back."""
        if self._tap_node is not None:
            self._tap_node.destroy_node()
            self._tap_node = None

    def begin(self, instruction: str, operator: str, tags: list[str]) -> str:
        """Open an episode; returns its folder once the subscriptions are up.

        Raises:
            RecordingError: one is open, no instruction, the folder cannot be written, a type is not installed.
        """
        if self._open is not None:
            raise RecordingError(f"episode {self._open.episode.name} is open; call record/stop first")
        if not self.active or self._tap_node is None:
            raise RecordingError("the recorder is not active")
        if not instruction.strip() and self._task.state == "RUNNING":
            instruction = self._task.instruction
        episode = self._store.plan(instruction, operator or self.config.operator, tags, _now())
        folder = self._store.folder(episode)
        bag = BagWriter(folder, crc=self.config.chunk_crc)
        session = RecordingSession(bag, self.config.queue_mb * 1_000_000, self.config.flush_period)
        try:
            self._store.begin(episode)
            for topic in self._topics:
                bag.add_topic(topic.name, message_schema(topic.type_name), offered(self._tap_node, topic.name))
            taps = Taps(self._tap_node, self._topics, session.put, self.config.poll_period)
        except ReconVlaError:
            session.close()
            raise
        self._open, self._last_path, self._warning = _Open(episode, session, taps), str(folder), ""
        taps.start()
        if not taps.wait_matched(self.config.match_timeout):
            self._warning = f"not every publisher was connected within {self.config.match_timeout:g} s"
        self._publish_state(force=True)
        return str(folder)

    def finish(self, outcome: str, discard: bool) -> tuple[str, str]:
        """Close the open episode; returns (its folder, '' when discarded; what happened).

        Raises:
            RecordingError: none is open, the outcome is unknown, or the disk refused (the episode is closed anyway).
        """
        if self._open is None:
            raise RecordingError("no episode is open; call record/start first")
        outcome = check_outcome(outcome)
        opened = self._open
        opened.taps.close(self.get_clock().now().nanoseconds, 0.0 if discard else self.config.drain)
        self._open = None
        note, dropped = "", self._dropped(opened)
        try:
            summary = opened.session.close()
        except RecordingError as error:
            note, summary = str(error), opened.session.summary()
        if discard:
            self._store.discard(opened.episode.name)
            self._last_path = ""
            self._publish_state(force=True)
            return "", f"discarded {opened.episode.name}"
        figures = {"counts": dict(summary.counts), "dropped": {k: v for k, v in dropped.items() if v}, "note": note,
                   "bytes": summary.bytes, "duration": (summary.end_ns - summary.start_ns) / 1e9}  # fmt: skip
        self._store.finish(opened.episode, outcome, _now(), **figures)
        self._warning = note
        self._publish_state(force=True)
        if note:
            raise RecordingError(note)
        total = sum(summary.counts.values())
        return self._last_path, f"{total} messages, {summary.bytes / 1e6:.1f} MB, {sum(dropped.values())} lost"

    def _dropped(self, opened: _Open) -> dict[str, int]:
        """Lost on the way, plus dropped before the disk, per topic."""
        lost, dropped = opened.taps.lost(), opened.session.dropped
        return {name: lost.get(name, 0) + dropped.get(name, 0) for name in {**lost, **dropped}}

    def _on_task(self, message: TaskState) -> None:
        self._task = message

    def _on_start(self, request: RecordStart.Request, response: RecordStart.Response) -> RecordStart.Response:
        try:
            response.path = self.begin(request.instruction, request.operator_name, list(request.tags))
            response.accepted, response.message = True, self._warning or f"recording to {response.path}"
        except ReconVlaError as error:
            response.accepted, response.message = False, str(error)
        return response

    def _on_stop(self, request: RecordStop.Request, response: RecordStop.Response) -> RecordStop.Response:
        try:
            response.path, response.message = self.finish(request.outcome, request.discard)
            response.accepted = True
        except ReconVlaError as error:
            response.accepted, response.message = False, str(error)
        return response

    def _publish_state(self, force: bool = False) -> None:
        """While recording at state_rate, and at each change."""
        opened = self._open
        if opened is None and not force:
            return
        message = RecordState(recording=opened is not None, path=self._last_path, warning=self._warning)
        message.header.stamp = self.get_clock().now().to_msg()
        if opened is not None:
            summary, rates, dropped = opened.session.summary(), opened.session.rates(), self._dropped(opened)
            message.instruction, message.bytes = opened.episode.instruction, summary.bytes
            message.duration = (summary.end_ns - summary.start_ns) / 1e9
            message.topics = list(summary.counts)
            message.counts = list(summary.counts.values())
            message.rates = [rates.get(name, 0.0) for name in summary.counts]
            message.dropped = [dropped.get(name, 0) for name in summary.counts]
            message.warning = opened.session.error or self._warning
        self._state.publish(message)

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        """Recording or not, what is lost."""
        opened = self._open
        if opened is None:
            return OK, "idle", {"recording": False}
        lost = sum(self._dropped(opened).values())
        values = {
            "recording": True,
            "episode": opened.episode.name,
            "bytes": opened.session.summary().bytes,
            "lost": lost,
        }
        if opened.session.error:
            return ERROR, opened.session.error, values
        return (WARN, f"{lost} messages lost", values) if lost else (OK, "recording", values)


def main() -> int:
    """Entry point."""
    return run(RecorderNode)


if __name__ == "__main__":
    sys.exit(main())
