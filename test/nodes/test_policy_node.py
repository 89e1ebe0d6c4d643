"""The policy process over DDS: rests without a task, answers with one, stops with it, refuses a wrong folder."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("reconvla_ros.msg", reason="needs the built workspace")

import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.serialization import serialize_message
from reconvla_ros.msg import ActionChunk, PolicyStatus, TaskState
from safetensors.torch import save_file
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_srvs.srv import Trigger

from reconvla_ros.errors import ShapeError
from reconvla_ros.nodes import convert, qos, serialized
from reconvla_ros.policy.contract import template
from reconvla_ros.types import ArmState, Pose

pytestmark = pytest.mark.timeout(240)  # a process that imports torch on a busy machine takes its time
CAMERAS = ("camera_base", "camera_wrist")
TCP = Pose(np.array([0.3, 0.0, 0.2]), np.array([0.0, 1.0, 0.0, 0.0]))


class World:
    """Cameras, arm and task node of a made-up robot, and ears for the policy."""

    def __init__(self) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("world", context=self.context)
        self.executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        make = self.node.create_publisher
        topics = [f"{c}/{s}/image_raw" for c in CAMERAS for s in ("color", "aligned_depth_to_color")]
        self.images = {t: make(Image, t, qos.IMAGE) for t in topics}
        self.joints, self.tcp = make(JointState, "joint_states", qos.STATE), make(PoseStamped, "arm/ee_pose", qos.STATE)
        self.task = make(TaskState, "task/state", qos.LATCHED)
        self.status: PolicyStatus | None = None
        self.states: list[str] = []  # as they changed
        self.chunks: list[ActionChunk] = []
        self.targets: list[PoseStamped] = []
        self.pictures: dict[str, Image] = {}
        for topic in ("policy/attention_raw", "policy/attention"):
            self.node.create_subscription(Image, topic, partial(self.pictures.__setitem__, topic), qos.STATUS)
        self.counts: dict[str, str] = {}
        self.seeing = True  # the wrist camera gives images
        self.node.create_subscription(PoseStamped, "policy/ee_pose", self.targets.append, qos.STATUS)
        self.node.create_subscription(PolicyStatus, "policy/status", self._on_status, qos.STATUS)
        self.node.create_subscription(ActionChunk, "policy/action_chunk", self.chunks.append, qos.COMMAND)
        self.node.create_subscription(DiagnosticArray, "diagnostics", self._on_diagnostics, qos.STATUS)
        self.node.create_timer(1 / 20, self._publish)

    def _on_status(self, message: PolicyStatus) -> None:
        self.status = message
        if not self.states or self.states[-1] != message.state:
            self.states.append(message.state)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.counts = {v.key: v.value for v in message.status[0].values}

    def _publish(self) -> None:
        stamp = self.node.get_clock().now().nanoseconds
        arm = ArmState(stamp, np.array([0, 1.5, -1, 0, 0.5, 0]), np.zeros(6), np.zeros(6), 0.03)
        self.joints.publish(convert.to_joint_state(arm))
        self.tcp.publish(convert.to_pose_stamped(TCP, stamp))
        for topic, publisher in self.images.items():
            if "wrist" in topic and not self.seeing:
                continue
            depth = "depth" in topic
            shade = np.full((48, 64), stamp % 250, np.uint16 if depth else np.uint8)
            pixels = shade if depth else np.dstack([shade] * 3)
            publisher.publish(convert.to_image(pixels, "16UC1" if depth else "rgb8", stamp, "x"))

    def say(self, state: str, task_id: str) -> None:
        self.task.publish(TaskState(state=state, task_id=task_id, instruction="put fruit in bowl"))

    def until(self, condition: Callable[[], bool], seconds: float = 90.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not reached; last status {self.status}"
            self.executor.spin_once(timeout_sec=0.05)

    def call(self, kind: type, name: str, request: object) -> Any:
        client = self.node.create_client(kind, name)
        self.until(client.service_is_ready)
        future = client.call_async(request)
        self.until(future.done)
        return future.result()

    def transition(self, number: int) -> bool:
        return bool(
            self.call(ChangeState, "policy/change_state", ChangeState.Request(transition=Transition(id=number))).success
        )

    def is_state(self, state: str) -> bool:
        return self.status is not None and self.status.state == state

    def close(self) -> None:
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def world(domain: int) -> Iterator[World]:
    made = World()
    yield made
    made.close()


@pytest.fixture
def start(domain: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., subprocess.Popen]]:
    monkeypatch.setenv("RECONVLA_HOME", str(tmp_path / "home"))
    running: list[subprocess.Popen] = []

    def launch(*parameters: str) -> subprocess.Popen:
        words = [w for p in ("simulated:=true", "device:=cpu", *parameters) for w in ("-p", p)]
        command = [sys.executable, "-m", "reconvla_ros.nodes.policy_node", "--ros-args", *words]
        log = (tmp_path / "log").open("w")
        running.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=tmp_path))
        return running[-1]

    yield launch
    for process in running:
        process.kill()
        process.wait()


@pytest.mark.graph
def test_a_task_from_start_to_end(world: World, start: Callable[..., subprocess.Popen], tmp_path: Path) -> None:
    process = start("rate:=10.0")
    world.until(lambda: world.status is not None and world.status.state == "IDLE")
    assert "RANDOM weights" in (tmp_path / "log").read_text()
    assert world.status is not None and world.status.checkpoint_kind == "random"
    world.until(lambda: int(world.counts.get("received:camera_base/color/image_raw", 0)) > 5)
    assert not world.chunks  # images alone move nothing

    world.say("RUNNING", "task-7")
    world.until(lambda: len(world.chunks) >= 3)
    chunk = convert.from_chunk(world.chunks[-1])
    assert chunk.task_id == "task-7" and chunk.steps == 5 and len(chunk.token_ids) == 35
    np.testing.assert_allclose(chunk.anchor.position, TCP.position)
    world.until(lambda: len(world.pictures) == 2 and bool(world.targets))
    raw, overlay = (convert.from_image(world.pictures[n]) for n in ("policy/attention_raw", "policy/attention"))
    assert raw.shape == (27, 27) and raw.sum() == pytest.approx(1.0, abs=1e-4)
    assert overlay.shape == (334, 334, 3)
    targets = [convert.from_pose(m.pose).position for m in world.targets]
    planned = np.vstack([convert.from_chunk(c).positions for c in world.chunks])
    assert np.abs(planned - targets[0]).max(axis=1).min() < 1e-9
    world.until(lambda: world.status is not None and world.status.state == "RUNNING" and world.status.chunks > 0)
    assert world.status.stages[0] == "wait" and world.status.stages[-1] == "publish"
    assert world.states[0] == "LOADING" and world.states.index("LOADING") < world.states.index("IDLE")
    status = world.status
    assert len(status.step_probability) == len(status.step_margin) == len(status.step_entropy) == 5
    assert status.confidence_min == min(status.step_probability)
    assert min(status.step_margin) >= 0.0 and max(status.step_entropy) <= np.log(256) + 1e-6
    assert status.passes > 0

    world.say("CANCELED", "task-7")
    world.until(lambda: world.status is not None and world.status.state == "IDLE")
    made = len(world.chunks)
    seen = int(world.counts["received:camera_wrist/color/image_raw"])
    world.until(lambda: int(world.counts["received:camera_wrist/color/image_raw"]) > seen + 20)
    assert len(world.chunks) == made
    for topic in world.images:
        assert int(world.counts[f"received:{topic}"]) > 20, topic

    process.send_signal(signal.SIGINT)
    assert process.wait(15) == 0


@pytest.mark.graph
def test_a_camera_that_goes_silent_takes_the_chunk_back(world: World, start: Callable[..., subprocess.Popen]) -> None:
    """A chunk that slow inference had stretched went on after its camera had frozen, until its own end."""
    start(
        "rate:=10.0", "duty:=0.05", "prefix:=off"
    )  # hardly any inference: steps are stretched, chunks last for seconds
    world.until(lambda: world.is_state("IDLE"))
    world.say("RUNNING", "t")
    world.until(lambda: len(world.chunks) >= 2 and world.chunks[-1].step_dt.nanosec > 200_000_000)
    world.seeing = False
    world.until(lambda: not world.chunks[-1].poses, 5.0)
    taken = world.chunks[-1]
    assert (taken.task_id, taken.sequence) == ("t", world.chunks[-2].sequence)
    assert not taken.gripper and taken.header.frame_id == "base_link"
    world.seeing = True
    world.until(lambda: len(world.chunks[-1].poses) == 5)


@pytest.mark.graph
def test_no_chunk_without_the_second_camera(world: World, start: Callable[..., subprocess.Popen]) -> None:
    del world.images["camera_wrist/color/image_raw"]
    start()
    world.until(lambda: world.status is not None and world.status.state == "IDLE")
    world.say("RUNNING", "task-1")
    world.until(lambda: world.status is not None and world.status.state == "WAITING")
    assert world.status is not None and "camera wrist missing" in world.status.reason
    assert not world.chunks


@pytest.mark.graph
@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ("checkpoint:=/nowhere", "/nowhere does not exist"),
        ("duty:=2.0", "duty: must be in 0.01..1"),
        ("dutty:=0.1", "did you mean 'duty'"),
    ],
)
def test_bad_parameters_end_the_process(
    parameter: str, said: str, start: Callable[..., subprocess.Popen], tmp_path: Path
) -> None:
    assert start(parameter).wait(40) == 2
    assert said in (tmp_path / "log").read_text()


@pytest.mark.graph
def test_a_checkpoint_that_cannot_be_loaded_is_a_fault_and_can_be_tried_again(
    world: World, start: Callable[..., subprocess.Popen], tmp_path: Path
) -> None:
    """What is wrong shows only when it is read: the process stays, says why, and does not take part."""
    folder = tmp_path / "hollow"
    folder.mkdir()
    (folder / "contract.yaml").write_text(template())
    save_file({"x": torch.zeros(1)}, folder / "model.safetensors")
    process = start(f"checkpoint:={folder}")
    world.until(lambda: world.is_state("FAULT"))
    assert world.status is not None and str(folder) in world.status.reason and world.status.checkpoint == str(folder)
    assert "every task is refused" in (tmp_path / "log").read_text()
    world.say("RUNNING", "task-1")
    seen = int(world.counts.get("received:camera_base/color/image_raw", 0))
    world.until(lambda: int(world.counts.get("received:camera_base/color/image_raw", 0)) > seen + 10)
    assert world.is_state("FAULT") and not world.chunks
    # As `ros2 lifecycle set` would: down, and up again.
    for number in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP, Transition.TRANSITION_CONFIGURE):
        assert world.transition(number), number
    process.send_signal(signal.SIGINT)
    assert process.wait(15) == 0


@pytest.mark.graph
def test_a_node_that_is_given_back_while_it_loads_can_load_again(
    world: World, start: Callable[..., subprocess.Popen]
) -> None:
    start("autostart:=false", "rate:=10.0")
    world.until(lambda: world.counts.get("active") == "False")
    configure, cleanup = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
    assert world.transition(configure) and world.transition(cleanup)
    assert world.transition(configure)
    world.say("RUNNING", "task-3")  # before it is active, and before it is loaded
    assert world.transition(Transition.TRANSITION_ACTIVATE)
    world.until(lambda: bool(world.chunks))
    assert world.states[0] in ("LOADING", "WARMING_UP")
    # Each topic is heard once, although it was subscribed to twice: chunks come from one worker.
    assert len({c.sequence for c in world.chunks}) == len(world.chunks)
    assert world.transition(Transition.TRANSITION_DEACTIVATE) and world.transition(cleanup)


@pytest.mark.graph
def test_ctrl_c_ends_a_node_that_loads(world: World, start: Callable[..., subprocess.Popen]) -> None:
    process = start()
    world.until(lambda: world.is_state("LOADING"))
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    assert world.states == ["LOADING"]


@pytest.mark.graph
def test_in_doubt_it_asks_a_person(world: World, start: Callable[..., subprocess.Popen]) -> None:
    start("rate:=10.0", "low_confidence:=ask", "confidence_threshold:=0.9")  # random weights are never so sure
    world.until(lambda: world.is_state("IDLE"))
    assert not world.call(Trigger, "policy/confirm", Trigger.Request()).success
    world.say("RUNNING", "task-5")
    world.until(lambda: world.is_state("WAITING"))
    assert world.status is not None
    assert world.status.reason.startswith("low confidence: probability") and "policy/confirm" in world.status.reason
    assert world.status.doubted == 1 and not world.chunks and min(world.status.step_probability) < 0.9
    answer = world.call(Trigger, "policy/confirm", Trigger.Request())
    assert answer.success and "task-5" in answer.message
    world.until(lambda: len(world.chunks) >= 2)
    assert {c.task_id for c in world.chunks} == {"task-5"}


@pytest.mark.graph
def test_inference_that_takes_too_long_stops_nothing_but_itself(
    world: World, start: Callable[..., subprocess.Popen]
) -> None:
    start("rate:=10.0", "duty:=1.0", "inference_timeout:=0.05", "status_rate:=50.0")  # on a CPU it always does
    world.until(lambda: world.is_state("IDLE"))
    world.say("RUNNING", "task-1")
    world.until(lambda: world.is_state("FAULT"))
    assert world.status is not None and "inference stalled" in world.status.reason
    world.until(lambda: world.status is not None and world.status.dropped >= 2)
    assert not world.chunks


def test_stamps_are_read_without_deserialising() -> None:
    for message in (Image(), JointState(), PoseStamped(), CompressedImage()):
        message.header.stamp = convert.to_time(1_700_000_000_123_456_789)
        message.header.frame_id = "somewhere"
        assert serialized.stamp_of(serialize_message(message)) == 1_700_000_000_123_456_789


def test_thinned_passes_by_stamp_and_tells_of_refusals() -> None:
    passed: list[int] = []
    told: list[str] = []

    def use(data: bytes) -> None:
        passed.append(serialized.stamp_of(data))
        raise ShapeError("joint_states: missing joint3")

    callback = serialized.thinned(use, 15, told.append)
    for stamp in (100, 110, 114, 115, 131, 90, 1):
        callback(serialize_message(JointState(header=convert.header(stamp, ""))))
    assert passed == [100, 110, 131, 90, 1]  # slots of 15: 6, 7, 8, 6, 0
    assert told == ["joint_states: missing joint3"]


def test_pictures_of_both_kinds() -> None:
    rng = np.random.default_rng(0)
    rgb = np.repeat(np.repeat(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), 8, 0), 8, 1)
    raw = serialize_message(convert.to_image(np.ascontiguousarray(rgb[..., ::-1]), "bgr8", 5, "x"))
    np.testing.assert_array_equal(serialized.raw_to_rgb(raw), rgb)
    import io

    from PIL import Image as PilImage

    file = io.BytesIO()
    PilImage.fromarray(rgb).save(file, "PNG")
    packed = serialize_message(CompressedImage(format="png", data=file.getvalue()))
    np.testing.assert_array_equal(serialized.compressed_to_rgb(packed), rgb)
    with pytest.raises(ShapeError, match=r"compressed image \('jpeg', 3 bytes\)"):
        serialized.compressed_to_rgb(serialize_message(CompressedImage(format="jpeg", data=b"abc")))
