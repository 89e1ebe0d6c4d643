"""Runs a policy: newest images, joints and TCP in, action chunks out, while a task runs.

Images stay serialised until one is used; every frame of every stream is counted. Inference has its own thread
(policy/worker.py), so no callback waits for it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float32

from reconvla_ros.graph import CAMERAS
from reconvla_ros.msg import ActionChunk as ChunkMessage
from reconvla_ros.msg import PolicyStatus, TaskState
from reconvla_ros.nodes import convert, qos
from reconvla_ros.nodes.base import ManagedNode
from reconvla_ros.nodes.policy_status import to_diagnosis, to_status
from reconvla_ros.nodes.process import run
from reconvla_ros.nodes.serialized import compressed_to_rgb, raw_to_rgb, stamp_of, thinned
from reconvla_ros.observation.assemble import AssemblyLimits, ObservationAssembler
from reconvla_ros.policy.factory import describe, open_policy
from reconvla_ros.policy.protocol import Policy
from reconvla_ros.policy.settings import PolicyConfig
from reconvla_ros.policy.worker import PolicyWorker, Report, Task
from reconvla_ros.types import ActionChunk

VIEWS = dict(zip(CAMERAS, ("base", "wrist"), strict=True))
TARGET_PERIOD = 0.1  # [s] policy/ee_pose and policy/gripper, for people and recorders; the driver reads chunks
# Joints come at 200 Hz; a sample each 15 ms is nearer to an image than it matters and costs a quarter.
STATE_SPACING_NS = 15_000_000
RANDOM_WARNING = "the checkpoint holds RANDOM weights: the arm will move without aim, inside its limits"


class PolicyNode(ManagedNode):
    """Wires a policy to the graph."""

    by_events = True

    def __init__(self) -> None:
        super().__init__("policy", PolicyConfig)
        self._policy: Policy | None = None
        self._worker: PolicyWorker | None = None
        self._about = {"checkpoint": str(self.config.checkpoint)}
        self._loading = ("LOADING", "")
        self._current: tuple[float, ActionChunk] | None = None
        limits = AssemblyLimits(self.config.max_image_age, self.config.max_skew, self.config.max_state_age)
        self._assembler = ObservationAssembler(limits)
        self._chunk = self.publish_on(ChunkMessage, "policy/action_chunk", qos.COMMAND)
        self._target = self.publish_on(PoseStamped, "policy/ee_pose", qos.STATUS)
        self._gripper = self.publish_on(Float32, "policy/gripper", qos.STATUS)
        self._path = self.publish_on(Path, "policy/path", qos.STATUS)
        self._status = self.publish_on(PolicyStatus, "policy/status", qos.STATUS)
        self._overlay = self.publish_on(Image, "policy/attention", qos.STATUS)
        self._attention = self.publish_on(Image, "policy/attention_raw", qos.STATUS)
        self.create_timer(1.0 / self.config.status_rate, self.publish_status)
        self.create_timer(TARGET_PERIOD, self._publish_target)

    def setup(self) -> None:
        """Load and warm up; a folder that is wrong refuses the transition."""
        self.publish_status()
        log = self.get_logger()
        self._policy = open_policy(self.config, log.info, self._progress)
        self._about = describe(self._policy)
        if self._about["kind"] == "random":
            log.warning(RANDOM_WARNING)
        self._loading = ("WARMING_UP", "")
        self.publish_status()
        self._policy.warm_up()
        self._loading = ("IDLE", "")
        now = self.get_clock()
        self._worker = PolicyWorker(
            self._policy, self._assembler.assemble, self._deliver, lambda: now.now().nanoseconds,
            self.config.rate, self.config.duty,
        )  # fmt: skip
        self._subscribe()
        log.info("{checkpoint} ({kind}) on {device} {dtype}, contract {digest}".format(**self._about))

    def _progress(self, done: int, total: int) -> None:
        if done == total or done % max(total // 4, 1) == 0:
            self.get_logger().info(f"loading: {done} of {total} tensors")

    def _subscribe(self) -> None:
        compressed = self.config.images == "compressed"
        for camera, view in VIEWS.items():
            topic = f"{camera}/color/image_raw" + ("/compressed" if compressed else "")
            kind = CompressedImage if compressed else Image
            self._count_raw(kind, topic, self._image_callback(view, compressed_to_rgb if compressed else raw_to_rgb))
            self._count_raw(Image, f"{camera}/aligned_depth_to_color/image_raw", lambda data: None)
        log = self.get_logger().warning
        self._count_raw(JointState, "joint_states", thinned(self._on_joints, STATE_SPACING_NS, log), qos.STATE)
        self._count_raw(PoseStamped, "arm/ee_pose", thinned(self._on_tcp, STATE_SPACING_NS, log), qos.STATE)
        self.create_subscription(TaskState, "task/state", self._on_task, qos.LATCHED)

    def _count_raw(
        self, kind: type, topic: str, callback: Callable[[bytes], None], profile: object = qos.NEWEST
    ) -> None:
        self.received[topic] = 0

        def counted(data: bytes) -> None:
            self.received[topic] += 1
            callback(data)

        self.create_subscription(kind, topic, counted, profile, raw=True)

    def _image_callback(self, view: str, decode: Callable[[bytes], NDArray[np.uint8]]) -> Callable[[bytes], None]:
        def on_image(data: bytes) -> None:
            self._assembler.add_image(view, stamp_of(data), lambda: decode(data))
            if self._worker is not None:
                self._worker.poke()

        return thinned(on_image, 0, self.get_logger().warning)  # every image, and no cut-off one ends the node

    def _on_joints(self, data: bytes) -> None:
        self._assembler.add_state(convert.from_joint_state(deserialize_message(data, JointState)))

    def _on_tcp(self, data: bytes) -> None:
        message = deserialize_message(data, PoseStamped)
        self._assembler.add_tcp(convert.from_time(message.header.stamp), convert.from_pose(message.pose))

    def _on_task(self, message: TaskState) -> None:
        if self._worker is not None:
            running = message.state == "RUNNING" and self.active
            self._worker.set_task(Task(message.task_id, message.instruction) if running else Task())

    def start(self) -> None:
        """Begin to work for tasks."""
        if self._worker is not None:
            self._worker.start()

    def stop(self) -> None:
        """Rest; the chunk that is being inferred is dropped."""
        if self._worker is not None and not self._worker.stop():
            self.get_logger().error("the policy's thread does not end; inference hangs")

    def _deliver(self, chunk: ActionChunk) -> None:
        """In the worker's thread: one chunk and its views for people."""
        self._chunk.publish(convert.to_chunk(chunk))
        self._current = (time.monotonic(), chunk)
        self._path.publish(convert.to_path(chunk))
        attention, overlay = getattr(self._policy, "attention", None), getattr(self._policy, "overlay", None)
        if attention is not None:
            frame = f"{CAMERAS[0]}_color_optical_frame"
            self._attention.publish(convert.to_image(attention, "32FC1", chunk.stamp_ns, frame))
            if overlay is not None and self._overlay.subscribers:
                self._overlay.publish(convert.to_image(overlay(), "rgb8", chunk.stamp_ns, frame))

    def _publish_target(self) -> None:
        """The step of the last chunk that is due now, until its last one is over."""
        if self._current is None:
            return
        began, chunk = self._current
        step = int((time.monotonic() - began) / chunk.step_dt)
        if step >= chunk.steps:
            self._current = None
            return
        self._target.publish(convert.to_pose_stamped(chunk.pose(step), self.get_clock().now().nanoseconds))
        self._gripper.publish(Float32(data=float(chunk.gripper[step])))

    def _report(self) -> Report:
        return self._worker.report if self._worker is not None else Report(*self._loading)

    def publish_status(self) -> None:
        """policy/status; also while inactive, so that a task is not given to a policy that loads."""
        self._status.publish(to_status(self._report(), self._about, self.get_clock().now().to_msg()))

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        """State, counts and stage times [s]."""
        return to_diagnosis(self._report(), self._about, self.config.duty)


def main() -> int:
    """Entry of the executable."""
    return run(PolicyNode)


if __name__ == "__main__":
    sys.exit(main())
