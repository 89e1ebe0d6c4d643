"""What a policy is to the rest of the package; every implementation passes test/policy/test_policy_contract.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from reconvla_ros.policy.certainty import Certainty
from reconvla_ros.types import ActionChunk, Observation


@dataclass(frozen=True, eq=False)
class Plan:
    """What is under way while the next chunk is made, so that it can join it.

    Attributes:
        previous: newest chunk delivered for the same task; the driver follows it by its stamp and step time.
        step_dt: step time that the next chunk will have [s].
        arrival_ns: when the next chunk is expected at the driver, on the clock of the stamps [ns].
    """

    previous: ActionChunk
    step_dt: float
    arrival_ns: int


@runtime_checkable
class Policy(Protocol):
    """Observation in, chunk of absolute TCP targets out."""

    def warm_up(self) -> None:
        """Run once on made-up input, so that the first real chunk is not the slow one."""
        ...

    def infer(self, observation: Observation, plan: Plan | None = None) -> ActionChunk:
        """One chunk for one observation.

        With a plan the chunk may begin with the steps that are committed already; then `prefix_steps` counts them and
        `step_dt` is that of the plan. Otherwise `step_dt` is the nominal one.

        Raises:
            TokenGateError: the model's answer may not be executed; nothing of it is.
        """
        ...

    def reset(self) -> None:
        """Forget the running task (a new one begins)."""
        ...

    @property
    def timings(self) -> dict[str, float]:
        """Stages of the last `infer` [s], in order."""
        ...

    @property
    def certainty(self) -> Certainty | None:
        """How sure the last `infer` was of each step; None before the first."""
        ...

    @property
    def passes(self) -> int:
        """Forward passes of the decoder after the prefill in the last `infer`; 0 for a policy without a decoder."""
        ...
