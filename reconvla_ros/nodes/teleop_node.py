"""Teleoperation: reads a device, publishes arm/ee_command while its dead-man is held. The driver has the last word.

ros2 run reconvla_ros teleop_node --ros-args --params-file config/teleop.yaml -p device:=gamepad
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Iterator

import numpy as np
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool, Trigger

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.errors import ShapeError
from reconvla_ros.msg import ActionTrace, ArmStatus, EndEffectorCommand, RecordState, TaskState
from reconvla_ros.nodes import convert, qos
from reconvla_ros.nodes.base import OK, WARN, ManagedNode
from reconvla_ros.nodes.process import run
from reconvla_ros.nodes.teleop_calls import TeleopCalls
from reconvla_ros.teleop.ear import Ear
from reconvla_ros.teleop.factory import make_device
from reconvla_ros.teleop.hand import Hand
from reconvla_ros.teleop.protocol import Act
from reconvla_ros.teleop.session import Order, Session, drag_words
from reconvla_ros.teleop.settings import TeleopConfig
from reconvla_ros.teleop.terminal import Terminal

_SENT = 0.1  # [s] for the last requests to leave


class TeleopNode(ManagedNode):
    """Wires device, session and driver.

    Args:
        terminal: of the person; a node of a launch file has none.
    """

    def __init__(self, terminal: Terminal | None = None) -> None:
        super().__init__("teleop", TeleopConfig)
        self._terminal = terminal
        self._hand: Hand | None = None
        self.finished = False
        self.message = ""  # what was answered last, for a person
        self.order = Order()
        self.ear = Ear(Kinematics())
        self.session = Session(self.config, False)
        self._calls = TeleopCalls(self, self._say, self._granted)
        self._commands = self.publish_on(EndEffectorCommand, "arm/ee_command", qos.COMMAND)
        self.create_subscription(PoseStamped, "arm/ee_pose", self._on_pose, qos.STATUS)
        self.create_subscription(JointState, "joint_states", self._on_joints, qos.STATUS)
        self.create_subscription(ArmStatus, "arm/status", self._on_status, qos.STATUS)
        self.create_subscription(ActionTrace, "arm/action_trace", self._on_trace, qos.STATUS)
        self.create_subscription(TaskState, "task/state", lambda m: self.ear.tasks(m.state), qos.LATCHED)
        self.create_subscription(RecordState, "record/state", self._on_record, qos.LATCHED)
        self.create_service(SetBool, "teleop/engage", self._on_engage)
        self.create_service(Trigger, "teleop/hand_over", self._on_hand_over)
        self.create_timer(1.0 / self.config.rate, self._tick)

    def setup(self) -> None:
        """Find the device; nothing is asked of the arm."""
        device, panel = make_device(self.config, self._terminal), self._terminal
        keys = panel.keys if panel is not None and self.config.device != "keyboard" else tuple
        hand = Hand(device, keys, self._say)
        hand.open(self.config.wait, self.asked_to_end)
        self._hand, self.session = hand, Session(self.config, device.toggles, Kinematics().tcp)

    def stop(self) -> None:
        """No command any more. The lease goes back to nobody, and a task whose arm a person had taken ends with it."""
        if self.active and self.ear.holder == "teleop":
            self._calls.leave(self.ear)
            time.sleep(_SENT)
        self.session.trouble("stopped")

    def close(self) -> None:
        """Give the device back."""
        if self._hand is not None:
            self._hand.close()
            self._hand = None

    def _say(self, words: str) -> None:
        self.message = words
        self.get_logger().info(words)

    def _granted(self, holder: str) -> None:
        self.ear.granted(holder, self.get_clock().now().nanoseconds)

    def _on_pose(self, message: PoseStamped) -> None:
        with self._named("arm/ee_pose"):
            self.ear.pose(convert.from_pose(message.pose), time.monotonic_ns())

    def _on_joints(self, message: JointState) -> None:
        with self._named("joint_states"):
            state = convert.from_joint_state(message)
            self.ear.joints, self.ear.gripper = state.position, state.gripper

    @contextlib.contextmanager
    def _named(self, topic: str) -> Iterator[None]:
        """A message that cannot be used is said and left out; what it would have said gets old."""
        try:
            yield
        except ShapeError as error:
            self.get_logger().warning(f"{topic}: {error}", throttle_duration_sec=1.0)

    def _on_status(self, m: ArmStatus) -> None:
        self.ear.status(m.state, m.reason, m.source, m.ctrl_mode, convert.from_time(m.header.stamp))

    def _on_trace(self, m: ActionTrace) -> None:
        verdict = "" if m.verdict == ActionTrace.PASSED or m.source != "teleop" else f"{m.reason}: {m.detail}"
        self.ear.trace(np.array(m.applied_position), float(m.applied_gripper), verdict, time.monotonic_ns())

    def _on_record(self, m: RecordState) -> None:
        self.ear.records(m.recording, float(m.duration), m.warning)

    def _on_engage(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if self._hand is None or not self._hand.device.toggles:
            response.message = f"{self.config.device} has a dead-man of its own: there is nothing to engage"
            return response
        if request.data != self.session.engaged:
            self.session.press(Act.ENGAGE)
        response.success, response.message = True, "engaged" if request.data else "let go"
        return response

    def _on_hand_over(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._act(Act.HAND_OVER)
        response.success, response.message = True, "asked for"
        return response

    def _tick(self) -> None:
        if not self.active or self._hand is None:
            return
        now = time.monotonic_ns()
        reading = self._hand.read(now)
        if self._hand.lost:
            self.session.trouble(self._hand.lost)
        for act in reading.acts:
            self._act(act)
        follower = self.ear.follower(now)
        self.order = order = self.session.tick(now, reading, follower)
        if self.config.device == "drag":
            self.order = Order(note=drag_words(follower)[1])
        if order.take_lease:
            self._calls.source("teleop")
        if order.pose is not None:
            gripper = math.nan if order.gripper is None else order.gripper
            header, pose = convert.header(self.get_clock().now().nanoseconds, "base_link"), convert.to_pose(order.pose)
            self._commands.publish(EndEffectorCommand(header=header, source="teleop", pose=pose, gripper=gripper))

    def _act(self, act: Act) -> None:
        self.session.press(act)
        self._calls.perform(act, self.ear, self.config)
        self.finished = self.finished or act is Act.QUIT

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        """Device, lease, and why nothing moves."""
        values: dict[str, object] = {
            "device": self.config.device, "driving": self.session.driving, "lease": self.ear.holder,
            "speed": self.session.speed, "note": self.order.note,
        }  # fmt: skip
        lost = "" if self._hand is None else self._hand.lost
        return (WARN if lost else OK), lost, values


def main() -> int:
    """Entry of the executable."""
    return run(TeleopNode)


if __name__ == "__main__":
    sys.exit(main())
