"""Time of the steps: how long a chunk must last when inference is slow, when the next one arrives, and slower on purpose.

A chunk of T steps that arrives A seconds after its images were taken, and whose successor arrives I seconds later, is followed
from A to A + I on its own time. So T step_dt >= A + I; at a nominal rate that fits, nothing changes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np

from reconvla_ros.policy.underway import Underway
from reconvla_ros.types import ActionChunk

WINDOW = 10  # chunks; the 95th percentile of them is close to the slowest
MARGIN = 1.1  # the next chunk may be a little slower than any before
LONGEST = 2.0  # [s] a step; slower than this the arm waits between chunks instead


class RateMatcher:
    """Step time of the next chunk, and the time it will take to make, from what the recent ones took.

    Args:
        nominal: step time of the contract [s].
    """

    def __init__(self, nominal: float) -> None:
        self.nominal = nominal
        self._needed: deque[float] = deque(maxlen=WINDOW)
        self._spent: deque[float] = deque(maxlen=WINDOW)

    def note(self, age: float, interval: float, spent: float = 0.0) -> None:
        """One chunk: its `age` on delivery, the time until the next one, and that from observation to delivery [s]."""
        self._needed.append(age + interval)
        self._spent.append(spent)

    def step_dt(self, steps: int) -> float:
        """Step time [s] for a chunk of `steps`; never shorter than nominal."""
        if not self._needed:
            return self.nominal
        cover = float(np.percentile(np.array(self._needed), 95)) * MARGIN
        return float(np.clip(cover / steps, self.nominal, max(LONGEST, self.nominal)))

    def latency(self) -> float:
        """How long the next chunk will take to make [s]; 0 before the first."""
        return float(np.percentile(np.array(self._spent), 95)) * MARGIN if self._spent else 0.0

    def explain(self, step_dt: float) -> str:
        """For people; empty when nothing was stretched."""
        if step_dt <= self.nominal * 1.001:
            return ""
        return f"inference is slow: steps take {step_dt:.2f} s instead of {self.nominal:.2f} s"


def slowed(chunk: ActionChunk, factor: float) -> ActionChunk:
    """The same way in the same number of steps, `factor` times as slow after the steps that are committed.

    The committed steps keep their time, or the arm would be sent back to where it has been. So the steps are cut anew:
    poses are interpolated, a step keeps gripper and confidence of the old one it lies in, token ids stay as the model gave
    them.
    """
    if factor <= 1.0:
        return chunk
    kept, steps = chunk.prefix_steps, chunk.steps
    step_dt = chunk.step_dt * (kept + factor * (steps - kept)) / steps
    ends = np.arange(1, steps + 1) * step_dt
    border = kept * chunk.step_dt
    old = np.where(ends <= border, ends, border + (ends - border) / factor)
    source = np.clip(np.ceil(old / chunk.step_dt - 1e-9).astype(int) - 1, 0, steps - 1)
    positions, quaternions = Underway(chunk).targets(old)
    return replace(
        chunk,
        step_dt=step_dt,
        positions=positions,
        quaternions=quaternions,
        gripper=chunk.gripper[source],
        confidence=chunk.confidence[source] if len(chunk.confidence) else chunk.confidence,
        prefix_steps=int(border / step_dt + 1e-9),
    )
