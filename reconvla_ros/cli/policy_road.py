"""The graph with cameras made up here: what becomes of each image on its way to the bus. Run by B14 of `reconvla bench policy`.

``python -m reconvla_ros.cli.policy_road SECONDS FILE`` writes the JSON that `bench.policy_end_to_end.figure` reads.
"""

from __future__ import annotations

import bisect
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import can

from reconvla_ros.bench.policy_images import scene
from reconvla_ros.cli.client import Client, connected, wait_until
from reconvla_ros.cli.monitor import Monitor
from reconvla_ros.cli.network import free_domain, free_udp_port
from reconvla_ros.cli.supervise import Supervisor
from reconvla_ros.errors import SetupError
from reconvla_ros.graph import CAMERAS, describe
from reconvla_ros.sim.bus import DEFAULT_GROUP

_NODES = ("simulator", "driver", "task", "policy")
_UP = 120.0  # [s] for the nodes to come up and the arm to get ready
_RATE = 30.0  # [Hz] of the cameras
_STATUS_RATE = 50.0  # [Hz] so that every chunk's stages are heard
_TARGETS = (0x155, 0x156, 0x157)  # CAN ids of joint targets


class Cameras:
    """Two cameras whose images are made before they are needed: capture is the stamp."""

    def __init__(self, node: Any) -> None:
        from sensor_msgs.msg import Image

        from reconvla_ros.nodes import qos

        self._ways = [(node.create_publisher(Image, f"{name}/color/image_raw", qos.IMAGE), scene(index), name)
                      for index, name in enumerate(CAMERAS)]  # fmt: skip
        self.sent: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        from reconvla_ros.nodes.serialized import image_bytes

        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due += 1.0 / _RATE
            stamp = time.time_ns()
            for publisher, image, name in self._ways:
                publisher.publish(image_bytes(image, "rgb8", stamp, f"{name}_color_optical_frame"))
            self.sent.append((time.time_ns() - stamp) / 1e9)

    def close(self) -> None:
        """No more images."""
        self._stop.set()
        self._thread.join()


class Ear:
    """Chunks, traces and the bus, each with its time [ns]."""

    def __init__(self, client: Client, port: int) -> None:
        from reconvla_ros.msg import ActionChunk, ActionTrace, PolicyStatus
        from reconvla_ros.nodes import qos

        self.published: dict[tuple[str, int], tuple[int, int]] = {}  # chunk -> capture, publishing
        self.ticked: dict[tuple[str, int], int] = {}  # chunk -> the first tick it moved the arm
        self.stages: dict[str, dict[str, float]] = {}  # chunk -> stage -> [s]
        self._told = 0  # chunks that policy/status has told of
        self.frames: list[int] = []
        client.node.create_subscription(ActionChunk, "policy/action_chunk", self._on_chunk, qos.COMMAND)
        client.node.create_subscription(ActionTrace, "arm/action_trace", self._on_trace, qos.STATE)
        client.node.create_subscription(PolicyStatus, "policy/status", self._on_status, qos.STATUS)
        self._bus = can.Bus(interface="udp_multicast", channel=DEFAULT_GROUP, port=port)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._hear, daemon=True)
        self._thread.start()

    def _on_chunk(self, message: Any, info: dict[str, int]) -> None:
        from reconvla_ros.nodes.convert import from_time

        if message.poses:  # one without steps takes back the one before
            self.published[message.task_id, message.sequence] = (
                from_time(message.header.stamp),
                info["source_timestamp"],
            )

    def _on_status(self, message: Any) -> None:
        """The stages of the newest chunk: status is published much more often than chunks, and after them."""
        if message.chunks == self._told or not self.published:
            return
        self._told = message.chunks
        task, sequence = max(self.published, key=lambda key: self.published[key][1])
        self.stages[f"{task}:{sequence}"] = dict(
            zip(message.stages, (float(t) for t in message.stage_times), strict=False)
        )

    def _on_trace(self, message: Any) -> None:
        from reconvla_ros.nodes.convert import from_time

        moved = message.verdict != message.REFUSED and message.applied_position[0] == message.applied_position[0]
        if message.source == "policy" and message.chunk_step >= 0 and moved:
            self.ticked.setdefault((message.task_id, message.chunk_sequence), from_time(message.header.stamp))

    def _hear(self) -> None:
        while not self._stop.is_set():
            frame = self._bus.recv(0.1)
            if frame is not None and frame.arbitration_id in _TARGETS:
                self.frames.append(round(frame.timestamp * 1e9))  # the kernel's, not this thread's

    def close(self) -> None:
        """Stop listening."""
        self._stop.set()
        self._thread.join()
        self._bus.shutdown()

    def chunks(self) -> dict[str, list[int]]:
        """Every chunk that moved the arm -> capture, publishing, first tick, first bus frame of that tick [ns]."""
        frames, found = sorted(self.frames), {}
        for key, tick in self.ticked.items():
            place = bisect.bisect_left(frames, tick)
            if key in self.published and place < len(frames):
                found[f"{key[0]}:{key[1]}"] = [*self.published[key], tick, frames[place]]
        return found


def run(seconds: float) -> dict[str, Any]:
    """So many seconds of motion for one task.

    Raises:
        SetupError: the graph does not come up, or the task is refused.
    """
    port = free_udp_port()
    os.environ |= {"ROS_DOMAIN_ID": str(free_domain()), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    specs = [spec for spec in describe({"sim_port": str(port)}) if spec.name in _NODES]
    for spec in specs:
        if spec.name == "policy":
            spec.parameters["status_rate"] = _STATUS_RATE
    with tempfile.TemporaryDirectory() as folder, Supervisor(Path(folder) / "run", quiet=True) as supervisor:
        supervisor.start(specs)
        supervisor.wait_ready(_UP)
        with connected("road") as client:
            monitor, cameras = Monitor(client), Cameras(client.node)
            ear = Ear(client, port)
            try:
                _move(client, monitor, seconds)
            finally:
                cameras.close()
                ear.close()
    return {"chunks": ear.chunks(), "stages": ear.stages, "sent": cameras.sent}


def _move(client: Client, monitor: Monitor, seconds: float) -> None:
    from reconvla_ros.srv import Task

    # The arm may have got ready while the policy was still loading, before anybody here listened.
    if not wait_until(lambda: monitor.waiting() and monitor.arm.commands_passed > 0, _UP):
        raise SetupError(f"the arm did not get to where tasks begin: {monitor.why_not_ready()}")
    answers: list[Any] = []

    def accepted() -> bool:
        answers.append(client.call(Task, "task", Task.Request(instruction="put fruit in bowl", timeout=seconds + _UP)))
        return bool(answers[-1].accepted)

    if not wait_until(accepted, 10.0):
        raise SetupError(f"the task was refused: {answers[-1].message}")
    time.sleep(seconds)


def main(words: list[str]) -> int:
    """0 = the file is written."""
    Path(words[1]).write_text(json.dumps(run(float(words[0]))), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
