from __future__ import annotations

import time

import can
import pytest

from reconvla_ros.errors import BusError, ConfigError
from reconvla_ros.sim import frames
from reconvla_ros.sim.bus import DEFAULT_GROUP, ArmBus, BusConfig


def received(bus: can.BusABC, count: int) -> list[can.Message]:
    found: list[can.Message] = []
    until = time.monotonic() + 5
    while len(found) < count and time.monotonic() < until:
        message = bus.recv(0.1)
        if message is not None:
            found.append(message)
    return found


@pytest.fixture(params=["udp_multicast", "virtual"])
def config(request: pytest.FixtureRequest, udp_port: int) -> BusConfig:
    channel = DEFAULT_GROUP if request.param == "udp_multicast" else f"bus{udp_port}"
    return BusConfig(request.param, channel, udp_port)


def test_a_cycle_arrives_as_ordinary_can_messages(config: BusConfig) -> None:
    host, arm = config.open(), ArmBus(config)
    try:
        for turn in range(2):
            block = bytes((turn * 7 + i) % 256 for i in range(8 * len(frames.FAST_IDS)))
            arm.send_cycle(frames.FAST_IDS, block)
            arm.send([(frames.FIRMWARE, b"H-V1.2-1")])
            got = received(host, 15)
            assert [m.arbitration_id for m in got] == [*frames.FAST_IDS, frames.FIRMWARE]
            assert b"".join(bytes(m.data) for m in got[:-1]) == block
            assert all(m.dlc == 8 and not m.is_extended_id and not m.is_fd for m in got)
            assert bytes(got[-1].data) == b"H-V1.2-1"
    finally:
        host.shutdown()
        arm.close()
        arm.close()


def test_commands_arrive_and_own_frames_do_not(config: BusConfig) -> None:
    host, arm = config.open(), ArmBus(config)
    try:
        arm.send_cycle(frames.FAST_IDS, bytes(8 * len(frames.FAST_IDS)))
        arm.send([(frames.ACK, bytes(8)), (0x256, bytes(8))])
        for can_id in (0x150, 0x250, 0x2B0, 0x471, 0x4AF):
            host.send(can.Message(arbitration_id=can_id, data=bytes([1] * 8), is_extended_id=False))
        got: list[int] = []
        until = time.monotonic() + 5
        while len(got) < 5 and time.monotonic() < until:
            got += [can_id for can_id, data in arm.received() if data == bytes([1] * 8)]
        assert got == [0x150, 0x250, 0x2B0, 0x471, 0x4AF]
        assert list(arm.received()) == []
    finally:
        host.shutdown()
        arm.close()


def test_a_bus_with_an_arm_is_refused_by_name(udp_port: int) -> None:
    config = BusConfig(port=udp_port)
    other = config.open()
    task = other.send_periodic(can.Message(arbitration_id=0x2A5, data=bytes(8), is_extended_id=False), 0.01)
    try:
        with pytest.raises(BusError, match=rf"0x2A5.*{udp_port}"):
            ArmBus(config)
    finally:
        task.stop()
        other.shutdown()


def test_a_busy_host_is_not_taken_for_an_arm(udp_port: int) -> None:
    config = BusConfig(port=udp_port)
    host = config.open()
    task = host.send_periodic(can.Message(arbitration_id=0x155, data=bytes(8), is_extended_id=False), 0.01)
    try:
        ArmBus(config).close()
    finally:
        task.stop()
        host.shutdown()


def test_wrong_settings_name_the_choices() -> None:
    with pytest.raises(ConfigError, match="did you mean 'socketcan'"):
        BusConfig("socketcn")
    with pytest.raises(ConfigError, match=r"1\.\.65535"):
        BusConfig(port=0)
    with pytest.raises(BusError, match="can_that_is_not_there"):
        BusConfig("socketcan", "can_that_is_not_there").open()


def test_names_of_buses() -> None:
    assert BusConfig(port=5).name == BusConfig(channel="239.0.0.9", port=5).name == "udp_multicast:5"
    assert BusConfig("socketcan", "can1").name == "socketcan:can1"
