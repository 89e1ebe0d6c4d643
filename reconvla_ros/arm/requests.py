"""What the arm is asked for, and by whom: lease, chunk in hand, newest single command. Time is an argument."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from reconvla_ros.safety.lease import Lease
from reconvla_ros.task.chunk_player import FUTURE_SLACK_NS, Accepted, ChunkPlayer, Event
from reconvla_ros.types import ActionChunk, EeCommand, Pose


@dataclass(frozen=True, eq=False)
class Wanted:
    """The TCP target that is due: `key` tells one from the next; `age` [s]; `chunk` None for a single command."""

    key: tuple[str, int, int]
    pose: Pose
    gripper: float | None
    age: float = 0.0
    chunk: ActionChunk | None = None
    step: int = -1


class Requests:
    """At most one source at a time.

    Args:
        chunk_age, command_age: older chunks (by their observation) and single commands are refused [s].
        reasons: counts the ends of chunks and commands.
    """

    def __init__(self, chunk_age: float, command_age: float, reasons: Counter[str]) -> None:
        self.lease = Lease()
        self._player = ChunkPlayer(chunk_age)
        self._command_age = command_age
        self._reasons = reasons
        self._ee: tuple[EeCommand, int, int] | None = None  # command, monotonic time of its stamp [ns], count
        self._count = 0

    @property
    def task_id(self) -> str:
        """The task whose chunks are taken; empty = none."""
        return self._player.task_id

    def set_task(self, task_id: str | None) -> None:
        """Take chunks of this task only. A new task asks for the lease on behalf of the policy; its end returns it."""
        if not self._player.set_task(task_id):
            return
        if task_id and self.lease.holder == "none":
            self.lease.request("policy")
        elif not task_id:
            self.lease.release("policy")

    def accept_chunk(self, chunk: ActionChunk, now_mono_ns: int, now_ros_ns: int) -> Accepted:
        """Take a chunk, or say why not."""
        if self.lease.holder != "policy":
            detail = f"chunk {chunk.sequence}: the lease is with {self.lease.holder!r}, not 'policy'"
            return Accepted(False, "lease", detail)
        return self._player.accept(chunk, now_mono_ns, now_ros_ns)

    def end_chunk(self, task_id: str) -> Accepted:
        """Forget the chunk in hand, which was of `task_id`; or say why not."""
        if task_id != self._player.task_id:
            return Accepted(False, "task_id", f"the end of a chunk of task {task_id!r}, not {self._player.task_id!r}")
        self._player.clear()
        self._reasons["chunk_withdrawn"] += 1
        return Accepted(True)

    def accept_ee(self, command: EeCommand, now_mono_ns: int, now_ros_ns: int) -> Accepted:
        """Take one absolute TCP target of the holder of the lease, or say why not."""
        age_ns = now_ros_ns - command.stamp_ns
        if command.source != self.lease.holder:
            return Accepted(False, "lease", f"the lease is with {self.lease.holder!r}, not {command.source!r}")
        if not -FUTURE_SLACK_NS <= age_ns <= self._command_age * 1e9:
            return Accepted(False, "age", f"command {age_ns / 1e9:.3f} s old, allowed {self._command_age:g}")
        self._count += 1
        self._ee = (command, now_mono_ns - age_ns, self._count)
        return Accepted(True)

    def wanted(self, now_mono_ns: int) -> Wanted | None:
        """What the holder of the lease wants now; None = decelerate and hold."""
        if self.lease.holder == "policy":
            due = self._player.due(now_mono_ns)
            if due.event is Event.ENDED:
                self._reasons["chunk_end"] += 1
            if due.event is not Event.STEP or due.chunk is None:
                return None
            key = ("policy", due.chunk.sequence, due.step)
            return Wanted(key, due.chunk.pose(due.step), float(due.chunk.gripper[due.step]), 0.0, due.chunk, due.step)
        if self._ee is None or self._ee[0].source != self.lease.holder:
            return None
        command, decided_ns, count = self._ee
        age = (now_mono_ns - decided_ns) / 1e9
        if age > self._command_age:
            self._ee = None
            self._reasons["command_end"] += 1
            return None
        return Wanted((command.source, count, 0), command.pose, command.gripper, max(0.0, age))

    def drop(self) -> None:
        """Forget chunk and command in hand; lease and task stay."""
        self._ee = None
        self._player.clear()
