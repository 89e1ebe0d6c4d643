"""Live and recorded data give equal Observations: the same messages over DDS, through the policy's inputs, and out of the bag.

What once differed: the live side kept a joint state each 15 ms counted from the first it heard, so two listeners kept others.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("reconvla_ros.msg", reason="needs the built workspace")

from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from reconvla_ros.msg import RecordState
from reconvla_ros.srv import RecordStart, RecordStop
from ros_ear import RosEar, end  # type: ignore[import-not-found]
from sensor_msgs.msg import Image, JointState

from reconvla_ros.dataset.bag_reader import BagReader, kind_of
from reconvla_ros.dataset.frame import Request
from reconvla_ros.errors import ObservationError
from reconvla_ros.nodes import convert, qos
from reconvla_ros.nodes.policy_inputs import PolicyInputs
from reconvla_ros.observation.assemble import AssemblyLimits, ObservationAssembler
from reconvla_ros.recording.repair import bag_file
from reconvla_ros.types import ArmState, Observation, Pose

pytestmark = pytest.mark.graph
INSTRUCTION = "put fruit in bowl"
LIMITS = AssemblyLimits(
    image_stale=5.0
)  # [s] a busy machine between a picture and the question makes none of them stale
TOPICS = {"camera_base/color/image_raw": Image, "camera_wrist/color/image_raw": Image, "joint_states": JointState,
          "arm/ee_pose": PoseStamped}  # fmt: skip


class Ear(Node):
    """Has what PolicyInputs wants of its node."""

    def __init__(self, context: Any) -> None:
        super().__init__("ear", context=context)
        self.config = SimpleNamespace(max_image_gap=60.0, max_clock_offset=0.05)
        self.received: dict[str, int] = {}


class World(RosEar):
    """A made-up robot that speaks, the policy's inputs that listen, and a client of the recorder."""

    def __init__(self) -> None:
        super().__init__(Ear)
        self.ear = self.node
        self.assembler = ObservationAssembler(LIMITS)
        nothing: Any = lambda *_: None  # noqa: E731
        self.inputs = PolicyInputs(self.ear, self.assembler, nothing, nothing, nothing, nothing)  # type: ignore[arg-type]
        self.inputs.open("raw")
        profile = {Image: qos.IMAGE, JointState: qos.STATE, PoseStamped: qos.STATE}
        self.out = {topic: self.ear.create_publisher(kind, topic, profile[kind]) for topic, kind in TOPICS.items()}
        self.sent = dict.fromkeys(TOPICS, 0)
        self.recorded: dict[str, int] = {}
        self.ear.create_subscription(RecordState, "record/state", self._on_state, qos.LATCHED)
        self.rng = np.random.default_rng(7)

    def _on_state(self, message: RecordState) -> None:
        self.recorded = {t.lstrip("/"): int(n) for t, n in zip(message.topics, message.counts, strict=True)}

    def say(self, topic: str, message: Any) -> None:
        self.out[topic].publish(message)
        self.sent[topic] += 1

    def picture(self, camera: str, stamp: int) -> None:
        pixels = self.rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        self.say(f"{camera}/color/image_raw", convert.to_image(pixels, "rgb8", stamp, "x"))

    def arm(self, stamp: int) -> None:
        state = ArmState(stamp, self.rng.normal(size=6), self.rng.normal(size=6), self.rng.normal(size=6), 0.03, 1.5)
        turn = self.rng.normal(size=4)
        self.say("joint_states", convert.to_joint_state(state))
        pose = Pose(self.rng.normal(size=3), turn / np.linalg.norm(turn))
        self.say("arm/ee_pose", convert.to_pose_stamped(pose, stamp))

    def arrived(self) -> bool:
        return all(self.ear.received[t] == self.recorded.get(t) == n for t, n in self.sent.items())

    def close(self) -> None:
        self.inputs.close()
        super().close()


@pytest.fixture
def world(domain: int, tmp_path: Path) -> Iterator[World]:
    words = [sys.executable, "-m", "reconvla_ros.nodes.recorder_node", "--ros-args", "-r", "__node:=recorder",
             "-p", f"folder:={tmp_path}", "-p", "state_rate:=20.0"]  # fmt: skip
    process = subprocess.Popen(words, cwd=tmp_path)
    try:
        made = World()
        yield made
        made.close()
    finally:
        end(process)


def live(world: World) -> tuple[int, Observation | str]:
    """What the policy would be shown now, and when that was."""
    now = world.ear.get_clock().now().nanoseconds
    try:
        return now, world.assembler.assemble(now, INSTRUCTION, "")
    except ObservationError as error:
        return now, f"{kind_of(error)}: {error}"


def test_live_and_recorded_give_equal_observations(world: World) -> None:
    answer = world.call(RecordStart, "record/start", RecordStart.Request(instruction=INSTRUCTION))
    assert answer.accepted, answer.message
    world.until(lambda: all(p.get_subscription_count() == 2 for p in world.out.values()), "both listeners")
    seen: list[tuple[int, Observation | str]] = []
    spoken = 0
    for k in range(8):
        now = world.ear.get_clock().now().nanoseconds
        spoken = max(spoken, now - 90_000_000)
        while (spoken := spoken + 5_000_000) < now:  # 200 Hz, on and on
            world.arm(spoken)
        world.picture("camera_base", now - 60_000_000)
        if k:  # the first time the wrist camera is missing, the second time it lags
            world.picture("camera_wrist", now - (420_000_000 if k == 1 else 57_000_000 + k * 1_000_000))
        world.until(world.arrived, f"round {k}: {world.sent}, live {world.ear.received}, bag {world.recorded}")
        seen.append(live(world))
    stopped = world.call(RecordStop, "record/stop", RecordStop.Request(outcome="success"))
    assert stopped.accepted, stopped.message

    reader = BagReader(bag_file(Path(answer.path)), Request(limits=LIMITS), INSTRUCTION)
    ticks = list(reader.ticks([now for now, _ in seen]))
    assert len(ticks) == len(seen)
    assert [str(was).split(":")[0] for _, was in seen[:2]] == ["missing", "skew"]
    assert all(isinstance(was, Observation) for _, was in seen[2:])
    for tick, (_, was) in zip(ticks, seen, strict=True):
        if isinstance(was, str):
            assert tick.refused == was
            continue
        found = tick.observation
        assert found is not None, tick.refused
        assert found.stamp_ns == was.stamp_ns
        assert found.instruction == was.instruction
        np.testing.assert_array_equal(found.base, was.base)
        np.testing.assert_array_equal(found.wrist, was.wrist)
        assert found.state.stamp_ns == was.state.stamp_ns
        for name in ("position", "velocity", "effort", "gripper", "gripper_effort"):
            np.testing.assert_array_equal(getattr(found.state, name), getattr(was.state, name))
        np.testing.assert_array_equal(found.tcp.position, was.tcp.position)
        np.testing.assert_array_equal(found.tcp.quaternion, was.tcp.quaternion)
