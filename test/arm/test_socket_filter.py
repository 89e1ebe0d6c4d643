"""The kernel keeps ids from a socket; only on the bus where every socket hears every frame."""

from __future__ import annotations

import can
from simulated import free_address  # type: ignore[import-not-found]

from reconvla_ros.arm.bus import BusAddress, open_bus
from reconvla_ros.arm.socket_filter import drop_ids


def heard(address: BusAddress, drop: bool) -> list[int]:
    with open_bus(address) as ear, open_bus(address) as mouth:
        if drop:
            assert drop_ids(ear, 0x150, 0x15F)
        for can_id in (0x14F, 0x150, 0x155, 0x15F, 0x160, 0x2A1, 0x7F, 0x471):
            mouth.send(can.Message(arbitration_id=can_id, data=bytes(8), is_extended_id=False))
        got = []
        while (message := ear.recv(0.2)) is not None:
            got.append(message.arbitration_id)
        return got


def test_only_the_ids_of_the_range_are_dropped() -> None:
    address = free_address()
    assert heard(address, drop=False) == [0x14F, 0x150, 0x155, 0x15F, 0x160, 0x2A1, 0x7F, 0x471]
    assert heard(address, drop=True) == [0x14F, 0x160, 0x2A1, 0x7F, 0x471]


def test_another_kind_of_bus_is_left_alone() -> None:
    with can.Bus(interface="virtual", channel="filter") as bus:
        assert not drop_ids(bus, 0x150, 0x15F)
