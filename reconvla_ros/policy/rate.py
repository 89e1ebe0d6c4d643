"""Rate matching: when inference is slow, the steps of a chunk take longer, so that the motion has no gap and no step is late.

A chunk of T steps that arrives A seconds after its images were taken, and whose successor arrives I seconds later, is followed
from A to A + I on its own time. So T step_dt >= A + I; at a nominal rate that fits, nothing changes.
"""

from __future__ import annotations

from collections import deque

import numpy as np

WINDOW = 10  # chunks; the 95th percentile of them is close to the slowest
MARGIN = 1.1  # the next chunk may be a little slower than any before
LONGEST = 2.0  # [s] a step; slower than this the arm waits between chunks instead


class RateMatcher:
    """Step time of the next chunk, from what the recent ones took.

    Args:
        nominal: step time of the contract [s].
    """

    def __init__(self, nominal: float) -> None:
        self.nominal = nominal
        self._needed: deque[float] = deque(maxlen=WINDOW)

    def note(self, age: float, interval: float) -> None:
        """One chunk: its `age` on delivery and the time until the next one [s]."""
        self._needed.append(age + interval)

    def step_dt(self, steps: int) -> float:
        """Step time [s] for a chunk of `steps`; never shorter than nominal."""
        if not self._needed:
            return self.nominal
        cover = float(np.percentile(np.array(self._needed), 95)) * MARGIN
        return float(np.clip(cover / steps, self.nominal, max(LONGEST, self.nominal)))

    def explain(self, step_dt: float) -> str:
        """For people; empty when nothing was stretched."""
        if step_dt <= self.nominal * 1.001:
            return ""
        return f"inference is slow: steps take {step_dt:.2f} s instead of {self.nominal:.2f} s"
