"""The policy in a real graph: chunks join the one under way, and a policy that stalls leaves an arm that holds, and goes on."""

from __future__ import annotations

import itertools
import os
import signal
from typing import Any

import pytest
from running import Graph

pytestmark = [pytest.mark.graph, pytest.mark.timeout(240)]


def moving(graph: Graph) -> None:
    """Ready, then moving for a task."""
    from reconvla_ros.srv import Task

    graph.wait(lambda: graph.ear.joints()[1] > 0.5 and graph.ear.still(0.2), "the arm is where tasks begin")
    graph.wait(graph.monitor.waiting, "arm holds and policy waits", 60.0)
    graph.monitor.forget_motion()
    answers: list[Any] = []

    def accepted() -> bool:
        answers.append(graph.client.call(Task, "task", Task.Request(instruction="put fruit in bowl", timeout=120.0)))
        return bool(answers[-1].accepted)

    graph.wait(accepted, lambda: f"a task is accepted ({answers[-1].message})")
    graph.wait(graph.monitor.moving, "the arm moves", 60.0)


def test_chunks_join_and_a_stalled_policy_holds_and_goes_on(graph: Graph) -> None:
    from reconvla_ros.msg import ActionChunk

    graph.start(duty="0.9")  # shorter chunks: the stall below must end before the task node loses patience
    chunks: list[Any] = []
    graph.client.listen(ActionChunk, "policy/action_chunk", chunks.append)
    moving(graph)
    graph.wait(
        lambda: sum(c.prefix_steps > 0 for c in chunks) >= 3,
        lambda: f"chunks join; {len(chunks)} came, {graph.monitor.values.get('policy', {}).get('not_joined')}",
        60.0,
    )
    joined = [(a, b) for a, b in itertools.pairwise(chunks) if b.prefix_steps]
    assert all(a.task_id == b.task_id and b.prefix_steps < len(b.poses) for a, b in joined)

    os.kill(graph.pid("policy"), signal.SIGSTOP)
    graph.wait(lambda: graph.monitor.arm.state == "HOLDING" and graph.ear.still(0.3), "the arm holds", 20.0)
    assert all(graph.ear.enabled())
    graph.monitor.forget_motion()
    before = len(chunks)
    os.kill(graph.pid("policy"), signal.SIGCONT)
    # The task node has five seconds of patience with a silent policy: the same task goes on.
    graph.wait(lambda: len(chunks) > before + 1 and graph.monitor.moving(), "the arm moves again", 30.0)
    assert {c.task_id for c in chunks} == {chunks[0].task_id}
