"""One node asks another for its clock, over DDS."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

pytest.importorskip("reconvla_ros.msg", reason="needs the built workspace")

import rclpy
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from reconvla_ros.srv import ClockEcho

from reconvla_ros.nodes.clock_echo import SERVICE, ClockWatch, answer_clock

SHIFT = 1.5  # [s] that the other clock is behind


class Behind:
    """A clock that is slow by SHIFT."""

    def __init__(self, node: Node) -> None:
        self._clock = Node.get_clock(node)

    def now(self) -> object:
        return self._clock.now() - Duration(seconds=SHIFT)


class Pair:
    """Robot and policy in one process, spun by turns."""

    def __init__(self) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.robot, self.policy = (rclpy.create_node(n, context=self.context) for n in ("robot", "policy"))
        self.executor = SingleThreadedExecutor(context=self.context)
        for node in (self.robot, self.policy):
            self.executor.add_node(node)
        self.watch = ClockWatch(self.policy, 0.05)

    def spin(self, seconds: float) -> bool:
        """Until an offset is known; False when none is after so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.05)
            if self.watch.offset.read(time.monotonic()) is not None:
                return True
        return False

    def close(self) -> None:
        self.robot.destroy_node()
        self.policy.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def pair(domain: int) -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


def test_the_offset_is_measured_and_refused(pair: Pair) -> None:
    assert pair.watch.report() == (False, "", {"clock_offset_ms": "not measured"})
    behind = Behind(pair.robot)
    pair.robot.get_clock = lambda: behind  # type: ignore[method-assign]
    answer_clock(pair.robot)
    assert pair.spin(15.0)
    found = pair.watch.offset.read(time.monotonic())
    assert found is not None
    assert abs(found.value - SHIFT) <= found.bound + 1e-6
    assert "this clock is +1" in pair.watch.why() and "allowed 50 ms" in pair.watch.why()


def test_a_question_without_an_answer_is_given_up_and_asked_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconvla_ros.nodes.clock_echo._PATIENCE", 0.2)
    asked = []

    def lose(request: ClockEcho.Request, response: ClockEcho.Response) -> ClockEcho.Response:
        asked.append(time.monotonic())
        response.received.sec = 2  # an answer of which nothing can be made
        return response

    pair.robot.create_service(ClockEcho, SERVICE, lose)
    assert not pair.spin(3.5)
    assert len(asked) >= 2 and pair.watch.offset.refused >= 2
    assert pair.watch.why() == ""
