"""The recorder as a process, with real publishers over DDS."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from reconvla_ros.msg import RecordState, TaskState
from reconvla_ros.srv import RecordStart, RecordStop
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

from reconvla_ros.nodes import qos
from reconvla_ros.nodes.taps import Tap
from reconvla_ros.recording.settings import RecordedTopic

pytestmark = pytest.mark.graph
TIMEOUT = 20.0  # [s] far beyond what anything here takes


class Client:
    """A node of the test: publishes, calls the services, keeps the last record/state."""

    def __init__(self) -> None:
        self.context = Context()
        rclpy.init(context=self.context)
        self.node = Node("tester", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.states: list[RecordState] = []
        self.node.create_subscription(RecordState, "record/state", self.states.append, qos.LATCHED)

    def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not condition():
            assert time.monotonic() < deadline, f"waited {TIMEOUT} s for {what}"
            self.executor.spin_once(timeout_sec=0.05)

    def call(self, kind: Any, name: str, request: Any) -> Any:
        client = self.node.create_client(kind, name)
        self.until(client.service_is_ready, name)
        future = client.call_async(request)
        self.until(future.done, f"the answer of {name}")
        self.node.destroy_client(client)
        return future.result()

    def start(self, **fields: Any) -> Any:
        return self.call(RecordStart, "record/start", RecordStart.Request(**fields))

    def stop(self, **fields: Any) -> Any:
        return self.call(RecordStop, "record/stop", RecordStop.Request(**fields))

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def client(domain: int) -> Iterator[Client]:
    client = Client()
    yield client
    client.close()


Launch = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def recorder(domain: int, tmp_path: Path) -> Iterator[Launch]:
    """Starts the node; whatever the test leaves is ended."""
    running: list[subprocess.Popen[bytes]] = []

    def launch(*parameters: str) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "reconvla_ros.nodes.recorder_node", "--ros-args", "-r", "__node:=recorder"]
        for parameter in (f"folder:={tmp_path}", "state_rate:=20.0", *parameters):
            words += ["-p", parameter]
        # Not from the checkout: `-m` would take the package there, which has no generated messages.
        running.append(subprocess.Popen(words, cwd=tmp_path))
        return running[-1]

    yield launch
    for process in running:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def counts_in(folder: Path) -> dict[str, int]:
    """Messages per topic as an independent reader finds them."""
    rosbag2 = pytest.importorskip("rosbags.rosbag2")
    found: dict[str, int] = {}
    with rosbag2.Reader(folder) as reader:
        for connection, _, _ in reader.messages():
            found[connection.topic] = found.get(connection.topic, 0) + 1
        assert found == {c.topic: c.msgcount for c in reader.connections if c.msgcount}
    return found


def test_an_episode_holds_every_message_that_was_published(client: Client, recorder: Launch, tmp_path: Path) -> None:
    joints = client.node.create_publisher(JointState, "joint_states", qos.STATE)
    image = client.node.create_publisher(Image, "camera_base/color/image_raw", qos.IMAGE)
    loose = client.node.create_publisher(Image, "camera_wrist/color/image_raw", QoSProfile(
        depth=10, reliability=ReliabilityPolicy.BEST_EFFORT))  # fmt: skip
    description = client.node.create_publisher(String, "robot_description", qos.LATCHED)
    description.publish(String(data="<robot/>"))
    recorder()
    answer = client.start(instruction="put fruit in bowl", operator_name="Ada", tags=["a"])
    assert answer.accepted, answer.message
    folder = Path(answer.path)
    assert folder.parent == tmp_path
    client.until(lambda: joints.get_subscription_count() and image.get_subscription_count()
                 and loose.get_subscription_count(), "the taps")  # fmt: skip
    pixels = Image(height=48, width=64, encoding="rgb8", step=192, data=bytes(9216))
    for i in range(300):
        joints.publish(JointState(name=["joint1"], position=[float(i)]))
        if i % 10 == 0:
            image.publish(pixels)
            loose.publish(pixels)
        time.sleep(0.001)
    assert client.start(instruction="again").message.startswith(f"episode {folder.name} is open")
    assert "did you mean 'success'" in client.stop(outcome="succes").message
    done = client.stop(outcome="success")
    assert done.accepted, done.message
    found = counts_in(folder)
    wanted = {"/joint_states": 300, "/camera_base/color/image_raw": 30, "/camera_wrist/color/image_raw": 30}
    assert {name: found.get(name, 0) for name in wanted} == wanted
    assert found["/robot_description"] == 1
    sidecar = json.loads((folder / "episode.json").read_text())
    assert (sidecar["outcome"], sidecar["operator"], sidecar["dropped"]) == ("success", "Ada", {})
    assert sidecar["counts"]["/joint_states"] == 300
    client.until(lambda: client.states and not client.states[-1].recording, "record/state to say that it ended")
    shown = next(s for s in client.states if s.recording and s.instruction == "put fruit in bowl")
    assert len(shown.topics) == len(shown.counts) == len(shown.rates) == len(shown.dropped)


def test_refusals_name_the_reason_and_a_task_lends_its_instruction(client: Client, recorder: Launch) -> None:
    task = client.node.create_publisher(TaskState, "task/state", qos.LATCHED)
    recorder()
    assert client.stop().message == "no episode is open; call record/start first"
    refused = client.start(instruction=" ")
    assert not refused.accepted
    assert "1 to 500 characters, got 0" in refused.message
    task.publish(TaskState(state="RUNNING", instruction="open the drawer"))
    client.until(lambda: client.start().accepted, "the recorder to hear of the task")
    client.until(lambda: client.states and client.states[-1].instruction == "open the drawer", "record/state")
    folder = Path(client.states[-1].path)
    discarded = client.stop(discard=True)
    assert (discarded.accepted, discarded.path) == (True, "")
    assert not folder.exists()
    assert list(folder.parent.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_closes_the_bag(client: Client, recorder: Launch, tmp_path: Path, number: signal.Signals) -> None:
    process = recorder("record_at_start:=true", "instruction:=at start")
    publisher = client.node.create_publisher(JointState, "joint_states", qos.STATE)
    client.until(lambda: client.states and client.states[-1].recording, "the episode to open")
    client.until(publisher.get_subscription_count, "the tap")
    for _ in range(20):
        publisher.publish(JointState())
    client.until(lambda: dict(zip(client.states[-1].topics, client.states[-1].counts, strict=True)).get(
        "/joint_states") == 20, "20 messages")  # fmt: skip
    process.send_signal(number)
    assert process.wait(10) == 0
    (folder,) = tmp_path.iterdir()
    assert counts_in(folder)["/joint_states"] == 20
    sidecar = json.loads((folder / "episode.json").read_text())
    assert (sidecar["outcome"], sidecar["instruction"], sidecar["ended"] != "") == ("unlabeled", "at start", True)


def test_a_folder_that_cannot_be_written_is_named(client: Client, recorder: Launch, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    recorder(f"folder:={blocked}")
    refused = client.start(instruction="x")
    assert not refused.accepted
    assert f"bag folder {blocked}/" in refused.message
    assert "cannot be made: Not a directory" in refused.message


def test_gaps_in_the_count_of_one_publisher_are_losses() -> None:
    tap = Tap(RecordedTopic("/a", "std_msgs/msg/String"), String, None, publishers=1)
    for sequence in (5, 6, 9, 10, 1, 2):  # 7 and 8 lost; then the publisher started anew
        tap.note_sequence(sequence)
    assert tap.lost == 2
    shared = Tap(RecordedTopic("/tf", "tf2_msgs/msg/TFMessage"), String, None, publishers=2)
    for sequence in (5, 900, 6):
        shared.note_sequence(sequence)
    assert shared.lost == 0


def test_a_type_that_is_not_installed_is_named_and_nothing_is_left(
    client: Client, recorder: Launch, tmp_path: Path
) -> None:
    recorder("extra:=['extra/topic no_such_msgs/msg/Nothing']")
    refused = client.start(instruction="x")
    assert not refused.accepted
    assert "no definition of no_such_msgs/msg/Nothing" in refused.message
    assert list(tmp_path.iterdir()) == []
