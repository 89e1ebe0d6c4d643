"""A leader arm as its bus shows it, and every bus that is none."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import can
import numpy as np
import pytest
from simulated import free_address, simulated
from teleop_contract import DeviceContract

from reconvla_ros.arm.bus import BusAddress, open_bus
from reconvla_ros.errors import TeleopError
from reconvla_ros.sim import frames
from reconvla_ros.sim.arm_io import Sensed
from reconvla_ros.sim.leader import LeaderMode
from reconvla_ros.teleop.leader import Leader
from reconvla_ros.teleop.protocol import Reading

JOINTS = np.array([0.1, 1.0, -0.87, 0.2, 0.92, -0.3])
SENT = LeaderMode.sent(Sensed(JOINTS, np.zeros(6), np.zeros(6), 0.03))


class Stream:
    """Sends frames 100 times a second until it is stopped."""

    def __init__(self, address: BusAddress, sent: list[tuple[int, bytes]]) -> None:
        self.sent = sent
        self._bus, self._stop = open_bus(address), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            for can_id, data in list(self.sent):
                self._bus.send(can.Message(arbitration_id=can_id, data=data, is_extended_id=False))

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._bus.shutdown()


class LeaderRig:
    """A leader arm that somebody holds still."""

    def __init__(self) -> None:
        self.address = free_address()
        self.stream = Stream(self.address, list(SENT))
        self.device = Leader(self.address, stale=0.1)
        self.device.open()

    def hold(self) -> None:
        pass  # a leader has no dead-man: the session's engaging is it

    def let_go(self) -> None:
        self.stream.sent = []
        time.sleep(0.15)

    unplug = let_go

    def read(self) -> Reading:
        end = time.monotonic() + 2.0
        while True:
            reading = self.device.read(time.monotonic_ns())
            if reading.held or not self.stream.sent or time.monotonic() > end:
                return reading
            time.sleep(0.005)


@pytest.fixture
def rig() -> Iterator[LeaderRig]:
    rig = LeaderRig()
    yield rig
    rig.stream.stop()
    rig.device.close()


class TestContract(DeviceContract):
    pass


def test_its_joints_and_gripper_are_read(rig: LeaderRig) -> None:
    reading = rig.read()
    assert reading.joints == pytest.approx(JOINTS, abs=frames.DEG)
    assert reading.opening == pytest.approx(0.03, abs=1e-6)


def test_frames_that_stay_away_are_stale_and_said(rig: LeaderRig) -> None:
    assert rig.read().held
    rig.let_go()
    reading = rig.read()
    assert not reading.held
    assert "the leader is silent for 0." in reading.note


def test_one_joint_frame_that_stays_away_is_enough(rig: LeaderRig) -> None:
    assert rig.read().held
    rig.stream.sent = [pair for pair in SENT if pair[0] != frames.TARGET_34]
    time.sleep(0.15)
    rig.device.read(time.monotonic_ns())
    time.sleep(0.02)
    assert not rig.device.read(time.monotonic_ns()).held


def test_an_arm_that_joins_the_leaders_bus_is_refused_at_once(rig: LeaderRig) -> None:
    assert rig.read().held
    rig.stream.sent = [*SENT, (frames.STATUS, bytes(8))]
    time.sleep(0.05)
    with pytest.raises(TeleopError, match="obey the leader past every limit"):
        rig.read()


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ([], "nothing is heard"),
        ([*SENT, (frames.JOINT_12, bytes(8))], "obey the leader past every limit; give each arm a CAN interface"),
        ([(frames.STATUS, bytes(8)), (frames.JOINT_12, bytes(8))], "not in leader mode, it gives feedback; set it with 0x470"),
        ([pair for pair in SENT if pair[0] != frames.TARGET_56], "0x157 missing"),
    ],
    ids=["no leader", "shared bus", "a follower", "half a leader"],
)  # fmt: skip
def test_a_bus_without_a_leader_of_its_own_is_named(sent: list[tuple[int, bytes]], words: str) -> None:
    address = free_address()
    stream = Stream(address, sent)
    try:
        with pytest.raises(TeleopError, match=words):
            Leader(address).open()
    finally:
        stream.stop()


def test_the_followers_interface_is_refused_unheard() -> None:
    with pytest.raises(TeleopError, match="can0 is the bus of the arm that follows"):
        Leader(BusAddress("socketcan", "can0"), follower="can0").open()


def test_an_interface_that_is_not_there_is_named() -> None:
    with pytest.raises(TeleopError, match="leader: CAN interface can7 does not exist"):
        Leader(BusAddress("socketcan", "can7"), follower="can0").open()


def test_a_simulated_arm_is_a_leader_once_it_was_told_so() -> None:
    address = free_address()
    with simulated(address) as arm:
        with pytest.raises(TeleopError, match="not in leader mode"):
            Leader(address).open()
        bus = open_bus(address)
        role = frames.encode(frames.LINKAGE, {"role": 0xFA})
        bus.send(can.Message(arbitration_id=frames.LINKAGE, data=role, is_extended_id=False))
        end = time.monotonic() + 2.0
        while not arm.leader.active and time.monotonic() < end:
            time.sleep(0.01)
        bus.shutdown()
        time.sleep(0.05)  # what it said before has passed
        leader = Leader(address)
        leader.open()
        while not (reading := leader.read(time.monotonic_ns())).held and time.monotonic() < end + 2.0:
            time.sleep(0.01)
        leader.close()
    assert reading.joints == pytest.approx([0.0] * 6, abs=0.02)
