from __future__ import annotations

import math

import numpy as np
import pytest
from arm_contract import ArmContract, wait_for  # type: ignore[import-not-found]

from reconvla_ros.arm.bus import BusAddress, open_bus
from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.arm.piper import PiperArm
from reconvla_ros.arm.piper_feedback import Freshness
from reconvla_ros.errors import BusError
from reconvla_ros.sim.arm_on_can import SimulatedArm
from reconvla_ros.types import JointCommand


class TestPiperArm(ArmContract):
    def test_flange_is_that_of_our_kinematics(self, arm: PiperArm) -> None:
        arm.enable()
        goal = np.array([0.1, 0.3, -0.3, 0.1, 0.2, 0.1])

        def there() -> bool:
            arm.send(JointCommand(goal))
            return float(np.abs(arm.state().position - goal).max()) < 0.01

        assert wait_for(there)
        flange = arm.report().flange
        assert flange is not None
        assert np.abs(Kinematics().flange(arm.state().position)[:3, 3] - flange.position).max() < 2e-3

    def test_close_leaves_the_arm_enabled(self, arm: PiperArm, sim: SimulatedArm) -> None:
        arm.enable()
        arm.close()
        assert all(m.enabled for m in sim.firmware.motors)
        with pytest.raises(BusError, match="not open"):
            arm.state()

    def test_a_second_driver_is_refused_with_the_holder(self, arm: PiperArm, address: BusAddress) -> None:
        import os

        with pytest.raises(BusError, match=f"already driven by process {os.getpid()}"):
            PiperArm(address).open()

    def test_reopens_after_close(self, arm: PiperArm, address: BusAddress) -> None:
        arm.close()
        again = PiperArm(address)
        again.open()
        assert again.state().stamp_ns > 0
        again.close()

    def test_power_cycle_drops_and_enable_recovers(self, arm: PiperArm) -> None:
        arm.enable()
        arm.power_cycle()
        assert wait_for(lambda: not any(arm.state().enabled))
        arm.enable()
        assert all(arm.state().enabled)


def test_no_arm_is_named(address: BusAddress) -> None:
    with pytest.raises(BusError, match=r"no arm .0x2A1 not heard"):
        PiperArm(address).open()


def test_a_missing_interface_names_the_remedy() -> None:
    with pytest.raises(
        BusError, match=r"can9 does not exist; interfaces here: .* sudo ip link set can9 up type can bitrate"
    ):
        PiperArm(BusAddress("socketcan", "can9")).open()


def test_foreign_commands_are_refused(address: BusAddress, sim: SimulatedArm) -> None:
    import can

    bus = open_bus(address)
    frame = can.Message(arbitration_id=0x155, data=bytes(8), is_extended_id=False)
    task = bus.send_periodic(frame, 0.02)
    try:
        with pytest.raises(BusError, match=r"foreign command frames \(0x155"):
            PiperArm(address).open()
    finally:
        task.stop()
        bus.shutdown()


def test_age_counts_from_the_last_change_on_the_monotonic_clock() -> None:
    fresh = Freshness()
    assert fresh.age(0.0, 5_000_000_000) == math.inf  # zero = no frame yet
    assert fresh.age(100.0, 6_000_000_000) == 0.0
    assert fresh.age(100.0, 6_500_000_000) == 0.5  # the same frame grows old, whatever the wall clock says
    assert fresh.age(99.0, 7_000_000_000) == 0.0  # a wall clock that was set back is still news
