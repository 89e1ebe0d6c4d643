"""The preflight gate: reads the facts from an arm, keeps the findings, refuses power while one of them fails."""

from __future__ import annotations

import time

from reconvla_ros.arm import firmware
from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.arm.preflight import Check, Level, refusal, run_checks
from reconvla_ros.arm.protocol import Arm, ArmSetup
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.errors import ArmError

# Pose and joints come in frames of their own: of an arm that moves a sample may be torn, so a bad one is taken again.
_TRIES, _PAUSE = 5, 0.02  # [s]


class PreflightGate:
    """Checks once when it is made, and again before every power-on; queries only.

    Args:
        arm: opened.
        config: what is expected of it.

    Attributes:
        kinematics: of the zeros that the firmware has.
        checks: the newest findings.
        version: of the firmware that chose them; empty when it is not known.
    """

    def __init__(self, arm: Arm, config: DriverConfig) -> None:
        self._arm, self._config = arm, config
        setup = arm.inspect()
        self.version = setup.firmware
        variant = firmware.dh_variant(setup.firmware)
        self.kinematics = Kinematics(variant, config.tcp_offset, config.joint_lower, config.joint_upper)
        self.checks = self._judge(setup)

    @property
    def refusal(self) -> str:
        """Why the arm may not be driven, with the remedy; empty when it may."""
        return refusal(self.checks)

    def run(self) -> tuple[Check, ...]:
        """Read and judge anew.

        Raises:
            BusError: the arm is not open.
        """
        self.checks = self._judge(self._arm.inspect())
        return self.checks

    def _judge(self, setup: ArmSetup) -> tuple[Check, ...]:
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(_PAUSE)
            checks = run_checks(setup, self._arm.report(), self._arm.state(), self.kinematics, self._config)
            if all(c.level is not Level.FAIL for c in checks if c.name in ("feedback", "geometry")):
                break
        return checks

    def require(self) -> None:
        """Refuse an arm that fails a check.

        Raises:
            ArmError: names the failed checks and their remedies.
        """
        self.run()
        if self.refusal:
            raise ArmError(f"the motors get no power: {self.refusal}")
