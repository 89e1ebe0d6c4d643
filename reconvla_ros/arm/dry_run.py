"""An arm that is looked at but never moved: reads pass, sends are swallowed and counted."""

from __future__ import annotations

from reconvla_ros.arm.protocol import Arm, ArmReport, ArmSetup
from reconvla_ros.types import ArmState, JointCommand


class DryRun:
    """Wraps an `Arm`.

    Attributes:
        swallowed: calls that would have sent something.
        last: the last target that was swallowed; None before the first.
    """

    def __init__(self, arm: Arm) -> None:
        self._arm = arm
        self.swallowed = 0
        self.last: JointCommand | None = None

    def open(self) -> None:
        """Open the wrapped arm; its start-up sends queries at most."""
        self._arm.open()

    def state(self) -> ArmState:
        """As the arm says."""
        return self._arm.state()

    def report(self) -> ArmReport:
        """As the arm says."""
        return self._arm.report()

    def read(self) -> tuple[ArmReport, ArmState]:
        """As the arm says."""
        return self._arm.read()

    def inspect(self) -> ArmSetup:
        """As the arm says."""
        return self._arm.inspect()

    def enable(self, timeout: float = 5.0) -> None:
        """Swallowed."""
        del timeout
        self.swallowed += 1

    def send(self, command: JointCommand) -> None:
        """Swallowed; `last` remembers it."""
        self.swallowed += 1
        self.last = command

    def hold(self) -> None:
        """Swallowed."""
        self.swallowed += 1

    def damped_stop(self) -> None:
        """Swallowed."""
        self.swallowed += 1

    def power_cycle(self) -> None:
        """Swallowed."""
        self.swallowed += 1

    def disable(self) -> None:
        """Swallowed."""
        self.swallowed += 1

    def close(self) -> None:
        """Close the wrapped arm."""
        self._arm.close()
