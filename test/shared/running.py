"""A running graph as the tests see it: processes, a ROS client, and an ear on the CAN bus."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import can
import numpy as np

from reconvla_ros.cli.client import Client, wait_until
from reconvla_ros.cli.monitor import Monitor
from reconvla_ros.cli.supervise import Supervisor
from reconvla_ros.graph import describe
from reconvla_ros.sim import frames
from reconvla_ros.sim.bus import DEFAULT_GROUP


class BusEar:
    """Hears the bus as the arm and the host speak on it; independent of driver and SDK."""

    def __init__(self, port: int) -> None:
        self._bus = can.Bus(interface="udp_multicast", channel=DEFAULT_GROUP, port=port)
        self._newest: dict[int, bytes] = {}
        self._at: dict[int, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        wanted = (0x2A5, 0x2A6, 0x2A7, *range(0x261, 0x267))
        assert wait_until(lambda: all(i in self._newest for i in wanted), 5.0), "no arm speaks on the bus"

    def _run(self) -> None:
        while not self._stop.is_set():
            message = self._bus.recv(0.1)
            if message is not None:
                self._newest[message.arbitration_id] = bytes(message.data)
                self._at[message.arbitration_id] = time.monotonic()

    def age(self, can_id: int) -> float:
        """Seconds since the id was heard; infinite when it never was."""
        return time.monotonic() - self._at[can_id] if can_id in self._at else float("inf")

    def values(self, can_id: int) -> dict[str, float]:
        """The newest frame of an id, decoded."""
        return frames.decode(can_id, self._newest[can_id])

    def joints(self) -> np.ndarray:
        """Measured joints [rad] (6,)."""
        return np.array([v for can_id in (0x2A5, 0x2A6, 0x2A7) for v in self.values(can_id).values()])

    def targets(self) -> np.ndarray:
        """Commanded joints [rad] (6,)."""
        return np.array([v for can_id in (0x155, 0x156, 0x157) for v in self.values(can_id).values()])

    def enabled(self) -> list[bool]:
        """Motor power of joint1..joint6 (foc bit 6 of 0x261..0x266)."""
        return [bool(self._newest[can_id][5] >> 6 & 1) for can_id in range(0x261, 0x267)]

    def still(self, seconds: float = 0.5, within: float = 0.002) -> bool:
        """Whether no joint moves more than `within` [rad] in `seconds`."""
        before = self.joints()
        time.sleep(seconds)
        return bool(np.max(np.abs(self.joints() - before)) < within)

    def close(self) -> None:
        """Stop listening."""
        self._stop.set()
        self._thread.join(timeout=1.0)
        self._bus.shutdown()


class Graph:
    """Processes of one graph in a domain and on a bus of their own."""

    def __init__(self, folder: Path, domain: int, port: int) -> None:
        self.folder, self.domain, self.port = folder, domain, port
        self.supervisor = Supervisor(folder / "run", quiet=True)
        self._client: Client | None = None
        self._monitor: Monitor | None = None
        self._ear: BusEar | None = None

    def start(self, *names: str, **arguments: str) -> Graph:
        """Start nodes (all when none is named) and wait until they are active."""
        given = {
            "sim_port": str(self.port),
            "record_folder": str(self.folder / "episodes"),
            "camera_rate": "10",
        } | arguments
        specs = [s for s in describe(given) if not names or s.name in names]
        self.supervisor.start(specs)
        self.supervisor.wait_ready(90.0)
        return self

    @property
    def client(self) -> Client:
        """A ROS client in the graph's domain."""
        if self._client is None:
            self._client = Client("test")
        return self._client

    @property
    def monitor(self) -> Monitor:
        """What the nodes say of themselves."""
        if self._monitor is None:
            self._monitor = Monitor(self.client)
        return self._monitor

    @property
    def ear(self) -> BusEar:
        """The CAN bus."""
        if self._ear is None:
            self._ear = BusEar(self.port)
        return self._ear

    def pid(self, name: str) -> int:
        """Process of a node."""
        return self.supervisor.running[name].process.pid

    def log(self, name: str) -> str:
        """What a node has said."""
        return (self.folder / "run" / f"{name}.log").read_text()

    def wait(self, condition: Callable[[], Any], what: str | Callable[[], str], timeout: float = 30.0) -> None:
        """Wait, or fail with what was waited for (a callable is asked then) and what the nodes say."""
        if not wait_until(lambda: bool(condition()), timeout):
            text = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {timeout:g} s: {text}; {self.monitor.why_not_moving()}")

    def close(self) -> None:
        """Leave nothing behind."""
        for part in (self._ear, self._client):
            if part is not None:
                part.close()
        self.supervisor.stop()
