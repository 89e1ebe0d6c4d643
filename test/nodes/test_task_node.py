"""The task node as a process; driver and policy are played by this test, so that their silence can be tried too."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconvla_ros.cli.client import Client, wait_until
from reconvla_ros.cli.supervise import Supervisor
from reconvla_ros.graph import describe

pytestmark = pytest.mark.graph


class World:
    """What the task node hears, and what it says."""

    def __init__(self) -> None:
        from reconvla_ros.msg import ArmStatus, PolicyStatus, TaskState

        from reconvla_ros.nodes import qos

        self.client = Client("task_test")
        node = self.client.node
        self.arm: Any = ArmStatus(state="HOLDING")
        self.policy: Any = PolicyStatus(state="IDLE")
        self.states: list[Any] = []
        self.pid = 0  # of the task node
        arm, policy = node.create_publisher(ArmStatus, "arm/status", qos.STATUS), node.create_publisher(
            PolicyStatus, "policy/status", qos.STATUS)  # fmt: skip
        self.client.listen(TaskState, "task/state", self.states.append, latched=True)
        self._stop = threading.Event()

        def speak() -> None:
            while not self._stop.wait(0.1):
                if self.arm is not None:
                    arm.publish(self.arm)
                if self.policy is not None:
                    policy.publish(self.policy)

        self._thread = threading.Thread(target=speak, daemon=True)
        self._thread.start()

    def give(self, instruction: str = "stack bowls", timeout: float = 0.0) -> Any:
        from reconvla_ros.srv import Task

        return self.client.call(Task, "task", Task.Request(instruction=instruction, timeout=timeout))

    def ended_as(self, state: str, reason: str) -> bool:
        def seen() -> bool:
            return bool(self.states) and self.states[-1].state == state and reason in self.states[-1].reason

        return wait_until(seen, 15.0)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.client.close()


@pytest.fixture
def world(tmp_path: Path, domain: int) -> Iterator[World]:
    with Supervisor(tmp_path, quiet=True) as supervisor:
        supervisor.start([s for s in describe({}) if s.name == "task"])
        supervisor.wait_ready(30.0)
        one = World()
        one.pid = supervisor.running["task"].process.pid
        yield one
        one.close()


def accepted(world: World, **request: Any) -> Any:
    answers: list[Any] = []

    def given() -> bool:
        answers.append(world.give(**request))
        return bool(answers[-1].accepted)

    assert wait_until(given, 15.0), answers[-1].message  # the first status may still be on its way
    return answers[-1]


def test_a_task_is_latched_and_times_out(world: World) -> None:
    answer = accepted(world, instruction="  flip the cup  ", timeout=1.0)
    assert wait_until(lambda: bool(world.states) and world.states[-1].task_id == answer.task_id, 5.0)
    assert world.states[-1].instruction == "flip the cup"
    assert world.ended_as("TIMED_OUT", "not done after 1 s")
    # Ids are never used again: a late chunk of the first must not match the second.
    assert accepted(world).task_id != answer.task_id


def test_it_is_refused_while_nobody_could_do_it(world: World) -> None:
    accepted(world, timeout=0.2)
    assert world.ended_as("TIMED_OUT", "")
    for state, message in (
        ("DISABLED", "call arm/enable first"),
        ("STOPPED", "call arm/clear_stop first"),
        ("FAULT", "FAULT"),
    ):
        world.arm.state = state

        def refused(wanted: str = message) -> bool:
            answer = world.give()
            return not answer.accepted and wanted in answer.message

        assert wait_until(refused, 5.0), state
    world.arm.state = "HOLDING"
    world.policy = None
    assert wait_until(lambda: "no policy is active" in world.give("x").message, 15.0)
    world.arm = None
    assert wait_until(lambda: "the driver is silent" in world.give("x").message, 15.0)


@pytest.mark.parametrize(("who", "reason"), [("arm", "driver went silent"), ("policy", "policy went silent")])
def test_a_task_ends_when_its_driver_or_policy_is_gone(world: World, who: str, reason: str) -> None:
    accepted(world)
    setattr(world, who, None)
    assert world.ended_as("FAILED", reason)


def test_a_stop_ends_the_task_and_a_short_fault_does_not(world: World) -> None:
    answer = accepted(world)
    world.arm.state = "FAULT"
    assert not wait_until(lambda: world.states[-1].state != "RUNNING", 1.0)
    world.arm.state = "MOVING"
    assert not wait_until(lambda: world.states[-1].state != "RUNNING", 1.5)
    assert world.states[-1].task_id == answer.task_id
    world.arm.state, world.arm.reason = "STOPPED", "arm/stop was called"
    assert world.ended_as("FAILED", "arm/stop was called")


def test_a_policy_that_hangs_keeps_no_task_alive(world: World) -> None:
    accepted(world)
    world.policy.state, world.policy.reason = "FAULT", "inference stalled: 6.0 s so far"
    assert not wait_until(lambda: world.states[-1].state != "RUNNING", 2.0)  # it may return
    assert world.ended_as("FAILED", "the policy is FAULT for 5 s: inference stalled")
    answer = world.give()
    assert not answer.accepted and "the policy is FAULT (inference stalled" in answer.message


def test_the_action_reports_and_can_be_canceled(world: World) -> None:
    from rclpy.action import ActionClient
    from reconvla_ros.action import ExecuteTask

    accepted(world, timeout=0.2)
    assert world.ended_as("TIMED_OUT", "")
    client = ActionClient(world.client.node, ExecuteTask, "execute_task")
    assert client.wait_for_server(10.0)
    feedback: list[Any] = []
    goal = client.send_goal_async(ExecuteTask.Goal(instruction="tidy the table", timeout=30.0), feedback.append)
    assert wait_until(goal.done, 10.0)
    handle = goal.result()
    assert handle.accepted
    assert wait_until(lambda: bool(feedback), 10.0)
    assert feedback[0].feedback.remaining <= 30.0
    result = handle.get_result_async()
    handle.cancel_goal_async()
    assert wait_until(result.done, 10.0)
    assert (result.result().result.state, result.result().result.success) == ("CANCELED", False)
    assert world.states[-1].state == "CANCELED"
    client.destroy()


def test_a_task_goes_on_when_its_node_itself_was_away(world: World) -> None:
    # Once the node's own timer fired before what had come meanwhile was read: a host that stood still ended tasks.
    answer = accepted(world)
    for _ in range(3):
        os.kill(world.pid, signal.SIGSTOP)
        time.sleep(1.5)  # longer than the driver may be silent
        os.kill(world.pid, signal.SIGCONT)
        time.sleep(0.3)
    assert (world.states[-1].task_id, world.states[-1].state) == (answer.task_id, "RUNNING"), world.states[-1].reason
    world.arm = None
    assert world.ended_as("FAILED", "driver went silent")
