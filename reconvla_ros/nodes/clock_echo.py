"""Four-stamp exchanges between the clocks of two nodes: the robot's task node answers, the policy asks once a second."""

from __future__ import annotations

import time
from typing import Any

from rclpy.node import Node

from reconvla_ros.nodes import convert
from reconvla_ros.observation.assemble import AssemblyLimits
from reconvla_ros.observation.clock_offset import ClockOffset, Exchange
from reconvla_ros.srv import ClockEcho

SERVICE = "clock/echo"
ROBOT = "the robot's computer"
WARN = AssemblyLimits().future  # [s] stamps of one clock that lie further ahead by the other are refused
LIMIT = 0.05  # [s] where nobody says otherwise: a tenth of the age that an image may have
_PERIOD = 1.0  # [s]
_PATIENCE = 2.0  # [s] for an answer; a link may be down


def answer_clock(node: Node) -> None:
    """Let `node` answer questions for its clock."""

    def on_question(request: ClockEcho.Request, response: ClockEcho.Response) -> ClockEcho.Response:
        # Deserialising and this callback are within the delay, so within the bound that whoever asks states.
        response.received = response.answered = node.get_clock().now().to_msg()
        return response

    node.create_service(ClockEcho, SERVICE, on_question)


def exchange_of(asked: int, answer: Any, heard: int) -> Exchange:
    """One exchange from an answer and our own stamps [ns]."""
    return Exchange(asked, convert.from_time(answer.received), convert.from_time(answer.answered), heard)


class ClockWatch:
    """Asks the robot's clock once a second, as long as its node lives.

    Args:
        node: whose executor does it, and whose clock is compared.
        limit: see `ClockOffset` [s].
    """

    def __init__(self, node: Node, limit: float) -> None:
        self._node = node
        self.offset = ClockOffset(ROBOT, min(WARN, limit), limit)
        self._client = node.create_client(ClockEcho, SERVICE)
        self._pending: tuple[float, Any] | None = None
        node.create_timer(_PERIOD, self._ask)

    def _ask(self) -> None:
        if self._pending is not None:
            since, future = self._pending
            if time.monotonic() - since < _PATIENCE:
                return
            self._client.remove_pending_request(future)
            self._pending = None
        if not self._client.service_is_ready():
            return
        asked = self._node.get_clock().now().nanoseconds
        future = self._client.call_async(ClockEcho.Request())
        self._pending = (time.monotonic(), future)

        def heard(done: Any) -> None:
            if self._pending is not None and self._pending[1] is done:
                self._pending = None
            if done.result() is not None:
                now = self._node.get_clock().now().nanoseconds
                self.offset.add(exchange_of(asked, done.result(), now), time.monotonic())

        future.add_done_callback(heard)

    def why(self) -> str:
        """Why no age can be trusted now; empty when they can."""
        return self.offset.why(time.monotonic())

    def report(self) -> tuple[bool, str, dict[str, object]]:
        """See `ClockOffset.report`."""
        return self.offset.report(time.monotonic())
