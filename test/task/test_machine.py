from __future__ import annotations

import pytest

from reconvla_ros.errors import TaskError
from reconvla_ros.task.machine import TaskMachine, TaskStatus

S = 1_000_000_000


@pytest.fixture
def machine() -> TaskMachine:
    return TaskMachine("ab", default_timeout=10.0)


def test_a_task_runs_and_ends(machine: TaskMachine) -> None:
    assert machine.task.status is TaskStatus.IDLE
    task = machine.request("  put fruit in bowl ", 0.0, 5 * S)
    assert (task.task_id, task.instruction, task.timeout, task.running) == ("ab-0001", "put fruit in bowl", 10.0, True)
    assert machine.finish(True, "done").status is TaskStatus.SUCCEEDED


def test_ids_are_never_used_twice(machine: TaskMachine) -> None:
    ids = []
    for _ in range(3):
        ids.append(machine.request("x", 0.0, 0).task_id)
        machine.cancel()
    assert len(set(ids)) == 3


def test_one_at_a_time(machine: TaskMachine) -> None:
    machine.request("first", 0.0, 0)
    with pytest.raises(TaskError, match=r"task ab-0001 .*first.* is running"):
        machine.request("second", 0.0, 0)
    assert machine.task.instruction == "first"


@pytest.mark.parametrize(
    ("instruction", "message"),
    [
        ("", "got 0"),
        ("   ", "got 0"),
        ("x" * 501, "got 501"),
        ("x" * 10_000, "1..500 characters"),
        ("a\x00b", "one line"),
    ],
)
def test_bad_instructions(machine: TaskMachine, instruction: str, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        machine.request(instruction, 0.0, 0)
    assert machine.task.status is TaskStatus.IDLE


@pytest.mark.parametrize("timeout", [-1.0, float("nan"), float("inf"), 1e9])
def test_bad_timeouts(machine: TaskMachine, timeout: float) -> None:
    with pytest.raises(TaskError, match=r"timeout: must be in 0..3600 s"):
        machine.request("x", timeout, 0)


def test_times_out_on_the_time_it_is_given(machine: TaskMachine) -> None:
    machine.request("x", 2.0, 100 * S)
    assert not machine.tick(101 * S)
    assert machine.tick(102 * S)
    assert machine.task.status is TaskStatus.TIMED_OUT
    assert not machine.tick(103 * S)


def test_nothing_to_cancel(machine: TaskMachine) -> None:
    with pytest.raises(TaskError, match="no task is running"):
        machine.cancel()
