"""A light policy of the fault bench's own: chunks that send the arm to and fro at the driver's full speed, or worse ones.

It also says `policy/status`, without which no task begins. What may not be executed asks for FORBIDDEN_OPENING of the
gripper, so that the bus tells it from what may.
"""

from __future__ import annotations

import math
import time
from enum import Enum
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from rclpy.serialization import deserialize_message, serialize_message

from reconvla_ros.bench.faults_judge import FORBIDDEN_OPENING, IN_FORCE_OPENING
from reconvla_ros.errors import ShapeError
from reconvla_ros.msg import ActionChunk as ChunkMessage
from reconvla_ros.msg import PolicyStatus
from reconvla_ros.nodes import convert, qos
from reconvla_ros.types import ActionChunk, Pose

PERIOD = 0.2  # [s] between chunks
STEPS, STEP_DT = 5, 0.1  # a chunk lasts 0.5 s, as the model's do
CHUNK_LENGTH = STEPS * STEP_DT  # [s]
_REACH = 0.10  # [m] to each side of where it began: at 0.1 m/s two seconds of steady motion each way
_TURN = 0.03  # [m] it turns round this far before the end, so that the arm never slows down for it
_AHEAD, _STEP = 0.04, 0.012  # [m] of the first step, and between steps: a little more than the driver's 0.1 m/s can do
_STATUS_PERIOD = 0.5  # [s]


class Say(Enum):
    """What is published: nothing, good chunks, forbidden ones that are whole, forbidden ones with NaN in them."""

    NOTHING = "nothing"
    GOOD = "good"
    FORBIDDEN = "forbidden"
    NAN = "nan"


class Mover:
    """Publishes on `node`, in whichever thread spins it. `fake_policy` False leaves `policy/status` to a real one.

    Attributes:
        say: what kind of chunk goes out. task_id: for which task. chunks: how many went out, nans: how many spoilt ones.
    """

    def __init__(self, node: Node) -> None:
        self.say, self.task_id, self.fake_policy = Say.NOTHING, "", True
        self.chunks = self.nans = 0
        self.spoilt_at = 0.0  # [s since the epoch] the newest chunk with NaN
        self._tcp: Pose | None = None
        self._origin: Pose | None = None
        self._side, self._clock_ns = 1.0, 0
        self._chunk = node.create_publisher(ChunkMessage, "policy/action_chunk", qos.COMMAND)
        self._status = node.create_publisher(PolicyStatus, "policy/status", qos.STATUS)
        node.create_subscription(PoseStamped, "arm/ee_pose", self._on_pose, qos.NEWEST)
        node.create_timer(PERIOD, self.publish)
        node.create_timer(_STATUS_PERIOD, self._publish_status)

    @property
    def connected(self) -> bool:
        """Whether somebody hears the chunks, and the arm's place is known."""
        return self._tcp is not None and self._chunk.get_subscription_count() > 0

    def _on_pose(self, message: Any) -> None:
        self._tcp = convert.from_pose(message.pose)

    def _publish_status(self) -> None:
        if self.fake_policy:
            self._status.publish(PolicyStatus(state="RUNNING" if self.task_id else "IDLE", task_id=self.task_id,
                                              checkpoint_kind="bench", chunks=self.chunks))  # fmt: skip

    def begin(self, task_id: str, clock_ns: int = 0) -> None:
        """Move the arm for this task; where it was at the first call is the middle. Stamps are `clock_ns` ahead of ours."""
        self._origin, self._clock_ns = self._origin or self._tcp, clock_ns
        self.task_id, self.say = task_id, Say.GOOD

    def publish(self) -> None:
        """One chunk as `say` wants it, anchored to where the TCP is."""
        tcp, origin = self._tcp, self._origin
        if self.say is Say.NOTHING or tcp is None or origin is None:
            return
        if _REACH - self._side * (tcp.position[1] - origin.position[1]) < _TURN:
            self._side = -self._side
        way = self._side * (tcp.position[1] - origin.position[1]) + _AHEAD + _STEP * np.arange(STEPS)
        positions = np.tile(origin.position, (STEPS, 1))
        positions[:, 1] += self._side * np.minimum(way, _REACH)
        opening = IN_FORCE_OPENING if self.say is Say.GOOD else FORBIDDEN_OPENING
        chunk = ActionChunk(
            time.time_ns() + self._clock_ns, self.task_id, self.chunks, STEP_DT, tcp, positions,
            np.tile(origin.quaternion, (STEPS, 1)), np.full(STEPS, opening),
        )  # fmt: skip
        message = convert.to_chunk(chunk)
        if self.say is Say.NAN:
            self._spoil(message)
        at = time.time()
        self._chunk.publish(message)
        self.chunks += 1
        if self.say is Say.NAN:
            self.spoilt_at = at

    def _spoil(self, message: Any) -> None:
        """NaN or infinity into one place, another each time; what goes on the wire must carry it."""
        pose = message.poses[(-1, 0)[self.nans % 2]]
        number = (math.nan, math.inf)[self.nans // 4 % 2]
        place = self.nans % 4
        if place == 0:
            pose.position.x = number
        elif place == 1:
            pose.position.z = number
        elif place == 2:
            pose.orientation.w = number
        else:
            message.gripper[0] = number
        self.nans += 1
        read = deserialize_message(serialize_message(message), ChunkMessage)
        values = [v for p in read.poses for v in (p.position.x, p.position.z, p.orientation.w)]
        if all(map(math.isfinite, [*values, *read.gripper])):
            raise ShapeError("fault bench: the chunk lost its NaN on the way into CDR")
