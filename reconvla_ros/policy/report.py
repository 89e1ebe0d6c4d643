"""What the inference thread works for, and what it says of itself."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from reconvla_ros.policy.certainty import Certainty
from reconvla_ros.types import ActionChunk


@dataclass(frozen=True)
class Task:
    """What is asked for now; an empty id means nothing."""

    task_id: str = ""
    instruction: str = ""


@dataclass(frozen=True)
class Report:
    """What the loop is doing; the fields are those of PolicyStatus.

    Attributes:
        state: LOADING, WARMING_UP, IDLE, RUNNING, WAITING (no usable observation, or not sure enough) or FAULT.
        chunks: delivered. refused: by the token gate. dropped: of a task that had ended, or that came too late.
        doubted: answers below the confidence threshold.
        observation_age: capture stamp to start of inference, last answer [s].
        inference_time: of the last answer [s].
        confidence_min, confidence_mean: over the steps of the last answer, [0, 1]; NaN = unknown.
        certainty: per step of the last answer; None = unknown.
        prefix_steps: leading steps of the last answer that were forced.
        passes: forward passes of the decoder after the prefill, last answer.
        stages: of the last answer [s]: wait, those of the policy, publish.
    """

    state: str = "IDLE"
    reason: str = ""
    task: Task = Task()
    chunks: int = 0
    refused: int = 0
    dropped: int = 0
    doubted: int = 0
    observation_age: float = 0.0
    inference_time: float = 0.0
    confidence_min: float = math.nan
    confidence_mean: float = math.nan
    certainty: Certainty | None = None
    prefix_steps: int = 0
    passes: int = 0
    stages: dict[str, float] = field(default_factory=dict)

    def of_answer(self, chunk: ActionChunk, certainty: Certainty | None, passes: int) -> Report:
        """With what the last answer says."""
        known = len(chunk.confidence) > 0
        return replace(
            self,
            confidence_min=float(chunk.confidence.min()) if known else math.nan,
            confidence_mean=float(chunk.confidence.mean()) if known else math.nan,
            certainty=certainty,
            prefix_steps=chunk.prefix_steps,
            passes=passes,
        )
