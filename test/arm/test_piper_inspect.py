"""What a PiPER is asked, over the bus, with the real SDK."""

from __future__ import annotations

import math

import can
import numpy as np
import pytest
from arm_contract import wait_for  # type: ignore[import-not-found]

from reconvla_ros.arm.bus import BusAddress, open_bus
from reconvla_ros.arm.control import DriverCore
from reconvla_ros.arm.piper import PiperArm
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.errors import ArmError
from reconvla_ros.sim import frames
from reconvla_ros.sim.arm_io import Sensed
from reconvla_ros.sim.arm_on_can import SimulatedArm
from reconvla_ros.sim.leader import LeaderMode
from reconvla_ros.tables import JOINT_LOWER, JOINT_UPPER

TENTH = math.radians(0.1)
CORRUPTED = math.radians(-0.1)


def test_everything_is_read_back(arm: PiperArm, sim: SimulatedArm) -> None:
    sim.firmware.flash.collision = [1, 2, 3, 4, 5, 6]
    setup = arm.inspect()
    assert setup.firmware == "S-V1.8-5"
    lower, upper = np.array([limits for limits in setup.joint_limits if limits is not None]).T
    assert np.abs(lower - JOINT_LOWER).max() < TENTH and np.abs(upper - JOINT_UPPER).max() < TENTH
    assert setup.gripper_range == pytest.approx(0.07)
    assert setup.collision_levels == (1, 2, 3, 4, 5, 6)
    assert setup.voltages == pytest.approx((24.0,) * 6)
    assert set(setup.motor_temperatures) == {34.0} and set(setup.driver_temperatures) == {32.0}


def test_an_answer_that_changes_is_seen_and_one_that_is_lost_leaves_the_earlier(
    arm: PiperArm, sim: SimulatedArm, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = arm.inspect()
    sim.firmware.flash.lower[4] = -0.5
    second = arm.inspect()
    assert second.joint_limits[4] == (pytest.approx(-0.5, abs=TENTH), pytest.approx(JOINT_UPPER[4], abs=TENTH))
    assert second.joint_limits[:4] == first.joint_limits[:4]
    monkeypatch.setattr(sim.firmware.flash, "answer", lambda can_id, data: [])
    assert arm.inspect() == second


def test_an_arm_that_answers_nothing_is_unknown_not_refused(
    address: BusAddress, sim: SimulatedArm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sim.firmware.flash, "answer", lambda can_id, data: [])
    piper = PiperArm(address)
    piper.open()
    try:
        setup = piper.inspect()
        assert (setup.firmware, setup.gripper_range, setup.collision_levels) == ("", None, None)
        assert setup.joint_limits == (None,) * 6
        assert DriverCore(piper, DriverConfig()).preflight.refusal == ""
    finally:
        piper.close()


def test_enable_is_refused_with_corrupted_limits(arm: PiperArm, sim: SimulatedArm) -> None:
    flash = sim.firmware.flash
    flash.lower[3] = flash.upper[3] = CORRUPTED
    core = DriverCore(arm, DriverConfig(dry_run=False))
    with pytest.raises(ArmError, match=r"preflight joint_limits: .*joint4 -0.1..-0.1 degree.*remedy: write the"):
        core.enable(True)
    assert not any(arm.state().enabled) and sim.firmware.word.ctrl_mode == 0
    flash.lower[3], flash.upper[3] = JOINT_LOWER[3], JOINT_UPPER[3]
    core.enable(True)
    assert wait_for(lambda: all(arm.state().enabled))


def test_an_older_version_on_an_arm_with_the_newer_zeros_is_refused(arm: PiperArm, sim: SimulatedArm) -> None:
    sim.firmware.flash.version = "S-V1.5-8"
    arm.close()
    arm.open()
    assert "preflight geometry" in DriverCore(arm, DriverConfig()).preflight.refusal


def test_only_questions_are_sent(arm: PiperArm, sim: SimulatedArm, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[int, bytes]] = []
    receive = sim.firmware.receive

    def listen(can_id: int, data: bytes) -> None:
        heard.append((can_id, bytes(data)))
        receive(can_id, data)

    monkeypatch.setattr(sim.firmware, "receive", listen)
    arm.inspect()
    # The firmware was asked for by `open`; where that answer is late it is asked for again.
    assert {can_id for can_id, _ in heard} - {frames.FIRMWARE} == {frames.QUERY_JOINT, frames.QUERY}
    assert all(not any(data[1:4]) for can_id, data in heard if can_id == frames.QUERY)  # nothing is set


def test_a_leader_that_joins_the_bus_later_keeps_the_motors_without_power(
    address: BusAddress, arm: PiperArm, sim: SimulatedArm
) -> None:
    """The bus was listened to before it was opened; a leader that was switched on after that went unseen."""
    assert arm.inspect().commanders == ()
    core = DriverCore(arm, DriverConfig())
    bus = open_bus(address)
    tasks = [
        bus.send_periodic(can.Message(arbitration_id=can_id, data=data, is_extended_id=False), 0.01)
        for can_id, data in LeaderMode.sent(Sensed(np.zeros(6), np.zeros(6), np.zeros(6)))
    ]
    try:
        with pytest.raises(ArmError, match=r"commands on this bus \(0x151, 0x155, 0x156, 0x157, 0x159\)"):
            core.enable(True)
        assert not any(arm.state().enabled)
    finally:
        for task in tasks:
            task.stop()
        bus.shutdown()
    core.enable(True)
