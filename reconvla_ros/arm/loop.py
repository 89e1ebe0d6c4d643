"""A periodic loop on absolute monotonic deadlines, with its own statistics."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LoopStats:
    """Of the newest ticks: period error (|period - nominal|) and tick duration [s]; `overruns` since start."""

    ticks: int
    overruns: int
    period_error_p50: float
    period_error_p99: float
    tick_p50: float
    tick_p99: float


class DeadlineLoop:
    """Calls `tick` every `period` [s] until stopped.

    A late tick is not made up for: deadlines that have passed are skipped, so one tick is one tick of motion.
    """

    def __init__(self, period: float, tick: Callable[[], None], history: int = 4096) -> None:
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
            self._tick()
            end = time.monotonic_ns()
            self._starts.append(start)
            self._durations.append(end - start)
            self._ticks += 1
            deadline += self._period_ns
            if deadline <= end:
                missed = (end - deadline) // self._period_ns + 1
                self._overruns += missed
                deadline += missed * self._period_ns
            time.sleep(max(0, deadline - time.monotonic_ns()) / 1e9)

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
