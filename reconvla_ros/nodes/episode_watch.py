"""What is looked after while an episode is open: the audit's findings, the disk, the parameters of the other nodes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any

from rclpy.node import Node

from reconvla_ros.errors import RecordingError
from reconvla_ros.graph import CAMERAS
from reconvla_ros.msg import RecordState
from reconvla_ros.nodes.open_episode import OpenEpisode
from reconvla_ros.nodes.provenance import ParameterSnapshot
from reconvla_ros.recording.disk import DiskGuard
from reconvla_ros.recording.settings import COLOR, DEPTH

PERIOD = 0.1  # [s] between looks; with `silent_after` it bounds how late a warning is
_DISK_PERIOD = 1.0  # [s]
_NOTE_AFTER = 2.0  # [s] by then the parameters and the slow topics have come
_SAY_AGAIN = 5.0  # [s] a finding that was gone for so long is logged anew


class EpisodeWatch:
    """Call `look` every PERIOD from the executor's thread.

    Attributes:
        findings: what is wrong now. warning: the same in one line; empty = nothing.
    """

    def __init__(self, node: Node, opened: OpenEpisode, guard: DiskGuard, late: str) -> None:
        self._node, self._opened, self._guard, self._late = node, opened, guard, late
        self.findings: list[str] = []
        self.warning = late
        self._said: dict[str, float] = {}
        self._begin = time.monotonic()
        self._disk_at = 0.0
        self._noted = False
        self._parameters = ParameterSnapshot(node, self._told)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Of every node that has answered."""
        return self._parameters.values

    def _told(self, name: str, values: Mapping[str, Any]) -> None:
        camera, rate = name.rsplit("/", 1)[-1], values.get("rate")
        if camera in CAMERAS and isinstance(rate, (int, float)):
            for kind in (COLOR, DEPTH):
                self._opened.expect(f"{camera}/{kind}", float(rate))

    def look(self) -> tuple[bool, str]:
        """Whether the warning changed, and why the episode must end (empty: it goes on)."""
        now, opened = time.monotonic(), self._opened
        before = self.warning
        self._parameters.poll()
        found = opened.findings()
        for finding in found:
            key = f"{finding.code} {finding.topic}"
            if now - self._said.get(key, -_SAY_AGAIN) >= _SAY_AGAIN:
                self._node.get_logger().warning(f"{opened.episode.name}: {finding}")
            self._said[key] = now
        self.findings = [str(finding) for finding in found]
        self.warning = "; ".join(filter(None, (opened.problem, opened.blind, *self.findings, self._late)))
        if not self._noted and now - self._begin >= _NOTE_AFTER:
            self._noted = True
            with contextlib.suppress(RecordingError):  # a full disk; `close` says so
                opened.note_down(self.parameters)
        why = opened.problem
        if not why and now - self._disk_at >= _DISK_PERIOD:
            self._disk_at = now
            why = self._guard.problem(opened.summary().bytes)
        return self.warning != before, why

    def fill(self, message: RecordState) -> None:
        """Put the figures of the episode into record/state."""
        opened = self._opened
        summary, rates, dropped, gaps = opened.summary(), opened.rates(), opened.dropped(), opened.gaps()
        message.instruction, message.bytes = opened.episode.instruction, summary.bytes
        message.duration = (summary.end_ns - summary.start_ns) / 1e9
        message.topics = list(summary.counts)
        message.counts = list(summary.counts.values())
        message.rates = [rates.get(name, 0.0) for name in summary.counts]
        message.dropped = [dropped.get(name, 0) for name in summary.counts]
        message.gaps = [gaps.get(name, 0) for name in summary.counts]
        message.camera_skew = opened.skew
        message.warning, message.findings = self.warning, self.findings

    def close(self) -> None:
        """Ask no more."""
        self._parameters.close()
