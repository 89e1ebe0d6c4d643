"""What the policy listens to: images, joints, TCP, tasks, the driver.

Images stay serialised until one is used; every frame is counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image, JointState

from reconvla_ros.errors import ObservationError
from reconvla_ros.graph import CAMERAS
from reconvla_ros.msg import ArmStatus, TaskState
from reconvla_ros.nodes import convert, qos
from reconvla_ros.nodes.base import WARN, ManagedNode
from reconvla_ros.nodes.clock_echo import ClockWatch
from reconvla_ros.nodes.serialized import compressed_to_rgb, raw_to_rgb, stamp_of, thinned
from reconvla_ros.observation.assemble import ObservationAssembler
from reconvla_ros.observation.silence import CameraSilence
from reconvla_ros.types import Observation

VIEWS = dict(zip(CAMERAS, ("base", "wrist"), strict=True))
# Joints come at 200 Hz; a sample each 15 ms is nearer to an image than it matters and costs a quarter.
STATE_SPACING_NS = 15_000_000
_WATCH_PERIOD = 0.02  # [s] how soon a silent camera is noticed
FOLLOWING = ("MOVING", "HOLDING")  # states of the driver in which it follows chunks; it holds between slow steps


class PolicyInputs:
    """The subscriptions of one policy node.

    Args:
        node: whose they are.
        assembler: gets images, joints and TCP.
        poke: called after every image.
        on_task: gets every task/state.
        on_refusal: called when the driver has refused something, or follows no chunk.
        on_silence: called again and again with the words while a camera is silent, or the clock is off.
    """

    def __init__(
        self,
        node: ManagedNode,
        assembler: ObservationAssembler,
        poke: Callable[[], None],
        on_task: Callable[[TaskState], None],
        on_refusal: Callable[[], None],
        on_silence: Callable[[str], None],
    ) -> None:
        self._node, self._assembler, self._poke, self._on_task = node, assembler, poke, on_task
        self._on_refusal, self._refused = on_refusal, 0
        self._on_silence = on_silence
        self._silence = CameraSilence(VIEWS.values(), node.config.max_image_gap, time.monotonic())
        self.clock = ClockWatch(node, node.config.max_clock_offset)
        node.create_timer(_WATCH_PERIOD, self._watch)
        self._open: list[Any] = []

    def open(self, images: str) -> None:
        """Subscribe; `images` is raw or compressed."""
        compressed = images == "compressed"
        for camera, view in VIEWS.items():
            topic = f"{camera}/color/image_raw" + ("/compressed" if compressed else "")
            kind = CompressedImage if compressed else Image
            self._count_raw(kind, topic, self._image_callback(view, compressed_to_rgb if compressed else raw_to_rgb))
            if not compressed:  # only counted: for that it need not cross a network
                self._count_raw(Image, f"{camera}/aligned_depth_to_color/image_raw", lambda data: None)
        log = self._node.get_logger().warning
        self._count_raw(JointState, "joint_states", thinned(self._on_joints, STATE_SPACING_NS, log), qos.NEWEST_STATE)
        self._count_raw(PoseStamped, "arm/ee_pose", thinned(self._on_tcp, STATE_SPACING_NS, log), qos.NEWEST_STATE)
        subscribe = self._node.create_subscription
        self._open.append(subscribe(TaskState, "task/state", self._on_task, qos.LATCHED))
        self._open.append(subscribe(ArmStatus, "arm/status", self._on_arm, qos.STATUS))

    def blind(self) -> str:
        """Which camera is silent, or that the clock is off, with bound and value; empty when nothing is."""
        return self._silence.why(time.monotonic()) or self.clock.why()

    def observe(self, now_ns: int, instruction: str, task_id: str) -> Observation:
        """As `ObservationAssembler.assemble`; refused, too, while the clock is off: no age is true then.

        Raises:
            ObservationError: as there, or the offset and its bound.
        """
        if why := self.clock.why():
            raise ObservationError(why)
        return self._assembler.assemble(now_ns, instruction, task_id)

    def with_clock(self, level: bytes, text: str, values: dict[str, object]) -> tuple[bytes, str, dict[str, object]]:
        """A diagnosis with what is known of the robot's clock; a bad one is the first thing said."""
        bad, words, known = self.clock.report()
        return (max(level, WARN), f"{words}; {text}", values | known) if bad else (level, text, values | known)

    def _watch(self) -> None:
        if why := self.blind():
            self._on_silence(why)

    def close(self) -> None:
        """Unsubscribe and forget what came; safe to call twice."""
        for subscription in self._open:
            self._node.destroy_subscription(subscription)
        self._open.clear()
        self._assembler.clear()

    def _count_raw(
        self, kind: type, topic: str, callback: Callable[[bytes], None], profile: object = qos.NEWEST
    ) -> None:
        received = self._node.received
        received[topic] = 0

        def counted(data: bytes) -> None:
            received[topic] += 1
            callback(data)

        self._open.append(self._node.create_subscription(kind, topic, counted, profile, raw=True))

    def _image_callback(self, view: str, decode: Callable[[bytes], NDArray[np.uint8]]) -> Callable[[bytes], None]:
        def on_image(data: bytes) -> None:
            self._assembler.add_image(view, stamp_of(data), lambda: decode(data))
            self._silence.heard(view, time.monotonic())
            self._poke()

        # Every image, and one that was cut off ends no node.
        return thinned(on_image, 0, self._node.get_logger().warning)

    def _on_arm(self, message: ArmStatus) -> None:
        refused = int(message.commands_refused)
        if refused != self._refused or message.source != "policy" or message.state not in FOLLOWING:
            self._on_refusal()
        self._refused = refused

    def _on_joints(self, data: bytes) -> None:
        self._assembler.add_state(convert.from_joint_state(deserialize_message(data, JointState)))

    def _on_tcp(self, data: bytes) -> None:
        message = deserialize_message(data, PoseStamped)
        self._assembler.add_tcp(convert.from_time(message.header.stamp), convert.from_pose(message.pose))
