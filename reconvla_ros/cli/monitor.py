"""Listens to what the nodes say of themselves, and to what their processes cost."""

from __future__ import annotations

import threading
import time
from typing import Any

import psutil

from reconvla_ros.cli.client import Client


class Monitor:
    """Latest status of every node, latest values of their diagnostics, CPU and memory of their processes."""

    def __init__(self, client: Client) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from std_msgs.msg import Bool

        from reconvla_ros.msg import ArmStatus, PolicyStatus

        self.values: dict[str, dict[str, str]] = {}  # node -> key -> value
        self.arm: Any = None
        self.policy: Any = None
        self.stages: dict[str, list[float]] = {}  # [ms] per chunk
        self._last_chunk = -1
        self._moved = False
        self.success = False  # what the simulator says of the task
        self.rss_mb: dict[str, float] = {}
        self.cpu_percent: dict[str, float] = {}
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None
        self._count_subscribers = client.node.count_subscribers
        client.listen(DiagnosticArray, "diagnostics", self._on_diagnostics)
        client.listen(ArmStatus, "arm/status", self._on_arm)
        client.listen(PolicyStatus, "policy/status", self._on_policy)
        client.listen(Bool, "sim/success", self._on_success)

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            entry = self.values.setdefault(status.hardware_id or status.name, {})
            entry.update({v.key: v.value for v in status.values})

    def _on_success(self, message: Any) -> None:
        self.success = bool(message.data)

    def _on_arm(self, message: Any) -> None:
        self.arm = message
        self._moved = self._moved or message.state == "MOVING"

    def _on_policy(self, message: Any) -> None:
        self.policy = message
        if message.chunks == self._last_chunk or not message.chunks:
            return
        self._last_chunk = message.chunks
        self.stages.setdefault("observation_age", []).append(message.observation_age * 1e3)
        for name, seconds in zip(message.stages, message.stage_times, strict=False):
            self.stages.setdefault(name, []).append(seconds * 1e3)

    def ready(self) -> bool:
        """The arm went to where tasks begin and holds there, and the policy waits for a task."""
        return self._moved and self.waiting()

    def waiting(self) -> bool:
        """The arm holds, nobody has the lease, and the policy waits for a task."""
        return (
            self.arm is not None and self.arm.state == "HOLDING" and self.arm.source == "none" and self._policy_idle()
        )

    def forget_motion(self) -> None:
        """Count motion from here on only."""
        self._moved = False

    def policy_state(self) -> str:
        """Of policy/status; empty before the first."""
        return str(self.policy.state) if self.policy is not None else ""

    def _policy_idle(self) -> bool:
        return self.policy_state() in ("IDLE", "RUNNING", "WAITING")

    def why_not_ready(self) -> str:
        """Who is not."""
        arm = "no arm/status" if self.arm is None else f"arm {self.arm.state} ({self.arm.reason})"
        policy = "no policy/status" if self.policy is None else f"policy {self.policy.state} ({self.policy.reason})"
        return f"{arm}, {policy}"

    def moving(self) -> bool:
        """The driver has moved the arm since this began."""
        return self._moved

    def why_not_moving(self) -> str:
        """Why the arm stands still, as far as the nodes say."""
        counts = dict(zip(self.arm.reasons, self.arm.reason_counts, strict=False)) if self.arm else {}
        refused = self.policy.refused if self.policy else 0
        return f"{self.why_not_ready()}; driver's reasons {counts}; chunks refused by the token gate {refused}"

    def number(self, node: str, key: str) -> float:
        """A value of a node's diagnostics; NaN when it never said it."""
        try:
            return float(self.values.get(node, {}).get(key, "nan"))
        except ValueError:
            return float("nan")

    def published(self) -> dict[str, int]:
        """Topic -> messages published, over all nodes."""
        return self._sum("published:")

    def received(self, node: str) -> dict[str, int]:
        """Topic -> messages `node` received."""
        prefix = "received:"
        return {k[len(prefix) :]: int(v) for k, v in self.values.get(node, {}).items() if k.startswith(prefix)}

    def all_matched(self) -> bool:
        """Every publisher of every node knows all the subscriptions that this process has discovered for its topics."""
        for entry in list(self.values.values()):
            for key, value in list(entry.items()):
                topic = key.removeprefix("subscribers:")
                if topic != key and int(value) < self._count_subscribers(topic):
                    return False
        return bool(self.values)

    def _sum(self, prefix: str) -> dict[str, int]:
        total: dict[str, int] = {}
        for entry in self.values.values():
            for key, value in entry.items():
                if key.startswith(prefix):
                    total[key[len(prefix) :]] = total.get(key[len(prefix) :], 0) + int(value)
        return total

    def watch_processes(self, pids: dict[str, int]) -> None:
        """Sample memory once a second, and CPU over the whole time, until `stop_watching`."""
        processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        begin = time.monotonic()
        used = {name: sum(p.cpu_times()[:2]) for name, p in processes.items()}

        def loop() -> None:
            while not self._stop.wait(1.0):
                for name, process in processes.items():
                    try:
                        self.rss_mb[name] = max(self.rss_mb.get(name, 0.0), round(process.memory_info().rss / 1e6, 1))
                        seconds = sum(process.cpu_times()[:2]) - used[name]
                        self.cpu_percent[name] = round(100 * seconds / (time.monotonic() - begin), 1)
                    except psutil.Error:
                        continue

        self._watcher = threading.Thread(target=loop, daemon=True)
        self._watcher.start()

    def stop_watching(self) -> None:
        """End the sampling."""
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join(timeout=2.0)
