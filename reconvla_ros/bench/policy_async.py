"""B15 of `reconvla bench policy`: steps executed per second when the arm moves while the next chunk is made, or waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from reconvla_ros.bench.policy_bench import Progress, Settings
from reconvla_ros.bench.policy_timing import Bound, compare, gather, milliseconds, take_turns
from reconvla_ros.bench.policy_workload import TOKENS, Workload, workload
from reconvla_ros.policy.worker import PolicyWorker, Task
from reconvla_ros.task.chunk_player import ChunkPlayer, Event
from reconvla_ros.types import STEP_VALUES, ActionChunk, ArmState, Observation, Pose

STEPS = TOKENS // STEP_VALUES
"""Of a chunk."""
CHUNKS = 4
"""Chunks of one block."""
BLOCKS = 5
"""Rounds at most: a block waits for the clock, not for the processor."""
TICK = 0.005  # [s] of the arm's loop
_TASK = Task("bench", "put fruit in bowl")
_HOME = Pose(np.array([0.3, 0.0, 0.25]), np.array([0.0, 0.0, 0.0, 1.0]))


class NetworkPolicy:
    """The workload's network behind the policy protocol; its chunks stay where the arm is, their time is what counts."""

    certainty = None
    passes = 0

    def __init__(self, load: Workload, period: float) -> None:
        self._load, self._engine, self.period = load, load.engine(watch=True), period
        self._sequence = 0
        self.timings: dict[str, float] = {}

    def warm_up(self) -> None:
        """One answer."""
        self.infer(observe(time.time_ns(), "warm up", "bench"))

    def reset(self) -> None:
        """Nothing is remembered."""

    def infer(self, observation: Observation, plan: object = None) -> ActionChunk:
        """A whole chunk, from pictures to tokens."""
        inputs = self._load.of(self._sequence)
        decoded = self._engine.answer(inputs.ids, self._load.image(inputs))
        self._sequence += 1
        return ActionChunk(
            observation.stamp_ns, observation.task_id, self._sequence, self.period, observation.tcp,
            np.tile(observation.tcp.position, (STEPS, 1)), np.tile(observation.tcp.quaternion, (STEPS, 1)), np.zeros(STEPS),
            confidence=np.ones(STEPS), token_ids=decoded.ids,
        )  # fmt: skip


def observe(now_ns: int, instruction: str, task_id: str) -> Observation:
    """What a camera would give at this instant; the pictures themselves are the workload's."""
    black = np.zeros((2, 2, 3), np.uint8)
    arm = ArmState(now_ns, np.zeros(6), np.zeros(6), np.zeros(6), 0.0)
    return Observation(now_ns, black, black, arm, _HOME, instruction, task_id)


def synchronous(policy: NetworkPolicy, chunks: int, ages: list[float]) -> float:
    """Look, think, move, one after the other; seconds per step executed."""
    began = time.monotonic()
    for _ in range(chunks):
        chunk = policy.infer(observe(time.time_ns(), _TASK.instruction, _TASK.task_id))
        play(chunk, policy.period, ages)
    return (time.monotonic() - began) / (chunks * STEPS)


def play(chunk: ActionChunk, period: float, ages: list[float]) -> None:
    """All steps of a chunk, each for `period` [s]; notes the age of the observation at the begin of each."""
    deadline = time.monotonic()
    for _ in range(chunk.steps):
        ages.append((time.time_ns() - chunk.stamp_ns) / 1e9)
        deadline += period
        time.sleep(max(0.0, deadline - time.monotonic()))


class Inbox:
    """The newest chunk delivered; an unread older one is replaced."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._newest: ActionChunk | None = None
        self.replaced = 0

    def put(self, chunk: ActionChunk) -> None:
        """Deliver."""
        with self._changed:
            self.replaced += self._newest is not None
            self._newest = chunk
            self._changed.notify()

    def take(self, timeout: float) -> ActionChunk:
        """Wait for one.

        Raises:
            TimeoutError: none came within `timeout` [s].
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._newest is not None, timeout):
                raise TimeoutError(f"no chunk within {timeout:.1f} s")
            chunk, self._newest = self._newest, None
        assert chunk is not None
        return chunk


def working(policy: NetworkPolicy, deliver: Callable[[ActionChunk], None]) -> PolicyWorker:
    """The real worker, started, as fast as it can."""
    worker = PolicyWorker(policy, observe, deliver, time.time_ns, rate=1000.0, duty=1.0)
    worker.start()
    worker.set_task(_TASK)
    return worker


def asynchronous(policy: NetworkPolicy, chunks: int, ages: list[float], patience: float) -> float:
    """The worker thinks while the arm moves: every chunk is played from its first step when it has come; seconds per step."""
    inbox = Inbox()
    worker = working(policy, inbox.put)
    try:
        chunk = inbox.take(patience)  # the first one has nothing to hide behind
        began = time.monotonic()
        for left in range(chunks, 0, -1):
            play(chunk, policy.period, ages)
            if left > 1:
                chunk = inbox.take(patience)
        return (time.monotonic() - began) / (chunks * STEPS)
    finally:
        worker.set_task(Task())
        worker.stop(patience)


def aligned(policy: NetworkPolicy, chunks: int, patience: float) -> float:
    """The worker with the driver's `ChunkPlayer`: steps have their place in time, late ones are dropped; seconds per step.

    The worker makes the steps longer where inference is slow, so that a chunk lasts until the next one.
    """
    player, inbox, seen = ChunkPlayer(patience), Inbox(), set()
    player.set_task(_TASK.task_id)
    worker = working(policy, inbox.put)
    try:
        first = inbox.take(patience)
        player.accept(first, time.monotonic_ns(), time.time_ns())
        began, newest = time.monotonic(), 1
        while newest <= chunks:
            due = player.due(time.monotonic_ns())
            if due.event is Event.STEP and due.chunk is not None:
                seen.add((due.chunk.sequence, due.step))
            try:
                chunk = inbox.take(TICK)
            except TimeoutError:
                continue
            newest += 1
            player.accept(chunk, time.monotonic_ns(), time.time_ns())
        return (time.monotonic() - began) / max(len(seen), 1)
    finally:
        worker.set_task(Task())
        worker.stop(patience)


def gain(settings: Settings, progress: Progress) -> dict[str, Any]:
    """B15: steps executed per second, asynchronous / synchronous, at a control period of t(chunk) / 5.

    Both sides run the real network; the asynchronous one in the real `PolicyWorker`. A step is executed when it has been in force
    for one control period. Synchronous: look, think (the arm stands), execute five steps. Asynchronous: the worker thinks all
    the time, and each chunk is executed from its first step on when it has come. The limit is 2, for thinking takes as long as
    executing. The observation behind a step is as old on both sides (`age_ms`); what differs is that the arm has meanwhile gone
    on by five steps, which the asynchronous side pays in quality, not in steps; no benchmark without a task can judge that.
    Part "aligned" has no bound: there each step keeps its place in time after the observation (the driver's `ChunkPlayer`).
    With an inference as long as the whole chunk that leaves no step in time, so the worker makes the steps longer instead; the
    arm then moves without a pause, but not by more steps.
    """
    load = workload(settings)
    policy = NetworkPolicy(load, 1.0)
    policy.warm_up()
    spent = []
    for _ in range(3):
        load.sync()
        began = time.monotonic()
        policy.warm_up()
        spent.append(time.monotonic() - began)
    inference = float(np.median(spent))
    policy.period = inference / STEPS
    patience = 20.0 * inference + 5.0
    ages: dict[str, list[float]] = {"sync": [], "async": []}
    sides: dict[str, Callable[[int], float | None]] = {
        "async": lambda index: asynchronous(policy, CHUNKS, ages["async"], patience),
        "sync": lambda index: synchronous(policy, CHUNKS, ages["sync"]),
        "aligned": lambda index: aligned(policy, CHUNKS, patience),
    }
    progress(f"  a chunk takes {inference * 1e3:.1f} ms, a step {policy.period * 1e3:.1f} ms")
    times = take_turns(sides, min(settings.rounds, BLOCKS), 0)
    parts = {
        "newest chunk": {**compare(times["async"], times["sync"], Bound(">=", 1.7)), "limit": 2.0},
        "aligned": compare(times["aligned"], times["sync"]),
    }
    whole = gather("newest chunk", parts)
    whole |= {"chunk_ms": round(inference * 1e3, 3), "period_ms": round(policy.period * 1e3, 3)}
    whole["age_ms"] = {name: milliseconds(values) for name, values in ages.items()}
    whole["notes"] = [
        f"per step; a chunk takes {inference * 1e3:.1f} ms; age of the observation behind a step, median: async "
        f"{whole['age_ms']['async']:.0f} ms, sync {whole['age_ms']['sync']:.0f} ms"
    ]
    return whole
