"""Tasks: one at a time, each with an id and a timeout; time is an argument."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum

from reconvla_ros.errors import TaskError

MAX_INSTRUCTION = 500  # [characters] after strip
MAX_TIMEOUT = 3600.0  # [s]


class TaskStatus(Enum):
    """As in TaskState.msg."""

    IDLE = "IDLE"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    CANCELED = "CANCELED"
    TIMED_OUT = "TIMED_OUT"
    FAILED = "FAILED"


@dataclass(frozen=True)
class Task:
    """The running or the last task. `started_ns` on the caller's monotonic clock; `timeout` [s]."""

    status: TaskStatus = TaskStatus.IDLE
    task_id: str = ""
    instruction: str = ""
    reason: str = ""
    started_ns: int = 0
    timeout: float = 0.0

    @property
    def running(self) -> bool:
        """Whether it is under way."""
        return self.status is TaskStatus.RUNNING

    def elapsed(self, now_ns: int) -> float:
        """Since it was accepted [s]."""
        return (now_ns - self.started_ns) / 1e9 if self.task_id else 0.0


class TaskMachine:
    """The one owner of tasks.

    Args:
        prefix: makes ids unique across restarts of the process, e.g. eight random hex digits.
        default_timeout: for a request that gives 0 [s].
    """

    def __init__(self, prefix: str, default_timeout: float = 60.0) -> None:
        self._prefix = prefix
        self._default_timeout = default_timeout
        self._count = 0
        self.task = Task()

    def request(self, instruction: str, timeout: float, now_ns: int) -> Task:
        """Start a task.

        Raises:
            TaskError: another task runs, the instruction is empty or too long, the timeout is out of range.
        """
        if self.task.running:
            raise TaskError(
                f"task {self.task.task_id} ({self.task.instruction!r:.60}) is running; cancel it first (task/cancel)"
            )
        text = instruction.strip()
        if not 1 <= len(text) <= MAX_INSTRUCTION:
            raise TaskError(f"instruction: must have 1..{MAX_INSTRUCTION} characters, got {len(text)}")
        if not text.isprintable():
            raise TaskError("instruction: must be one line of printable text, got control characters")
        if not math.isfinite(timeout) or not 0.0 <= timeout <= MAX_TIMEOUT:
            raise TaskError(f"timeout: must be in 0..{MAX_TIMEOUT:g} s (0 = {self._default_timeout:g}), got {timeout}")
        self._count += 1
        task_id = f"{self._prefix}-{self._count:04d}"
        self.task = Task(TaskStatus.RUNNING, task_id, text, "", now_ns, timeout or self._default_timeout)
        return self.task

    def cancel(self, why: str = "canceled") -> Task:
        """End the running task as CANCELED.

        Raises:
            TaskError: no task is running.
        """
        return self._end(TaskStatus.CANCELED, why)

    def finish(self, success: bool, why: str) -> Task:
        """End the running task as SUCCEEDED or FAILED.

        Raises:
            TaskError: no task is running.
        """
        return self._end(TaskStatus.SUCCEEDED if success else TaskStatus.FAILED, why)

    def tick(self, now_ns: int) -> bool:
        """Time the running task out when its time is over; True when that just happened."""
        if not self.task.running or self.task.elapsed(now_ns) < self.task.timeout:
            return False
        self._end(TaskStatus.TIMED_OUT, f"not done after {self.task.timeout:g} s")
        return True

    def _end(self, status: TaskStatus, why: str) -> Task:
        if not self.task.running:
            raise TaskError(f"no task is running (the last one: {self.task.status.value})")
        self.task = replace(self.task, status=status, reason=why)
        return self.task
