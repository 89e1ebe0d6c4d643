"""A node of the test in a context of its own, and how a process that it talks to is ended."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

TIMEOUT = 20.0  # [s] far beyond what anything waits for


class RosEar:
    """Spins its node only while it waits."""

    def __init__(self, make: Callable[[Context], Node] = lambda context: Node("tester", context=context)) -> None:
        self.context = Context()
        rclpy.init(context=self.context)
        self.node = make(self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)

    def until(self, condition: Callable[[], object], what: str, timeout: float = TIMEOUT) -> None:
        """Wait, or fail with what was waited for."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
            self.executor.spin_once(timeout_sec=0.02)

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """Call a service and wait for its answer."""
        client = self.node.create_client(kind, name)
        self.until(client.service_is_ready, name)
        future = client.call_async(request)
        self.until(future.done, f"the answer of {name}")
        self.node.destroy_client(client)
        return future.result()

    def close(self) -> None:
        """Leave the domain."""
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, and see to it."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
