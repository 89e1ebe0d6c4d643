from __future__ import annotations

from dataclasses import replace

import pytest

from reconvla_ros.arm.bus import BusAddress
from reconvla_ros.errors import TeleopError
from reconvla_ros.sim.bus import DEFAULT_GROUP
from reconvla_ros.teleop.factory import leader_address, make_device
from reconvla_ros.teleop.settings import DEVICES, TeleopConfig
from reconvla_ros.teleop.terminal import Terminal

CONFIG = TeleopConfig()


@pytest.mark.parametrize("device", DEVICES)
def test_every_device_is_made_by_its_name(device: str) -> None:
    assert make_device(replace(CONFIG, device=device), Terminal.__new__(Terminal)).name == device


def test_a_keyboard_needs_a_terminal() -> None:
    with pytest.raises(TeleopError, match="run `reconvla teleop --device keyboard` in a terminal"):
        make_device(CONFIG, None)


def test_the_leaders_bus() -> None:
    assert leader_address(replace(CONFIG, leader_port="can_leader")) == BusAddress("socketcan", "can_leader")
    simulated = replace(CONFIG, leader_interface="udp_multicast", leader_udp_port=43999)
    assert leader_address(simulated) == BusAddress("udp_multicast", DEFAULT_GROUP, 43999)
