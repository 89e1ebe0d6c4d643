"""Which TCP target of which chunk is due now. Monotonic time is an argument; it moves nothing.

Step k of a chunk is the target between k and k + 1 steps after the observation, so a chunk that took two steps to come
starts at its third: late steps are dropped by the age of the observation. The end of a chunk is an event: the caller
decelerates and holds, no step is repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from reconvla_ros.types import ActionChunk

FUTURE_SLACK_NS = 50_000_000  # clocks of two machines may differ by this much


@dataclass(frozen=True)
class Accepted:
    """Whether a chunk was taken: `reason` is a code, `detail` names bound and value, `dropped` counts late steps."""

    ok: bool
    reason: str = ""
    detail: str = ""
    dropped: int = 0


class Event(Enum):
    """What `due` found: no chunk, a step to follow, or the chunk just ended."""

    EMPTY = "empty"
    STEP = "step"
    ENDED = "ended"


@dataclass(frozen=True, eq=False)
class Due:
    """`chunk` and `step` are those to follow now (event STEP), or those that ended (event ENDED)."""

    event: Event
    chunk: ActionChunk | None = None
    step: int = -1


class ChunkPlayer:
    """Holds the newest chunk of the running task.

    Args:
        max_age: a chunk whose observation is older is refused [s].
    """

    def __init__(self, max_age: float) -> None:
        self._max_age_ns = int(max_age * 1e9)
        self._task_id = ""
        self._chunk: ActionChunk | None = None
        self._start_ns = 0
        self._newest = (-1, -1)  # (stamp, sequence) of the newest chunk taken in this task
        self.dropped_steps = 0

    @property
    def task_id(self) -> str:
        """The task whose chunks are taken; empty = none."""
        return self._task_id

    def set_task(self, task_id: str | None) -> bool:
        """Take chunks of `task_id` only (None = of nobody); one of another task is forgotten. True when it changed."""
        wanted = task_id or ""
        if wanted == self._task_id:
            return False
        self._task_id = wanted
        self.clear()
        self._newest = (-1, -1)
        return True

    def clear(self) -> None:
        """Forget the chunk in hand."""
        self._chunk = None

    def accept(self, chunk: ActionChunk, now_mono_ns: int, now_ros_ns: int) -> Accepted:
        """Take `chunk`, or say why not; a new chunk replaces the one in hand at once."""
        name = f"chunk {chunk.sequence}"
        if not self._task_id:
            return Accepted(False, "no_task", f"{name} of task {chunk.task_id!r}: no task is running")
        if chunk.task_id != self._task_id:
            return Accepted(False, "task_id", f"{name} is of task {chunk.task_id!r}, not {self._task_id!r}")
        age_ns = now_ros_ns - chunk.stamp_ns
        age = age_ns / 1e9
        if age_ns < -FUTURE_SLACK_NS:
            return Accepted(False, "future", f"{name}: stamp {-age:.3f} s in the future")
        if age_ns > self._max_age_ns:
            return Accepted(
                False, "chunk_age", f"{name}: observation {age:.3f} s old, allowed {self._max_age_ns / 1e9:g}"
            )
        if (chunk.stamp_ns, chunk.sequence) <= self._newest:
            return Accepted(False, "out_of_order", f"{name} is not newer than chunk {self._newest[1]}")
        self._newest = (chunk.stamp_ns, chunk.sequence)
        late = max(0, int(age_ns // int(chunk.step_dt * 1e9)))
        if late >= chunk.steps:
            detail = f"{name}: all {chunk.steps} steps of {chunk.step_dt:g} s are over after {age:.3f} s"
            return Accepted(False, "chunk_late", detail, chunk.steps)
        self.dropped_steps += late
        self._chunk, self._start_ns = chunk, now_mono_ns - age_ns
        return Accepted(True, dropped=late)

    def due(self, now_mono_ns: int) -> Due:
        """The step to follow at `now_mono_ns`; ENDED exactly once per chunk."""
        chunk = self._chunk
        if chunk is None:
            return Due(Event.EMPTY)
        step = max(0, (now_mono_ns - self._start_ns) // int(chunk.step_dt * 1e9))
        if step < chunk.steps:
            return Due(Event.STEP, chunk, int(step))
        self._chunk = None
        return Due(Event.ENDED, chunk, chunk.steps - 1)
