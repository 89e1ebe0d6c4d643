"""The inference thread: newest frame, task ids, drops, faults, rate and duty."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

import pytest

from reconvla_ros.errors import ObservationError, TokenGateError
from reconvla_ros.policy.scripted import ScriptedPolicy
from reconvla_ros.policy.worker import PolicyWorker, Task
from reconvla_ros.types import ActionChunk, Observation

Observe = Callable[..., Observation]
TASK = Task("task-1", "put fruit in bowl")


class Slow(ScriptedPolicy):
    """Waits for `gate` before it answers; may fail instead."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.entered = threading.Event(), threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.resets = 0
        self.began: list[float] = []

    def infer(self, observation: Observation) -> ActionChunk:
        self.began.append(time.monotonic())
        self.entered.set()
        assert self.gate.wait(10)
        if self.error is not None:
            raise self.error
        return super().infer(observation)

    def reset(self) -> None:
        self.resets += 1
        super().reset()


class Bench:
    """A worker over made-up frames; every look brings a new stamp unless `frozen`."""

    def __init__(self, observe: Observe, rate: float = 50.0, duty: float = 1.0) -> None:
        self.policy, self.chunks = Slow(), list[ActionChunk]()
        self.stamp, self.frozen = 0, False
        self.missing = ""
        self._observe = observe
        self.worker = PolicyWorker(
            self.policy, self.look, self.chunks.append, lambda: self.stamp + 5_000_000, rate, duty
        )

    def look(self, now_ns: int, instruction: str, task_id: str) -> Observation:
        if self.missing:
            raise ObservationError(self.missing)
        if not self.frozen:
            self.stamp += 1_000_000
        return self._observe(stamp_ns=self.stamp, task_id=task_id)

    def until(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not reached: {self.worker.report}"
            time.sleep(0.002)


@pytest.fixture
def bench(observe: Observe):  # type: ignore[no-untyped-def]
    bench = Bench(observe)
    bench.worker.start()
    yield bench
    bench.policy.gate.set()
    assert bench.worker.stop()


def test_idle_until_a_task_and_again_after_it(bench: Bench) -> None:
    bench.until(lambda: bench.worker.report.state == "IDLE")
    assert not bench.policy.began
    bench.worker.set_task(TASK)
    bench.until(lambda: len(bench.chunks) >= 2)
    assert {c.task_id for c in bench.chunks} == {"task-1"}
    bench.worker.set_task(Task())
    bench.until(lambda: bench.worker.report.state == "IDLE")
    made = len(bench.policy.began)
    bench.worker.poke()
    bench.until(lambda: bench.worker.report.state == "IDLE")
    assert len(bench.policy.began) == made


@pytest.mark.parametrize("then", [Task(), Task("task-2", "something else")])
def test_a_chunk_whose_task_ended_while_it_was_made_is_dropped(bench: Bench, then: Task) -> None:
    bench.policy.gate.clear()
    bench.worker.set_task(TASK)
    assert bench.policy.entered.wait(10)
    bench.worker.set_task(then)  # returns although inference hangs
    bench.policy.gate.set()
    bench.until(lambda: bench.worker.report.dropped == 1)
    assert all(c.task_id == "task-2" for c in bench.chunks)


def test_every_new_task_resets_the_policy_once(bench: Bench) -> None:
    for number in (1, 2, 3):
        bench.worker.set_task(Task(f"task-{number}", "go"))
        wanted = f"task-{number}"
        bench.until(lambda: bool(bench.chunks) and bench.chunks[-1].task_id == wanted)  # noqa: B023
    assert bench.policy.resets == 3


def test_no_usable_observation_waits_and_says_why(bench: Bench) -> None:
    bench.missing = "camera wrist missing: no image has come yet"
    bench.worker.set_task(TASK)
    bench.until(lambda: bench.worker.report.state == "WAITING")
    assert bench.worker.report.reason == bench.missing
    bench.missing = ""
    bench.until(lambda: bench.worker.report.state == "RUNNING")
    assert bench.worker.report.reason == ""


def test_a_frame_is_used_once(bench: Bench) -> None:
    bench.frozen, bench.stamp = True, 7
    bench.worker.set_task(TASK)
    bench.until(lambda: len(bench.chunks) == 1)
    for _ in range(20):
        bench.worker.poke()
    bench.stamp = 8
    bench.worker.poke()
    bench.until(lambda: len(bench.chunks) == 2)
    assert [c.stamp_ns for c in bench.chunks] == [7, 8]


def test_a_refused_answer_is_counted_and_not_delivered(bench: Bench) -> None:
    bench.policy.error = TokenGateError("token gate: token 3 of 35")
    bench.worker.set_task(TASK)
    bench.until(lambda: bench.worker.report.refused >= 2)
    assert "token 3" in bench.worker.report.reason
    assert not bench.chunks
    bench.policy.error = None
    bench.until(lambda: bool(bench.chunks))


def test_a_mistake_of_ours_is_a_fault_that_stays(bench: Bench) -> None:
    bench.policy.error = RuntimeError("CUDA error: out of memory")
    bench.worker.set_task(TASK)
    bench.until(lambda: bench.worker.report.state == "FAULT")
    assert "out of memory" in bench.worker.report.reason
    bench.worker.set_task(Task("task-2", "again"))
    assert bench.worker.report.state == "FAULT" and not bench.chunks


def test_stopping_does_not_deliver_what_is_being_made(observe: Observe) -> None:
    bench = Bench(observe)
    bench.worker.start()
    bench.policy.gate.clear()
    bench.worker.set_task(TASK)
    assert bench.policy.entered.wait(10)
    assert not bench.worker.stop(timeout=0.05)  # hangs, and says so
    bench.policy.gate.set()
    assert bench.worker.stop()
    assert not bench.chunks and bench.worker.report.dropped == 1


def test_duty_spaces_the_starts(observe: Observe) -> None:
    bench = Bench(observe, rate=50.0, duty=0.2)

    def pause(observation: Observation) -> ActionChunk:
        time.sleep(0.05)
        return ScriptedPolicy.infer(bench.policy, observation)

    starts: list[float] = []

    def infer(observation: Observation) -> ActionChunk:
        starts.append(time.monotonic())
        return pause(observation)

    bench.policy.infer = infer  # type: ignore[method-assign]
    bench.worker.start()
    bench.worker.set_task(TASK)
    bench.until(lambda: len(starts) >= 3)
    assert bench.worker.stop()
    assert min(b - a for a, b in itertools.pairwise(starts)) >= 0.25  # 0.05 s of work in at least 0.25 s


def test_status_of_an_answer(bench: Bench) -> None:
    bench.worker.set_task(TASK)
    bench.until(lambda: bench.worker.report.chunks >= 1)
    report = bench.worker.report
    assert list(report.stages) == ["wait", "decode", "publish"]
    assert report.observation_age == pytest.approx(0.004, abs=2e-3)
    assert report.confidence_min == 1.0 and report.task == TASK
