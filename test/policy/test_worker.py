"""The inference thread: newest frame, task ids, drops, faults, rate and duty."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from reconvla_ros.errors import ObservationError, ReconVlaError, SetupError, ShapeError, TokenGateError
from reconvla_ros.policy.certainty import Certainty, ConfidenceRule
from reconvla_ros.policy.protocol import Plan
from reconvla_ros.policy.scripted import ScriptedPolicy
from reconvla_ros.policy.worker import PolicyWorker, Task, WorkerRules
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
        self.plans: list[Plan | None] = []
        self.sure = 1.0
        self.prefix = 0

    @property
    def certainty(self) -> Certainty | None:
        return Certainty(np.full(5, self.sure), np.full(5, 9.0), np.zeros(5))

    def infer(self, observation: Observation, plan: Plan | None = None) -> ActionChunk:
        self.began.append(time.monotonic())
        self.plans.append(plan)
        self.entered.set()
        assert self.gate.wait(10)
        if self.error is not None:
            raise self.error
        chunk = super().infer(observation)
        if plan is None or not self.prefix:
            return chunk
        return replace(chunk, step_dt=plan.step_dt, prefix_steps=self.prefix)

    def reset(self) -> None:
        self.resets += 1
        super().reset()


class Bench:
    """A worker over made-up frames; every look brings a new stamp unless `frozen`."""

    def __init__(
        self, observe: Observe, rate: float = 50.0, duty: float = 1.0, rules: WorkerRules | None = None
    ) -> None:
        self.policy, self.chunks = Slow(), list[ActionChunk]()
        self.stamp, self.frozen = 0, False
        self.missing = ""
        self.refuse: type[ReconVlaError] = ObservationError
        self._observe = observe
        self.worker = PolicyWorker(
            self.policy, self.look, self.chunks.append, lambda: self.stamp + 5_000_000, rate, duty, rules
        )

    def look(self, now_ns: int, instruction: str, task_id: str) -> Observation:
        if self.missing:
            raise self.refuse(self.missing)
        if not self.frozen:
            self.stamp += 1_000_000
        return self._observe(stamp_ns=self.stamp, task_id=task_id)

    def until(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not reached: {self.worker.report}"
            time.sleep(0.002)


@pytest.fixture
def make(observe: Observe) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def one(**rules: object) -> Bench:
        made.append(Bench(observe, rules=WorkerRules(**{"rate": 50.0, **rules})))  # type: ignore[arg-type]
        made[-1].worker.start()
        return made[-1]

    yield one
    for bench in made:
        bench.policy.gate.set()
        assert bench.worker.stop()


@pytest.fixture
def bench(make: Callable[..., Bench]) -> Bench:
    return make()


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


def test_too_little_memory_is_a_fault_that_is_tried_again(bench: Bench) -> None:
    bench.policy.error = SetupError("engine: an answer of 800 positions does not fit; what would fit: weights int8")
    bench.worker.set_task(TASK)
    bench.until(lambda: bench.worker.report.state == "FAULT")
    assert "weights int8" in bench.worker.report.reason and bench.worker.report.refused == 0
    bench.policy.error = None
    bench.until(lambda: bool(bench.chunks))
    bench.until(lambda: bench.worker.report.state == "RUNNING")


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

    def infer(observation: Observation, plan: Plan | None = None) -> ActionChunk:
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


def test_a_picture_that_cannot_be_read_is_waited_out(bench: Bench) -> None:
    """One image of an unknown encoding put the policy into FAULT for good."""
    bench.refuse, bench.missing = ShapeError, "image encoding: 'bayer' is not known"
    bench.worker.set_task(TASK)
    bench.until(lambda: bench.worker.report.state == "WAITING")
    assert "bayer" in bench.worker.report.reason
    bench.missing = ""
    bench.until(lambda: bool(bench.chunks))


def test_an_inference_that_hangs_is_a_fault_while_it_lasts_and_its_answer_is_dropped(
    make: Callable[..., Bench],
) -> None:
    bench = make(timeout=0.2)
    bench.policy.gate.clear()
    bench.worker.set_task(TASK)
    bench.until(lambda: bench.worker.report.state == "FAULT")
    began = time.monotonic()
    for call in (bench.worker.poke, lambda: bench.worker.set_task(TASK), lambda: bench.worker.report):
        call()  # none of them waits for it
    assert time.monotonic() - began < 1.0
    report = bench.worker.report
    assert "inference stalled" in report.reason and "allowed 0.2" in report.reason and report.task == TASK
    assert bench.worker.stalled and not bench.chunks
    bench.policy.gate.set()
    bench.until(lambda: len(bench.chunks) >= 2)
    assert bench.worker.report.dropped == 1 and bench.worker.report.state == "RUNNING"
    assert bench.chunks[0].sequence == 1  # the first was made, too late


def test_a_worker_started_again_while_it_hangs_goes_on_with_one_thread(make: Callable[..., Bench]) -> None:
    bench = make(timeout=0.1)
    bench.policy.gate.clear()
    bench.worker.set_task(TASK)
    assert bench.policy.entered.wait(10)
    assert not bench.worker.stop(0.05)
    bench.worker.start()
    bench.worker.set_task(TASK)
    assert sum(t.name == "policy" for t in threading.enumerate()) == 1
    bench.until(lambda: bench.worker.report.state == "FAULT")
    bench.policy.gate.set()
    bench.until(lambda: len(bench.chunks) >= 2)


def test_the_policy_is_told_what_is_under_way(make: Callable[..., Bench]) -> None:
    bench = make(plans=True)
    bench.worker.set_task(TASK)
    bench.until(lambda: len(bench.chunks) >= 3)
    bench.policy.gate.clear()
    bench.worker.set_task(Task("task-2", "another"))
    bench.until(lambda: bench.policy.resets == 2)
    bench.policy.gate.set()
    bench.until(lambda: bench.chunks[-1].task_id == "task-2")
    plans, first = bench.policy.plans, [p is None for p in bench.policy.plans]
    assert first[0] and not any(first[1:3])
    for plan, chunk in zip(plans[1:3], bench.chunks, strict=False):
        assert plan is not None and plan.previous is chunk
        assert plan.step_dt >= chunk.step_dt and plan.arrival_ns > chunk.stamp_ns
    # The first chunk of a new task has nothing to join.
    of_task = [p for p, c in zip(plans, bench.chunks, strict=False) if c.task_id == "task-2"]
    assert of_task[0] is None


def test_a_chunk_that_the_driver_refused_is_not_joined(make: Callable[..., Bench]) -> None:
    bench = make(plans=True)
    bench.worker.set_task(TASK)
    bench.until(lambda: len(bench.chunks) >= 2)
    bench.policy.gate.clear()
    bench.policy.entered.clear()
    assert bench.policy.entered.wait(10)  # this one knows its plan already
    told = len(bench.policy.plans)
    bench.policy.error = TokenGateError("so that nothing is delivered")
    bench.worker.forget_chunk()
    bench.policy.gate.set()
    bench.until(lambda: len(bench.policy.plans) > told)
    assert bench.policy.plans[told - 1] is not None and bench.policy.plans[told] is None


def test_a_chunk_that_joins_keeps_the_step_time_it_was_planned_with(make: Callable[..., Bench]) -> None:
    bench = make(plans=True, rate=1.0 / 0.3)  # chunks of 0.5 s every 0.3 s: nominal
    bench.policy.prefix = 2
    bench.worker.set_task(TASK)
    bench.until(lambda: len(bench.chunks) >= 2)
    assert [c.step_dt for c in bench.chunks[:2]] == [0.1, 0.1]
    assert bench.chunks[1].prefix_steps == 2 and bench.worker.report.prefix_steps == 2


def test_nobody_is_told_a_plan_who_takes_none(bench: Bench) -> None:
    bench.worker.set_task(TASK)
    bench.until(lambda: len(bench.chunks) >= 3)
    assert set(bench.policy.plans) == {None}


def rule(action: str) -> ConfidenceRule:
    return ConfidenceRule(action, "probability", 0.5, 2.0)


def test_ignored_doubt_is_shown_and_nothing_else(make: Callable[..., Bench]) -> None:
    bench = make(confidence=rule("ignore"))
    bench.policy.sure = 0.1
    bench.worker.set_task(TASK)
    bench.until(lambda: len(bench.chunks) >= 2)
    report = bench.worker.report
    assert report.certainty is not None and report.certainty.probability.tolist() == [0.1] * 5
    assert report.doubted == 0 and bench.chunks[0].step_dt == 0.1


def test_in_doubt_slow_takes_twice_as_long(make: Callable[..., Bench]) -> None:
    bench = make(confidence=rule("slow"))
    bench.worker.set_task(TASK)
    bench.until(lambda: len(bench.chunks) >= 1)
    bench.policy.sure = 0.3
    bench.until(lambda: bench.worker.report.doubted >= 1)
    assert bench.worker.report.state == "RUNNING"
    assert "probability 0.3 of step 1, wanted at least 0.5: 2 times as slow" in bench.worker.report.reason
    assert bench.chunks[0].step_dt == 0.1 and bench.chunks[-1].step_dt == pytest.approx(0.2)


def test_in_doubt_hold_publishes_nothing_until_it_is_sure_again(make: Callable[..., Bench]) -> None:
    bench = make(confidence=rule("hold"))
    bench.policy.sure = 0.3
    bench.worker.set_task(TASK)
    bench.until(lambda: bench.worker.report.doubted >= 3)
    report = bench.worker.report
    assert report.state == "WAITING" and not bench.chunks and report.chunks == 0
    assert report.reason.startswith("low confidence: probability 0.3") and "the arm holds" in report.reason
    bench.policy.sure = 0.9
    bench.until(lambda: len(bench.chunks) >= 2)
    assert bench.worker.report.state == "RUNNING" and bench.worker.report.reason == ""


def test_in_doubt_ask_waits_for_a_person_once_per_task(make: Callable[..., Bench]) -> None:
    bench = make(confidence=rule("ask"))
    assert bench.worker.confirm() == (False, "nothing waits for a confirmation")
    bench.policy.sure = 0.3
    bench.worker.set_task(TASK)
    bench.until(lambda: bench.worker.report.state == "WAITING")
    assert "until a person calls policy/confirm" in bench.worker.report.reason
    bench.policy.sure = 0.9  # being sure now does not help: it was asked
    asked = len(bench.policy.began)
    for _ in range(20):
        bench.worker.poke()
    assert not bench.chunks and len(bench.policy.began) == asked and bench.worker.report.state == "WAITING"
    assert bench.worker.confirm() == (True, "task task-1 goes on, however sure the model is")
    bench.policy.sure = 0.2
    bench.until(lambda: len(bench.chunks) >= 2)
    assert "a person has confirmed" in bench.worker.report.reason and bench.worker.report.doubted >= 3
    # Of another task it is asked anew, and a confirmation that comes after the task's end is none.
    bench.worker.set_task(Task("task-2", "another"))
    bench.until(lambda: bench.worker.report.state == "WAITING")
    bench.worker.set_task(Task())
    bench.until(lambda: bench.worker.report.state == "IDLE")
    assert not bench.worker.confirm()[0]
    assert {c.task_id for c in bench.chunks} == {"task-1"}
