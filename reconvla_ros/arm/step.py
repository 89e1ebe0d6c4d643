"""What one tick of the motion leads to."""

from __future__ import annotations

from dataclasses import dataclass

from reconvla_ros.safety.filter import Verdict
from reconvla_ros.types import JointCommand


@dataclass(frozen=True, eq=False)
class Step:
    """One tick: `command` to send (None = nothing new), whether the arm moves, and what the filter said."""

    command: JointCommand | None
    moving: bool
    verdict: Verdict = Verdict.PASSED
    reason: str = ""
    detail: str = ""
