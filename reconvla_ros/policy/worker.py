"""Inference in its own thread: the newest observation wins, callbacks never wait, a task that ended gets no chunk."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from reconvla_ros.errors import ObservationError, ReconVlaError, TokenGateError
from reconvla_ros.policy.protocol import Policy
from reconvla_ros.policy.rate import RateMatcher
from reconvla_ros.types import ActionChunk, Observation

NS = 1_000_000_000
POLL = 0.1  # [s] longest sleep; new frames and tasks wake the thread earlier


@dataclass(frozen=True)
class Task:
    """What is asked for now; an empty id means nothing."""

    task_id: str = ""
    instruction: str = ""


@dataclass(frozen=True)
class Report:
    """What the loop is doing; the fields are those of PolicyStatus.

    Attributes:
        state: IDLE, RUNNING, WAITING (no usable observation) or FAULT.
        observation_age: capture stamp to start of inference, last answer [s].
        inference_time: of the last answer [s].
        stages: of the last answer [s]: wait, those of the policy, publish.
    """

    state: str = "IDLE"
    reason: str = ""
    task: Task = Task()
    chunks: int = 0
    refused: int = 0
    dropped: int = 0
    observation_age: float = 0.0
    inference_time: float = 0.0
    confidence_min: float = math.nan
    confidence_mean: float = math.nan
    stages: dict[str, float] = field(default_factory=dict)


class PolicyWorker:
    """Runs a policy while there is a task.

    Args:
        policy: used by this thread alone after `start`.
        assemble: (now_ns, instruction, task_id) -> Observation, or ObservationError.
        deliver: called in this thread with every chunk whose task still runs.
        clock: ROS time [ns], the clock of the stamps.
        rate: chunks per second at most [Hz].
        duty: largest share of the wall time spent in inference, (0, 1].
    """

    def __init__(
        self,
        policy: Policy,
        assemble: Callable[[int, str, str], Observation],
        deliver: Callable[[ActionChunk], None],
        clock: Callable[[], int],
        rate: float,
        duty: float,
    ) -> None:
        self._policy, self._assemble, self._deliver, self._clock = policy, assemble, deliver, clock
        self._rate, self._duty = rate, duty
        self._changed = threading.Condition()
        self._task = Task()
        self._report = Report()
        self._stopping = False
        self._used_stamp = 0
        self._matcher: RateMatcher | None = None
        self._thread: threading.Thread | None = None

    @property
    def report(self) -> Report:
        """What the loop is doing, of one instant."""
        with self._changed:
            return replace(self._report, task=self._task)

    def start(self) -> None:
        """Begin; does nothing while no task is set."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="policy", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> bool:
        """End; True when the thread is gone within `timeout` [s]. What is being inferred is not delivered."""
        with self._changed:
            self._stopping = True
            self._task = Task()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)
            return not self._thread.is_alive()
        return True

    def set_task(self, task: Task) -> None:
        """Work for this task from now on; `Task()` means rest. Returns at once."""
        with self._changed:
            self._task = task
            self._changed.notify_all()

    def poke(self) -> None:
        """A new image has come."""
        with self._changed:
            self._changed.notify_all()

    def _note(self, **changes: object) -> None:
        with self._changed:
            self._report = replace(self._report, **changes)  # type: ignore[arg-type]

    def _run(self) -> None:
        current, ready_at = Task(), 0.0
        while True:
            with self._changed:
                if not self._stopping and (not self._task.task_id or time.monotonic() < ready_at):
                    self._changed.wait(POLL if not self._task.task_id else ready_at - time.monotonic())
                if self._stopping:
                    return
                task = self._task
            if task != current:
                current = task
                self._policy.reset()
            if not task.task_id:
                self._note(state="IDLE", reason="")
                continue
            if time.monotonic() < ready_at:
                continue
            try:
                ready_at = self._once(task)
            except Exception as error:  # a mistake of ours or the GPU's: say so and make no more chunks
                self._note(state="FAULT", reason=f"{type(error).__name__}: {error}")
                return

    def _once(self, task: Task) -> float:
        """One attempt; the monotonic time before which there is no next one."""
        now_ns = self._clock()
        try:
            observation = self._assemble(now_ns, task.instruction, task.task_id)
        except ObservationError as error:
            self._note(state="WAITING", reason=str(error))
            self._wait_for_frame()
            return 0.0
        if observation.stamp_ns == self._used_stamp:
            self._wait_for_frame()
            return 0.0
        self._used_stamp = observation.stamp_ns
        age = (now_ns - observation.stamp_ns) / NS
        began = time.monotonic()
        try:
            chunk = self._policy.infer(observation)
        except ReconVlaError as error:
            gate = isinstance(error, TokenGateError)
            self._note(state="RUNNING" if gate else "WAITING", reason=str(error), refused=self._report.refused + 1)
        else:
            self._pass_on(chunk, age, began)
        spent = time.monotonic() - began
        return began + max(1.0 / self._rate, spent / self._duty)

    def _pass_on(self, chunk: ActionChunk, age: float, began: float) -> None:
        spent = time.monotonic() - began
        with self._changed:
            ended = chunk.task_id != self._task.task_id
        if ended:
            self._note(dropped=self._report.dropped + 1)
            return
        delivered = time.monotonic()
        chunk, reason = self._match(chunk, spent)
        self._deliver(chunk)
        stages = {"wait": age, **self._policy.timings, "publish": time.monotonic() - delivered}
        known = len(chunk.confidence) > 0
        self._note(
            state="RUNNING",
            reason=reason,
            chunks=self._report.chunks + 1,
            observation_age=age,
            inference_time=spent,
            confidence_min=float(chunk.confidence.min()) if known else math.nan,
            confidence_mean=float(chunk.confidence.mean()) if known else math.nan,
            stages=stages,
        )

    def _match(self, chunk: ActionChunk, spent: float) -> tuple[ActionChunk, str]:
        """The chunk with steps long enough to last until the next one, and why, when they are longer than nominal."""
        if self._matcher is None or self._matcher.nominal != chunk.step_dt:
            self._matcher = RateMatcher(chunk.step_dt)
        age = (self._clock() - chunk.stamp_ns) / NS
        self._matcher.note(age, max(1.0 / self._rate, spent / self._duty))
        step_dt = self._matcher.step_dt(chunk.steps)
        return replace(chunk, step_dt=step_dt), self._matcher.explain(step_dt)

    def _wait_for_frame(self) -> None:
        with self._changed:
            if not self._stopping:
                self._changed.wait(POLL)
