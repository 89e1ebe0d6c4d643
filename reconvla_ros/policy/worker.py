"""Inference in its own thread: the newest observation wins, callbacks never wait, a task that ended gets no chunk.

While the arm follows one chunk the next is made: it is told what is under way (`Plan`), so that it can join it. An
inference that takes too long is a fault for as long as it lasts, and what it brings in the end is dropped.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from reconvla_ros.errors import ReconVlaError, SetupError, TokenGateError
from reconvla_ros.policy.certainty import ConfidenceRule
from reconvla_ros.policy.protocol import Plan, Policy
from reconvla_ros.policy.rate import RateMatcher, slowed
from reconvla_ros.policy.report import Report, Task
from reconvla_ros.types import ActionChunk, Observation

NS = 1_000_000_000
POLL = 0.1  # [s] longest sleep; new frames and tasks wake the thread earlier
CONFIRM = "policy/confirm"

__all__ = ["PolicyWorker", "Report", "Task", "WorkerRules"]


@dataclass(frozen=True)
class WorkerRules:
    """What the worker does besides asking the policy.

    Attributes:
        rate: chunks per second at most [Hz].
        duty: largest share of the wall time spent in inference, (0, 1].
        timeout: an inference that takes longer is a fault, and its answer is dropped [s].
        plans: tell the policy what is under way; one that takes no plan is asked without.
        confidence: what to do about answers that are not sure.
    """

    rate: float
    duty: float = 1.0
    timeout: float = math.inf
    plans: bool = False
    confidence: ConfidenceRule = field(default_factory=ConfidenceRule)


class PolicyWorker:
    """Runs a policy while there is a task.

    Args:
        policy: used by this thread alone after `start`.
        assemble: (now_ns, instruction, task_id) -> Observation, or ObservationError.
        deliver: called in this thread with every chunk whose task still runs.
        clock: ROS time [ns], the clock of the stamps.
        rate, duty: as in `WorkerRules`, for who wants nothing else.
        rules: instead of `rate` and `duty`.
    """

    def __init__(
        self,
        policy: Policy,
        assemble: Callable[[int, str, str], Observation],
        deliver: Callable[[ActionChunk], None],
        clock: Callable[[], int],
        rate: float = math.inf,
        duty: float = 1.0,
        rules: WorkerRules | None = None,
    ) -> None:
        self._policy, self._assemble, self._deliver, self._clock = policy, assemble, deliver, clock
        self._rules = rules or WorkerRules(rate, duty)
        self._changed = threading.Condition()
        self._task = Task()
        self._report = Report()
        self._stopping = False
        self._used_stamp = 0
        self._matcher: RateMatcher | None = None
        self._previous: ActionChunk | None = None  # newest chunk delivered for the task in hand
        self._began = math.inf  # monotonic start of the inference under way [s]
        self._asking = ""  # task that waits for a person
        self._confirmed = ""  # task that a person has confirmed
        self._thread: threading.Thread | None = None

    @property
    def report(self) -> Report:
        """What the loop is doing, of one instant."""
        with self._changed:
            report, spent = replace(self._report, task=self._task), time.monotonic() - self._began
        if report.state == "FAULT" or spent <= self._rules.timeout:
            return report
        words = f"inference stalled: {spent:.1f} s so far, allowed {self._rules.timeout:g}; no chunk is made meanwhile"
        return replace(report, state="FAULT", reason=words)

    @property
    def stalled(self) -> bool:
        """Whether the inference under way takes longer than it may."""
        return time.monotonic() - self._began > self._rules.timeout

    def start(self) -> None:
        """Begin; does nothing while no task is set. A thread that still hangs in an inference goes on when that returns."""
        with self._changed:
            self._stopping = False
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="policy", daemon=True)
                self._thread.start()

    def stop(self, timeout: float = 5.0) -> bool:
        """End; True when the thread is gone within `timeout` [s]. What is being inferred is not delivered."""
        with self._changed:
            self._stopping = True
            self._task = Task()
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout)
            return not thread.is_alive()
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

    def forget_chunk(self) -> None:
        """The arm does not follow what was delivered last: the next chunk joins nothing."""
        with self._changed:
            self._previous = None

    def confirm(self) -> tuple[bool, str]:
        """A person says go on: the task in hand is not asked about again. (done, words)."""
        with self._changed:
            if not self._asking or self._asking != self._task.task_id:
                return False, "nothing waits for a confirmation"
            self._confirmed, self._asking = self._asking, ""
            self._changed.notify_all()
            return True, f"task {self._confirmed} goes on, however sure the model is"

    def _note(self, **changes: object) -> None:
        with self._changed:
            self._report = replace(self._report, **changes)  # type: ignore[arg-type]

    def _run(self) -> None:
        try:
            self._loop()
        except Exception as error:  # a mistake of ours or the GPU's: say so and make no more chunks
            self._note(state="FAULT", reason=f"{type(error).__name__}: {error}")
            with self._changed:
                self._thread = None

    def _loop(self) -> None:
        current, ready_at = Task(), 0.0
        while True:
            with self._changed:
                if not self._stopping and (not self._task.task_id or time.monotonic() < ready_at):
                    self._changed.wait(POLL if not self._task.task_id else ready_at - time.monotonic())
                if self._stopping:
                    self._thread = None
                    return
                task = self._task
            if task != current:
                current = task
                self._previous = None
                self._policy.reset()
            if not task.task_id:
                self._note(state="IDLE", reason="")
                continue
            if time.monotonic() >= ready_at and not self._waits_for_a_person(task):
                ready_at = self._once(task)

    def _waits_for_a_person(self, task: Task) -> bool:
        with self._changed:
            if self._asking == task.task_id and not self._stopping:
                self._changed.wait(POLL)
            return self._asking == task.task_id

    def _once(self, task: Task) -> float:
        """One attempt; the monotonic time before which there is no next one."""
        now_ns = self._clock()
        try:
            observation = self._assemble(now_ns, task.instruction, task.task_id)
        except ReconVlaError as error:  # missing, stale, skewed, or a picture that cannot be read
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
            chunk = self._infer(observation, now_ns, began)
        except TokenGateError as error:
            self._note(state="RUNNING", reason=str(error), refused=self._report.refused + 1)
        except ReconVlaError as error:  # it is tried again: memory may come free, another instruction be given
            self._note(state="FAULT" if isinstance(error, SetupError) else "WAITING", reason=str(error))
        else:
            self._pass_on(chunk, age, began)
        spent = time.monotonic() - began
        return began + max(1.0 / self._rules.rate, spent / self._rules.duty)

    def _infer(self, observation: Observation, now_ns: int, began: float) -> ActionChunk:
        plan = self._plan(now_ns)
        self._began = began
        try:
            return self._policy.infer(observation) if plan is None else self._policy.infer(observation, plan)
        finally:
            self._began = math.inf

    def _plan(self, now_ns: int) -> Plan | None:
        """What is under way; None when nothing is, or nobody wants to know."""
        previous, matcher = self._previous, self._matcher
        if previous is None or matcher is None or not self._rules.plans:
            return None
        return Plan(previous, matcher.step_dt(previous.steps), now_ns + round(matcher.latency() * NS))

    def _pass_on(self, chunk: ActionChunk, age: float, began: float) -> None:
        spent = time.monotonic() - began
        with self._changed:
            ended = chunk.task_id != self._task.task_id
            self._report = self._report.of_answer(chunk, self._policy.certainty, self._policy.passes)
        if ended or spent > self._rules.timeout:
            late = f"an inference took {spent:.1f} s, allowed {self._rules.timeout:g}; its answer was dropped"
            self._note(dropped=self._report.dropped + 1, **({} if ended else {"state": "RUNNING", "reason": late}))
            return
        delivered = time.monotonic()
        chunk, slow = self._match(chunk, spent)
        chunk, doubt, held = self._doubt(chunk)
        if not held:
            self._deliver(chunk)
            self._previous = chunk
        self._note(
            state="WAITING" if held else "RUNNING",
            reason=doubt or slow,
            chunks=self._report.chunks + (not held),
            doubted=self._report.doubted + bool(doubt),
            observation_age=age,
            inference_time=spent,
            stages={"wait": age, **self._policy.timings, "publish": time.monotonic() - delivered},
        )

    def _doubt(self, chunk: ActionChunk) -> tuple[ActionChunk, str, bool]:
        """The chunk, slowed where that is wanted; why it is not sure enough, or empty; whether it is held back."""
        rule = self._rules.confidence
        doubt = rule.doubt(self._policy.certainty, chunk.prefix_steps)
        if not doubt:
            return chunk, "", False
        if rule.action == "slow":
            return slowed(chunk, rule.slow_factor), f"{doubt}: {rule.slow_factor:g} times as slow", False
        if rule.action == "hold":
            return chunk, f"{doubt}: no chunk is published, the arm holds", True
        with self._changed:
            if self._confirmed == chunk.task_id:
                return chunk, f"{doubt}: a person has confirmed the task", False
            self._asking = chunk.task_id
        return chunk, f"{doubt}: the arm holds until a person calls {CONFIRM}, or task/cancel", True

    def _match(self, chunk: ActionChunk, spent: float) -> tuple[ActionChunk, str]:
        """The chunk with steps long enough to last until the next one, and why, when they are longer than nominal.

        One that joins the chunk before keeps the step time it was planned with.
        """
        if self._matcher is None:
            self._matcher = RateMatcher(chunk.step_dt)
        age = (self._clock() - chunk.stamp_ns) / NS
        self._matcher.note(age, max(1.0 / self._rules.rate, spent / self._rules.duty), spent)
        step_dt = chunk.step_dt if chunk.prefix_steps else self._matcher.step_dt(chunk.steps)
        return replace(chunk, step_dt=step_dt), self._matcher.explain(step_dt)

    def _wait_for_frame(self) -> None:
        with self._changed:
            if not self._stopping:
                self._changed.wait(POLL)
