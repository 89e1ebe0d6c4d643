"""A simulated arm on a bus of its own, and our arm opened on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from simulated import free_address, simulated  # type: ignore[import-not-found]

from reconvla_ros.arm.bus import BusAddress
from reconvla_ros.arm.piper import PiperArm
from reconvla_ros.sim.arm_on_can import SimulatedArm


@pytest.fixture
def address() -> BusAddress:
    return free_address()


@pytest.fixture
def sim(address: BusAddress) -> Iterator[SimulatedArm]:
    with simulated(address) as arm:
        yield arm


@pytest.fixture
def arm(address: BusAddress, sim: SimulatedArm) -> Iterator[PiperArm]:
    piper = PiperArm(address)
    piper.open()
    yield piper
    piper.close()
