"""What a policy is to the rest of the package; every implementation passes test/policy/test_policy_contract.py."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from reconvla_ros.types import ActionChunk, Observation


@runtime_checkable
class Policy(Protocol):
    """Observation in, chunk of absolute TCP targets out."""

    def warm_up(self) -> None:
        """Run once on made-up input, so that the first real chunk is not the slow one."""
        ...

    def infer(self, observation: Observation) -> ActionChunk:
        """One chunk for one observation.

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
