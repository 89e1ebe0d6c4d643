from __future__ import annotations

import pytest
from teleop_contract import DeviceContract

from reconvla_ros.teleop.drag import Drag
from reconvla_ros.teleop.protocol import Reading


class DragRig:
    """Hands on an arm in teach mode: nothing of them reaches this device."""

    def __init__(self) -> None:
        self.device = Drag()
        self.device.open()

    def hold(self) -> None:
        pass

    let_go = unplug = hold

    def read(self) -> Reading:
        return self.device.read(0)


@pytest.fixture
def rig() -> DragRig:
    return DragRig()


class TestContract(DeviceContract):
    moves = False


def test_it_always_says_what_leaving_teach_mode_may_do(rig: DragRig) -> None:
    assert "may drop" in rig.read().note
