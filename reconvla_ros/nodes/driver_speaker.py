"""Publishes what the loop of the driver saw, each topic at its rate, in a thread of its own."""

from __future__ import annotations

import queue
import time

from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from reconvla_ros.arm.control import DriverCore
from reconvla_ros.arm.tick import TickResult
from reconvla_ros.arm.urdf import RobotTree
from reconvla_ros.msg import ActionTrace, ArmStatus
from reconvla_ros.nodes import convert, driver_convert, qos
from reconvla_ros.nodes.base import ManagedNode
from reconvla_ros.safety.filter import Verdict
from reconvla_ros.types import GRIPPER_NAME, JOINT_NAMES, ArmState, Pose

_STATUS_RATE, _TF_RATE, _POSE_RATE, _MARKER_RATE = 10.0, 50.0, 100.0, 5.0  # [Hz]


class DriverSpeaker:
    """The outgoing half of the driver node."""

    def __init__(self, node: ManagedNode, dry_run: bool, trace_rate: float) -> None:
        self._dry_run, self._trace_rate = dry_run, trace_rate
        self._results: queue.SimpleQueue[TickResult | None] = queue.SimpleQueue()
        self._core: DriverCore | None = None
        self._tree: RobotTree | None = None
        self._due: dict[str, int] = {}
        self._spoken_stamp = 0
        self._trace_key: tuple[object, ...] = ()
        self._refused: Pose | None = None
        self._joints = node.publish_on(JointState, "joint_states", qos.STATE)
        self._pose = node.publish_on(PoseStamped, "arm/ee_pose", qos.STATE)
        self._status = node.publish_on(ArmStatus, "arm/status", qos.STATUS)
        self._trace = node.publish_on(ActionTrace, "arm/action_trace", qos.STATE)
        self._tf = node.publish_on(TFMessage, "tf", qos.TF)
        self._tf_static = node.publish_on(TFMessage, "tf_static", qos.TF_STATIC, always=True)
        self._description = node.publish_on(String, "robot_description", qos.LATCHED, always=True)
        self._markers = node.publish_on(MarkerArray, "arm/limits", qos.LATCHED, always=True)

    def introduce(self, core: DriverCore, tree: RobotTree, now_ns: int) -> None:
        """Latch what does not change: the robot description, fixed frames, limits."""
        self._core, self._tree = core, tree
        self._description.publish(String(data=tree.text))
        self._tf_static.publish(driver_convert.to_tf(tree.fixed(), now_ns))
        self._markers.publish(driver_convert.to_markers(core.limits, None, now_ns))

    def hand_over(self, result: TickResult | None) -> None:
        """Queue one tick; None ends `run`."""
        self._results.put(result)

    def run(self) -> None:
        """Publish until told to end."""
        while (result := self._results.get()) is not None:
            self.say(result, time.monotonic_ns())

    def say(self, result: TickResult, now: int) -> None:
        """Publish what is due of one tick at monotonic `now` [ns]."""
        if result.state is not None and result.state.stamp_ns != self._spoken_stamp:
            self._spoken_stamp = result.state.stamp_ns
            self._say_state(result.state, result.tcp, now)
        self._say_requests(result, now)
        if self._core is not None and self._is_due("status", _STATUS_RATE, now):
            self._status.publish(driver_convert.to_status(result, self._dry_run, self._core))

    def _say_state(self, state: ArmState, tcp: Pose | None, now: int) -> None:
        self._joints.publish(convert.to_joint_state(state))
        if tcp is not None and self._is_due("pose", _POSE_RATE, now):
            self._pose.publish(convert.to_pose_stamped(tcp, state.stamp_ns))
        if self._tree is not None and self._is_due("tf", _TF_RATE, now):
            values = dict(zip(JOINT_NAMES, state.position.tolist(), strict=True)) | {GRIPPER_NAME: state.gripper}
            self._tf.publish(driver_convert.to_tf(self._tree.moving(values), state.stamp_ns))

    def _say_requests(self, result: TickResult, now: int) -> None:
        wanted = result.asked.wanted if result.asked is not None else None
        key = (wanted.key if wanted is not None else None, result.reason, result.verdict)
        fresh, self._trace_key = key != self._trace_key, key
        if fresh or self._is_due("trace", self._trace_rate, now):
            trace = driver_convert.to_trace(result)
            if trace is not None:
                self._trace.publish(trace)
        refused = wanted.pose if wanted is not None and result.verdict is Verdict.REFUSED else None
        if refused is not self._refused and self._core is not None and self._is_due("markers", _MARKER_RATE, now):
            self._refused = refused
            self._markers.publish(driver_convert.to_markers(self._core.limits, refused, result.stamp_ns))

    def _is_due(self, what: str, rate: float, now: int) -> bool:
        due, period = self._due.get(what, 0), int(1e9 / rate)
        if now < due:
            return False
        self._due[what] = max(due, now - period) + period  # on average at the rate, never a burst
        return True
