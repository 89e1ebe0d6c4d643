"""How sure the model is of each step, and what is done when it is not sure enough.

A step is as sure as the least sure of its seven tokens. What number means "sure" differs from checkpoint to checkpoint:
look at policy/status on the trained one before choosing a threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from reconvla_ros.errors import ConfigError, ShapeError, choices
from reconvla_ros.types import Float, frozen_array

MEASURES = ("probability", "margin", "entropy")
ACTIONS = ("ignore", "slow", "hold", "ask")
UNITS = {"probability": "", "margin": " logits", "entropy": " nat"}


@dataclass(frozen=True, eq=False)
class Certainty:
    """Of one chunk of T steps. Forced steps are certain: probability 1, margin infinite, entropy 0.

    Attributes:
        probability: (T,) softmax over the action ids of the id taken, the smallest of the step, [0, 1].
        margin: (T,) lead over the runner-up, the smallest of the step [logits].
        entropy: (T,) of the distribution over the action ids, the largest of the step [nat].
    """

    probability: Float
    margin: Float
    entropy: Float

    @classmethod
    def of_tokens(cls, probability: ArrayLike, margin: ArrayLike, entropy: ArrayLike, steps: int) -> Certainty:
        """From values per token (N,), N a multiple of `steps`.

        Raises:
            ShapeError: the lengths do not fit.
        """
        rows = [np.asarray(values, dtype=np.float64) for values in (probability, margin, entropy)]
        if steps < 1 or any(row.ndim != 1 or len(row) != len(rows[0]) or len(row) % steps for row in rows):
            raise ShapeError(
                f"certainty: needs three rows of a multiple of {steps} values, got {[r.shape for r in rows]}"
            )
        p, m, e = (row.reshape(steps, -1) for row in rows)
        return cls(p.min(axis=1), m.min(axis=1), e.max(axis=1))

    @classmethod
    def complete(cls, steps: int) -> Certainty:
        """Of a policy that never doubts."""
        return cls(frozen_array("probability", np.ones(steps), (steps,)), np.full(steps, math.inf), np.zeros(steps))


@dataclass(frozen=True)
class ConfidenceRule:
    """When an answer is not sure enough, and what is done then.

    Attributes:
        action: "ignore"; "slow" = its free steps take `slow_factor` times as long; "hold" = it is not published;
            "ask" = nothing is published until a person confirms, once per task.
        measure: of MEASURES. threshold: lowest probability or margin, highest entropy, that a step may have.
        slow_factor: of the action "slow".
    """

    action: str = ACTIONS[0]
    measure: str = MEASURES[0]
    threshold: float = 0.0
    slow_factor: float = 2.0

    def __post_init__(self) -> None:
        for name, valid in (("action", ACTIONS), ("measure", MEASURES)):
            if getattr(self, name) not in valid:
                raise ConfigError(f"confidence {name}: {choices(getattr(self, name), valid)}")
        if not (math.isfinite(self.threshold) and self.threshold >= 0.0):
            raise ConfigError(f"confidence threshold: must be finite and at least 0, got {self.threshold}")
        if not 1.0 <= self.slow_factor <= 10.0:
            raise ConfigError(f"confidence slow_factor: must be in 1..10, got {self.slow_factor}")

    def doubt(self, certainty: Certainty | None, forced: int = 0) -> str:
        """Why the answer is not sure enough, or empty; `forced` leading steps are not judged.

        An answer of unknown or undefined (NaN) certainty is not sure, unless nothing is asked of it.
        """
        if self.action == "ignore":
            return ""
        values = np.zeros(0) if certainty is None else getattr(certainty, self.measure)[forced:]
        if not len(values):
            return "" if certainty is not None else "low confidence: the policy does not say how sure it is"
        high = self.measure == "entropy"
        worst = int(np.argmax(values) if high else np.argmin(values))  # both find a NaN first
        value = float(values[worst])
        if value <= self.threshold if high else value >= self.threshold:
            return ""
        bound = "at most" if high else "at least"
        return (
            f"low confidence: {self.measure} {value:.3g}{UNITS[self.measure]} of step {forced + worst + 1}, "
            f"wanted {bound} {self.threshold:g}"
        )
