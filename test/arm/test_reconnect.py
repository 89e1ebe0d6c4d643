"""The bus is lost and comes back: the arm holds, the tick never waits, nothing moves without a new request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import can
import numpy as np
import pytest
from arm_contract import wait_for  # type: ignore[import-not-found]
from driver_bench import Driver  # type: ignore[import-not-found]
from simulated import simulated  # type: ignore[import-not-found]

from reconvla_ros.arm.bus import BusAddress
from reconvla_ros.safety.supervisor import State
from reconvla_ros.sim.faults import HEALTHY, Faults


@pytest.fixture
def drive(address: BusAddress) -> Iterator[Callable[..., Driver]]:
    made: list[Driver] = []

    def start(**config: Any) -> Driver:
        made.append(Driver(address, **config))
        return made[-1]

    yield start
    for driver in made:
        driver.close()


def test_a_dead_bus_is_noticed_in_time_and_afterwards_only_a_new_request_moves(
    address: BusAddress, drive: Callable[..., Driver]
) -> None:
    with simulated(address) as sim:
        driver = drive(feedback_stale=0.05)
        driver.start_moving()
        sim.faults, dead = Faults(bus_dead=True), time.monotonic()
        assert wait_for(lambda: driver.state() is State.FAULT)
        assert wait_for(lambda: driver.arm.report().losses == 1)
        assert wait_for(lambda: "no frame of the arm for" in driver.reason())
        assert driver.changed_at - dead < 0.2  # the deadline is 0.1 s; the rest is for a busy machine
        held = sim.world.sensed().position
        sent = driver.arm.report().frames_sent
        time.sleep(0.3)
        assert driver.arm.report().frames_sent == sent  # the old target is not repeated
        sim.faults = HEALTHY
        assert wait_for(lambda: driver.state() is State.HOLDING)
        assert driver.arm.report().link == ""
        time.sleep(0.3)
        assert np.abs(sim.world.sensed().position - held).max() < 0.01
        assert driver.arm.report().frames_sent == sent
        done, message = driver.core.ready()
        assert done, message
        assert wait_for(lambda: driver.core.standing and driver.joints()[1] > 0.98, 15.0)
        assert driver.slowest < 0.5


def test_an_arm_that_goes_away_and_comes_back_is_enabled_anew(
    address: BusAddress, drive: Callable[..., Driver]
) -> None:
    with simulated(address):
        driver = drive()
        driver.start_moving()
    assert wait_for(lambda: driver.state() is State.FAULT)
    assert wait_for(lambda: "opened anew" in driver.reason(), 10.0)
    with simulated(address) as sim:
        assert wait_for(lambda: driver.state() is State.DISABLED, 15.0), driver.reason()
        time.sleep(0.3)
        assert not any(m.enabled for m in sim.firmware.motors)
        rest = sim.world.sensed().position
        driver.core.clear_stop()
        driver.core.enable(True)
        assert wait_for(lambda: driver.state() is State.HOLDING)
        assert np.abs(sim.world.sensed().position - rest).max() < 0.05
        assert driver.core.ready()[0]
        assert wait_for(lambda: driver.joints()[1] > 0.15)


def test_sends_that_fail_open_the_port_anew(
    address: BusAddress, drive: Callable[..., Driver], monkeypatch: pytest.MonkeyPatch
) -> None:
    with simulated(address) as sim:
        driver = drive()
        driver.start_moving()
        port: Any = driver.arm._link._port  # type: ignore[union-attr]
        broken = port.send_bus

        def refuse(message: can.Message, timeout: float | None = None) -> None:
            raise can.CanOperationError("No buffer space available")

        monkeypatch.setattr(broken, "send", refuse)
        assert wait_for(lambda: driver.state() is State.FAULT)
        assert driver.reason().startswith("bus_lost")
        held = sim.world.sensed().position
        assert wait_for(lambda: port.send_bus is not None and port.send_bus is not broken, 10.0)
        assert wait_for(lambda: driver.state() is State.HOLDING), driver.reason()
        assert np.abs(sim.world.sensed().position - held).max() < 0.05
        assert driver.core.ready()[0]
        assert wait_for(lambda: driver.core.standing and driver.joints()[1] > 0.98, 15.0)


def test_reads_that_fail_neither_spin_nor_last(
    address: BusAddress, drive: Callable[..., Driver], monkeypatch: pytest.MonkeyPatch
) -> None:
    with simulated(address):
        driver = drive()
        port: Any = driver.arm._link._port  # type: ignore[union-attr]
        broken, calls = port.recv_bus, [0]

        def refuse(timeout: float | None = None) -> None:
            calls[0] += 1
            raise can.CanOperationError("Network is down")

        monkeypatch.setattr(broken, "recv", refuse)
        assert wait_for(lambda: driver.state() is State.FAULT)
        assert wait_for(lambda: port.recv_bus is not None and port.recv_bus is not broken, 10.0)
        assert 1 <= calls[0] < 100
        assert wait_for(lambda: driver.state() is State.DISABLED)


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (Faults(frozen=True), "feedback_frozen"),
        (Faults(zero="joints"), "feedback_zero"),
        (Faults(zero="all"), "feedback_zero"),
        (Faults(joint_comm=3), "joint_comm"),
        (Faults(motor_hot=2), "motor"),
        (Faults(collision=2), "arm_status"),
        (Faults(temperature=80.0), "too_hot"),
        (Faults(teach=True), "ctrl_mode"),
        (Faults(e_stop=True), "arm_status"),
    ],
)
def test_a_fault_freezes_the_target_and_is_named(
    address: BusAddress, drive: Callable[..., Driver], fault: Faults, name: str
) -> None:
    with simulated(address) as sim:
        driver = drive()
        driver.start_moving()
        assert wait_for(lambda: driver.joints()[1] > 0.4, 20.0), driver.reason()
        sim.faults, struck = fault, time.monotonic()
        assert wait_for(lambda: driver.state() is State.FAULT)
        assert wait_for(lambda: name in driver.core.supervisor.counts), driver.reason()
        time.sleep(0.2)
        assert driver.changed_at - struck < 0.2  # the deadline is 0.1 s; the rest is for a busy machine
        assert sim.world.sensed().position[1] > 0.3  # and least of all it goes to the zeros it read
        sim.faults = HEALTHY
        time.sleep(0.3)
        driver.core.clear_stop()
        assert wait_for(lambda: driver.state() in (State.HOLDING, State.DISABLED)), driver.reason()
