"""A periodic loop on absolute monotonic deadlines, with its own statistics."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


def take_turn() -> str:
    """A round-robin real-time turn for this thread, its threads and processes to come; says what came of it."""
    if not hasattr(os, "sched_setscheduler"):
        return "off"
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        return "not allowed (docs/how-to/real-time.md)"
    return "round-robin 1"


@dataclass(frozen=True)
class LoopStats:
    """Of the newest ticks: period error (|period - nominal|) and tick duration [s]; `overruns` since start."""

    ticks: int
    overruns: int
    period_error_p50: float
    period_error_p99: float
    tick_p50: float
    tick_p99: float


PHASE_NS = 2_000_000  # [ns] a tick comes this long after the frame it reads: parsed by then, not old yet
_GAIN = 0.05  # of the phase error that one deadline makes up for
_LARGEST_NUDGE_NS = 50_000  # 1 % of a 5 ms period


class DeadlineLoop:
    """Calls `tick` every `period` [s] until stopped.

    A late tick is not made up for: deadlines that have passed are skipped, so one tick is one tick of motion.

    `tick` may return the age [ns] of the newest sample it read. A source of the same rate is then followed in phase, by
    nudges far below the period: two free clocks of 200 Hz would drift through each other, read some samples twice and
    never see others.
    """

    def __init__(self, period: float, tick: Callable[[], int | None], history: int = 4096) -> None:
        self._period_ns = int(period * 1e9)
        self._tick = tick
        self._stop = threading.Event()
        self._starts: deque[int] = deque(maxlen=history)
        self._durations: deque[int] = deque(maxlen=history)
        self._ticks = self._overruns = 0

    def run(self) -> None:
        """Until `stop`; an exception of `tick` ends the loop and is raised here."""
        deadline = time.monotonic_ns()
        while not self._stop.is_set():
            start = time.monotonic_ns()
            age = self._tick()
            end = time.monotonic_ns()
            self._starts.append(start)
            self._durations.append(end - start)
            self._ticks += 1
            deadline += self._period_ns + (0 if age is None else self._nudge(age))
            if deadline <= end:
                missed = (end - deadline) // self._period_ns + 1
                self._overruns += missed
                deadline += missed * self._period_ns
            time.sleep(max(0, deadline - time.monotonic_ns()) / 1e9)

    def _nudge(self, age_ns: int) -> int:
        """How much later (or earlier) the next tick comes, so that ages settle at PHASE_NS."""
        half = self._period_ns // 2
        error = (PHASE_NS - age_ns + half) % self._period_ns - half  # the nearest way round
        return int(min(max(error * _GAIN, -_LARGEST_NUDGE_NS), _LARGEST_NUDGE_NS))

    def stop(self) -> None:
        """End after the running tick."""
        self._stop.set()

    def stats(self) -> LoopStats:
        """Over the newest ticks; zeros before the second."""
        starts = np.array(list(self._starts), dtype=np.int64)
        if len(starts) < 2:
            return LoopStats(self._ticks, self._overruns, 0.0, 0.0, 0.0, 0.0)
        errors = np.abs(np.diff(starts) - self._period_ns) / 1e9
        durations = np.array(list(self._durations)) / 1e9
        return LoopStats(
            self._ticks,
            self._overruns,
            *(float(v) for v in np.percentile(errors, (50, 99))),
            *(float(v) for v in np.percentile(durations, (50, 99))),
        )
