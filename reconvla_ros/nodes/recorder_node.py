"""The recorder: record/start and record/stop, one bag an episode, record/state with rates and losses."""

from __future__ import annotations

import sys
from dataclasses import replace

import rclpy
from rclpy.node import Node

from reconvla_ros.errors import ReconVlaError, RecordingError
from reconvla_ros.msg import RecordState, TaskState
from reconvla_ros.nodes import qos
from reconvla_ros.nodes.base import ERROR, OK, WARN, ManagedNode
from reconvla_ros.nodes.open_episode import OpenEpisode, utc_now
from reconvla_ros.nodes.process import run
from reconvla_ros.recording.episode import EpisodeStore, check_outcome
from reconvla_ros.recording.settings import RECORDER_TOPIC, RecorderConfig, episodes_folder, recorded_topics
from reconvla_ros.srv import RecordStart, RecordStop


class RecorderNode(ManagedNode):
    """Wires the services to the episode under way."""

    def __init__(self) -> None:
        super().__init__("recorder", RecorderConfig)
        self._tap_node: Node | None = None
        self._open: OpenEpisode | None = None
        self._task = TaskState()
        self._path = ""
        self._warning = ""
        self._state = self.publish_on(RecordState, RECORDER_TOPIC, qos.LATCHED, always=True)
        self.create_subscription(TaskState, "task/state", self._on_task, qos.LATCHED)
        self.create_service(RecordStart, "record/start", self._on_start)
        self.create_service(RecordStop, "record/stop", self._on_stop)
        self.create_timer(1.0 / self.config.state_rate, self._publish_state)

    def setup(self) -> None:
        """Check the topics; make the node of the taps."""
        self._store = EpisodeStore(episodes_folder(self.config))
        # Remaps given to this process are for the recorder alone, so the taps get names that it has resolved.
        topics = recorded_topics(self.config)
        self._topics = tuple(replace(topic, name=self.resolve_topic_name(topic.name)) for topic in topics)
        self._tap_node = rclpy.create_node(
            f"{self.get_name()}_taps",
            namespace=self.get_namespace(),
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )

    def start(self) -> None:
        """Say that nothing is recorded; or, with record_at_start, begin."""
        if self.config.record_at_start:
            self.begin(self.config.instruction, self.config.operator, ["record_at_start"])
        self._publish_state(force=True)

    def stop(self) -> None:
        """Close an open episode as unlabeled; SIGINT and SIGTERM come here too."""
        if self._open is not None:
            self.get_logger().info(self.finish("unlabeled", discard=False))

    def close(self) -> None:
        """Give the taps' node back."""
        if self._tap_node is not None:
            self._tap_node.destroy_node()
            self._tap_node = None

    def begin(self, instruction: str, operator: str, tags: list[str]) -> None:
        """Open an episode; returns once the subscriptions are up.

        Raises:
            RecordingError: one is open, no instruction, the folder cannot be written, a type is not installed.
        """
        if self._open is not None:
            raise RecordingError(f"episode {self._open.episode.name} is open; call record/stop first")
        if not self.active or self._tap_node is None:
            raise RecordingError("the recorder is not active")
        if not instruction.strip() and self._task.state == "RUNNING":
            instruction = self._task.instruction
        episode = self._store.plan(instruction, operator or self.config.operator, tags, utc_now())
        self._open = OpenEpisode(self._tap_node, self._topics, self.config, self._store, episode)
        self._path = str(self._open.folder)
        late = f"not every publisher was connected within {self.config.match_timeout:g} s"
        self._warning = "" if self._open.connected else late
        self._publish_state(force=True)

    def finish(self, outcome: str, discard: bool) -> str:
        """Close the open episode; returns what happened.

        Raises:
            RecordingError: none is open, the outcome is unknown, or the disk refused (the episode is closed anyway).
        """
        if self._open is None:
            raise RecordingError("no episode is open; call record/start first")
        outcome = check_outcome(outcome)
        opened, self._open, self._warning = self._open, None, ""
        try:
            if discard:
                self._path = ""
                opened.discard()
                return f"discarded {opened.episode.name}"
            done = opened.close(outcome, self.get_clock().now().nanoseconds)
            if done.note:
                raise RecordingError(f"{done.note}; the episode is closed and kept in {self._path}")
        except RecordingError as error:
            self._warning = str(error)
            raise
        finally:
            self._publish_state(force=True)
        lost = sum(done.dropped.values())
        return f"{sum(done.counts.values())} messages, {done.bytes / 1e6:.1f} MB, {lost} lost"

    def _on_task(self, message: TaskState) -> None:
        self._task = message

    def _on_start(self, request: RecordStart.Request, response: RecordStart.Response) -> RecordStart.Response:
        try:
            self.begin(request.instruction, request.operator_name, list(request.tags))
            response.accepted, response.path = True, self._path
            response.message = self._warning or f"recording to {self._path}"
        except ReconVlaError as error:
            response.accepted, response.message = False, str(error)
        return response

    def _on_stop(self, request: RecordStop.Request, response: RecordStop.Response) -> RecordStop.Response:
        try:
            response.message = self.finish(request.outcome, request.discard)
            response.accepted, response.path = True, self._path
        except ReconVlaError as error:
            response.accepted, response.message = False, str(error)
        return response

    def _publish_state(self, force: bool = False) -> None:
        """While recording at state_rate, and at each change."""
        opened = self._open
        if opened is None and not force:
            return
        message = RecordState(recording=opened is not None, path=self._path, warning=self._warning)
        message.header.stamp = self.get_clock().now().to_msg()
        if opened is not None:
            summary, rates, dropped = opened.summary(), opened.rates(), opened.dropped()
            message.instruction, message.bytes = opened.episode.instruction, summary.bytes
            message.duration = (summary.end_ns - summary.start_ns) / 1e9
            message.topics = list(summary.counts)
            message.counts = list(summary.counts.values())
            message.rates = [rates.get(name, 0.0) for name in summary.counts]
            message.dropped = [dropped.get(name, 0) for name in summary.counts]
            message.warning = opened.problem or self._warning
        self._state.publish(message)

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        """Recording or not, and what is lost."""
        opened = self._open
        if opened is None:
            return OK, "idle", {"recording": False}
        lost = sum(opened.dropped().values())
        values = {"recording": True, "episode": opened.episode.name, "bytes": opened.summary().bytes, "lost": lost}
        if opened.problem:
            return ERROR, opened.problem, values
        return (WARN, f"{lost} messages lost", values) if lost else (OK, "recording", values)


def main() -> int:
    """Entry of the executable."""
    return run(RecorderNode)


if __name__ == "__main__":
    sys.exit(main())
