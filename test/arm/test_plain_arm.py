"""The driver against a second fake, which shares nothing with our simulated arm: the same behaviour."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from arm_contract import wait_for  # type: ignore[import-not-found]
from driver_bench import Driver  # type: ignore[import-not-found]
from plain_arm import PlainArm  # type: ignore[import-not-found]
from simulated import GROUP  # type: ignore[import-not-found]

from reconvla_ros.arm.bus import BusAddress
from reconvla_ros.arm.piper import PiperArm
from reconvla_ros.errors import ArmError, BusError
from reconvla_ros.safety.supervisor import State
from reconvla_ros.types import ActionChunk


@pytest.fixture
def plain(address: BusAddress) -> Iterator[PlainArm]:
    arm = PlainArm(GROUP, address.port).start()
    yield arm
    arm.close()


@pytest.fixture
def driver(address: BusAddress, plain: PlainArm) -> Iterator[Driver]:
    driver = Driver(address)
    yield driver
    driver.close()


def chunk_of(driver: Driver, sequence: int = 1) -> ActionChunk:
    tcp = driver.core.kinematics.tcp(driver.joints())
    way = tcp.position + np.linspace(0.0, 1.0, 6)[1:, None] * np.array([0.0, 0.03, -0.03])
    return ActionChunk(time.time_ns(), "t", sequence, 0.1, tcp, way, np.tile(tcp.quaternion, (5, 1)), np.full(5, 0.05))


def test_enable_ready_chunk_stop_home(driver: Driver, plain: PlainArm) -> None:
    assert driver.state() is State.DISABLED
    driver.core.enable(True)
    assert all(plain.power) and np.abs(plain.joints).max() < 0.01
    assert wait_for(lambda: driver.state() is State.HOLDING)
    assert driver.core.ready()[0]
    assert wait_for(lambda: driver.core.standing and driver.joints()[1] > 0.99, 40.0), driver.reason()

    assert wait_for(lambda: driver.core.holder == "none")
    driver.core.set_task("t")
    before = driver.core.kinematics.tcp(driver.joints()).position
    accepted = driver.core.accept_chunk(chunk_of(driver), time.monotonic_ns(), time.time_ns())
    assert accepted.ok, accepted.detail
    sequence = 1

    def gone() -> bool:
        """On a busy host most steps of a chunk are over before they are followed: then the next one goes on."""
        nonlocal sequence
        if driver.core.standing:
            sequence += 1
            driver.core.accept_chunk(chunk_of(driver, sequence), time.monotonic_ns(), time.time_ns())
            time.sleep(0.1)
        return bool(driver.core.kinematics.tcp(driver.joints()).position[1] > before[1] + 0.02)

    assert wait_for(gone, 20.0), driver.reason()
    assert wait_for(lambda: abs(plain.opening - 0.05) < 0.001)

    driver.core.set_task(None)
    assert wait_for(lambda: driver.core.standing and driver.core.holder == "none"), driver.core.holder
    done, message = driver.core.home()
    assert done, message
    assert wait_for(lambda: driver.joints()[1] < 0.9)
    driver.core.stop()
    stopped = time.monotonic()
    assert wait_for(lambda: driver.state() is State.STOPPED)
    time.sleep(0.3)
    assert driver.changed_at - stopped < 0.1 and 0.2 < driver.joints()[1] < 0.95
    driver.core.clear_stop()
    assert wait_for(lambda: driver.core.home()[0])
    assert wait_for(lambda: driver.core.standing and driver.joints()[1] < 0.16, 40.0)
    assert {0x150, 0x474, 0x475, 0x479, 0x47A, 0x47D, 0x470}.isdisjoint(plain.heard)  # no e-stop, nothing is written


@pytest.mark.parametrize(("what", "name"), [("comm", "joint_comm"), ("bits", "motor"), ("status", "arm_status")])
def test_fault_bits_freeze_the_target(driver: Driver, plain: PlainArm, what: str, name: str) -> None:
    driver.start_moving()
    value = {"comm": 4, "bits": [0, 0, 2, 0, 0, 0], "status": 7}[what]
    setattr(plain, what, value)
    struck = time.monotonic()
    assert wait_for(lambda: driver.state() is State.FAULT)
    assert driver.reason().startswith(name)
    time.sleep(0.3)
    assert driver.changed_at - struck < 0.2
    setattr(plain, what, [0] * 6 if what == "bits" else 0)
    time.sleep(0.1)
    driver.core.clear_stop()
    assert wait_for(lambda: driver.state() is State.HOLDING)


def test_it_goes_away_and_comes_back(address: BusAddress, driver: Driver, plain: PlainArm) -> None:
    driver.start_moving()
    plain.close()
    assert wait_for(lambda: driver.state() is State.FAULT)
    again = PlainArm(GROUP, address.port, [0.0, 0.1, -0.1, 0.0, 0.0, 0.0]).start()
    assert wait_for(lambda: driver.state() is State.DISABLED, 10.0), driver.reason()
    driver.core.enable(True)
    assert wait_for(lambda: driver.state() is State.HOLDING)
    assert np.abs(np.array(again.joints)).max() < 0.12
    again.close()


def test_mit_is_refused_since_it_tells_no_firmware(address: BusAddress, plain: PlainArm) -> None:
    driver = Driver(address, command_mode="mit")
    with pytest.raises(ArmError, match=r"preflight command_mode: mit: the firmware '' is not known"):
        driver.core.enable(True)
    driver.close()
    assert not any(plain.power)


def test_an_arm_without_a_gripper_is_named_and_works_when_it_is_said(address: BusAddress) -> None:
    plain = PlainArm(GROUP, address.port, gripper=False).start()
    with pytest.raises(BusError, match=r"0x2A8 missing after 3\.0 s; an arm without a gripper needs gripper: none"):
        PiperArm(address).open()
    driver = Driver(address, gripper="none")
    driver.start_moving()
    driver.close()
    plain.close()
    assert 0x159 not in plain.heard
