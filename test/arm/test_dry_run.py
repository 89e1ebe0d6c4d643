from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from arm_contract import ArmContract  # type: ignore[import-not-found]
from simulated import free_address, simulated  # type: ignore[import-not-found]

from reconvla_ros.arm.dry_run import DryRun
from reconvla_ros.arm.piper import PiperArm
from reconvla_ros.types import JointCommand


@pytest.fixture
def arm() -> Iterator[DryRun]:
    address = free_address()
    with simulated(address):
        dry = DryRun(PiperArm(address))
        dry.open()
        yield dry
        dry.close()


class TestDryRun(ArmContract):
    moves = False

    def test_swallows_and_counts(self, arm: DryRun) -> None:
        command = JointCommand(np.zeros(6))
        before = arm.report().frames_sent
        for call in (lambda: arm.send(command), arm.hold, arm.damped_stop, arm.power_cycle, arm.disable, arm.enable):
            call()
        assert arm.swallowed == 6 and arm.last is command
        assert arm.report().frames_sent == before
