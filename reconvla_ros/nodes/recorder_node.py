"""The recorder: record/start, stop and relabel, one bag an episode, record/state with rates, losses and findings."""

from __future__ import annotations

import sys
import time

import rclpy
from rclpy.node import Node

from reconvla_ros.errors import RecordingError
from reconvla_ros.msg import RecordState, TaskState
from reconvla_ros.nodes import qos
from reconvla_ros.nodes.base import ERROR, OK, WARN, ManagedNode
from reconvla_ros.nodes.episode_watch import PERIOD, EpisodeWatch
from reconvla_ros.nodes.open_episode import OpenEpisode, utc_now
from reconvla_ros.nodes.process import run
from reconvla_ros.nodes.provenance import software_versions
from reconvla_ros.nodes.record_services import offer
from reconvla_ros.recording.disk import DiskGuard, free
from reconvla_ros.recording.episode import EpisodeStore, check_outcome
from reconvla_ros.recording.settings import RECORDER_TOPIC, RecorderConfig, episodes_folder, recorded_topics


class RecorderNode(ManagedNode):
    """Wires the services to the episode under way."""

    def __init__(self) -> None:
        super().__init__("recorder", RecorderConfig)
        self._tap_node: Node | None = None
        self._open: OpenEpisode | None = None
        self._watch: EpisodeWatch | None = None
        self._last = ""  # the episode that was closed last
        self._said_at = 0.0
        self._task = TaskState()
        self._path = ""
        self._warning = ""
        self._state = self.publish_on(RecordState, RECORDER_TOPIC, qos.LATCHED, always=True)
        self.create_subscription(TaskState, "task/state", self._on_task, qos.LATCHED)
        offer(self)
        self.create_timer(PERIOD, self._look)

    def setup(self) -> None:
        """Check the topics; make the node of the taps."""
        config: RecorderConfig = self.config
        self._store = EpisodeStore(episodes_folder(config))
        self._guard = DiskGuard(self._store.root, int(config.quota_gb * 1e9), int(config.min_free_gb * 1e9))
        # Remaps given to this process are for the recorder alone, so the taps get names that it has resolved.
        self._topics = recorded_topics(config)
        self._names = {topic.name: self.resolve_topic_name(topic.name) for topic in self._topics}
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
        self._publish_state()

    def stop(self) -> None:
        """Close an open episode as unlabeled; SIGINT and SIGTERM come here too."""
        if self._open is not None:
            self.get_logger().info(self.finish("unlabeled", discard=False)[0])

    def close(self) -> None:
        """Give the taps' node back."""
        if self._tap_node is not None:
            self._tap_node.destroy_node()
            self._tap_node = None

    def begin(self, instruction: str, operator: str, tags: list[str]) -> tuple[str, str]:
        """Open an episode; returns once the subscriptions are up; (message, path).

        Raises:
            RecordingError: one is open, no instruction, no room, the folder cannot be written, a type is not installed.
        """
        if self._open is not None:
            raise RecordingError(f"episode {self._open.episode.name} is open; call record/stop first")
        if not self.active or self._tap_node is None:
            raise RecordingError("the recorder is not active")
        if not instruction.strip() and self._task.state == "RUNNING":
            instruction = self._task.instruction
        self._guard.check_start()
        episode = self._store.plan(instruction, operator or self.config.operator, tags, utc_now(), software_versions())
        self._open = OpenEpisode(self._tap_node, self._topics, self._names, self.config, self._store, episode)
        self._path = str(self._open.folder)
        late = f"not every publisher was connected within {self.config.match_timeout:g} s"
        self._warning = "" if self._open.connected else late
        self._watch = EpisodeWatch(self, self._open, self._guard, self._warning)
        self._publish_state()
        return self._warning or f"recording to {self._path}", self._path

    def finish(self, outcome: str, discard: bool, why: str = "") -> tuple[str, str]:
        """Close the open episode; `why` it ends when nobody asked; (what happened, path).

        Raises:
            RecordingError: none is open, the outcome is unknown, or the disk refused (the episode is closed anyway).
        """
        if self._open is None:
            raise RecordingError("no episode is open; call record/start first")
        outcome = check_outcome(outcome)
        opened, self._open, self._warning = self._open, None, ""
        watch, self._watch = self._watch, None
        parameters = watch.parameters if watch is not None else {}
        try:
            if watch is not None:
                watch.close()
            if discard:
                self._path = ""
                opened.discard()
                return f"discarded {opened.episode.name}", ""
            self._last = opened.episode.name
            done = opened.close(outcome, self.get_clock().now().nanoseconds, parameters, why)
            if done.note:
                raise RecordingError(f"{done.note}; the episode is closed and kept in {self._path}")
        except RecordingError as error:
            self._warning = str(error) if why in str(error) else f"{why}; {error}"
            raise
        finally:
            self._publish_state()
        lost = sum(done.dropped.values())
        flags = ", ".join(done.quality.get("flags", ()))
        text = f"{sum(done.counts.values())} messages, {done.bytes / 1e6:.1f} MB, {lost} lost"
        return (f"{text}; flags: {flags}" if flags else text), self._path

    def _look(self) -> None:
        """Audit and disk, ten times a second; record/state at state_rate and at once when the warning changes."""
        if self._watch is None:
            return
        changed, why = self._watch.look()
        if why:
            try:
                self.finish("unlabeled", discard=False, why=why)
            except RecordingError as error:
                self.get_logger().error(f"recording ended: {error}")
        elif changed or time.monotonic() - self._said_at >= 1.0 / self.config.state_rate:
            self._publish_state()

    def _on_task(self, message: TaskState) -> None:
        self._task = message

    def relabel(self, name: str, outcome: str, instruction: str, tags: list[str], trash: bool) -> tuple[str, str]:
        """Change the label of a closed episode (empty name: the last), or move it to the trash; (message, path).

        Raises:
            RecordingError: no such episode, it is open, unknown outcome, nothing to change.
        """
        name = name or self._last
        if not self.active or not name:
            raise RecordingError("no episode was closed yet; name one" if self.active else "the recorder is not active")
        if self._open is not None and name == self._open.episode.name:
            raise RecordingError(f"episode {name} is open; call record/stop first")
        if trash:
            path = str(self._store.delete(name))
            return f"{name} is in the trash; reconvla episodes restore {name} brings it back", path
        changed = self._store.relabel(name, outcome, instruction, tags)
        return f"{name}: {changed.outcome}, {changed.instruction!r}", str(self._store.folder(changed))

    def _publish_state(self) -> None:
        """What there is to say now."""
        opened = self._open
        message = RecordState(recording=opened is not None, path=self._path, warning=self._warning)
        message.header.stamp = self.get_clock().now().to_msg()
        message.free_bytes = free(self._store.root)
        self._said_at = time.monotonic()
        if self._watch is not None:
            self._watch.fill(message)
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
        if self._watch is not None and self._watch.warning:
            return WARN, self._watch.warning, values
        return (WARN, f"{lost} messages lost", values) if lost else (OK, "recording", values)


def main() -> int:
    """Entry of the executable."""
    return run(RecorderNode)


if __name__ == "__main__":
    sys.exit(main())
