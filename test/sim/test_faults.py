"""Each fault of the simulated arm does what its line says, and is gone when it is taken back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import can
import numpy as np
import pytest

from reconvla_ros.errors import ArmError, ConfigError
from reconvla_ros.sim import frames
from reconvla_ros.sim.arm_on_can import SimulatedArm
from reconvla_ros.sim.bus import BusConfig
from reconvla_ros.sim.fault_channel import channel_for, inject
from reconvla_ros.sim.faults import HEALTHY, Faults, from_json
from reconvla_ros.sim.scenes import make

GOAL = np.array([0.3, 0.8, -0.7, 0.1, 0.3, 0.2])


class Bench:
    """An arm whose cycles are counted by hand, and a host on the same bus."""

    def __init__(self, arm: SimulatedArm, host: can.BusABC) -> None:
        self.arm, self.host = arm, host

    def send(self, can_id: int, **values: float) -> None:
        self.host.send(can.Message(arbitration_id=can_id, data=frames.encode(can_id, values), is_extended_id=False))

    def target(self, q: Any) -> None:
        for i in range(3):
            self.send(frames.TARGET_12 + i, **{f"joint{2 * i + 1}": q[2 * i], f"joint{2 * i + 2}": q[2 * i + 1]})

    def run(self, cycles: int) -> dict[int, list[bytes]]:
        """What the arm says in so many cycles: id -> data of each frame."""
        told: dict[int, list[bytes]] = {}
        for _ in range(cycles):
            self.arm.cycle()
        while (message := self.host.recv(0)) is not None:
            if message.arbitration_id in frames.CYCLIC_IDS:
                told.setdefault(message.arbitration_id, []).append(bytes(message.data))
        return told

    def status(self) -> dict[str, float]:
        return frames.decode(frames.STATUS, self.run(1)[frames.STATUS][-1])

    def bits(self, motor: int) -> int:
        return int(frames.decode(0x260 + motor, self.run(5)[0x260 + motor][-1])["bits"])

    @property
    def joints(self) -> Any:
        return self.arm.world.sensed().position


@pytest.fixture
def bench(udp_port: int) -> Iterator[Bench]:
    config = BusConfig("virtual", f"faults{udp_port}", udp_port)
    host = config.open()
    with SimulatedArm(config, make("empty")) as arm:
        bench = Bench(arm, host)
        for motor in range(1, 7):
            bench.send(frames.ENABLE, motor=motor, code=2)
        bench.run(10)
        bench.send(frames.MODE, ctrl_mode=1, move_mode=1, speed=100)
        bench.target(GOAL)
        bench.run(300)
        assert np.abs(bench.joints - GOAL).max() < 0.01
        yield bench
    host.shutdown()


def test_a_dead_bus_is_silent_both_ways_and_the_arm_holds(bench: Bench) -> None:
    bench.arm.faults = Faults(bus_dead=True)
    bench.target(GOAL + 0.1)
    assert bench.run(100) == {}
    assert np.abs(bench.joints - GOAL).max() < 0.01
    bench.arm.faults = HEALTHY
    assert len(bench.run(10)[frames.STATUS]) == 10
    assert np.abs(bench.joints - GOAL).max() < 0.01  # what was sent meanwhile is lost, not late


def test_frozen_frames_go_on_at_their_rate_while_the_arm_moves(bench: Bench) -> None:
    bench.target(GOAL + 0.2)
    before = bench.run(20)
    bench.arm.faults = Faults(frozen=True)
    told = bench.run(100)
    assert len(told[frames.JOINT_12]) == 100 and len(told[0x261]) == 20
    assert set(told[frames.JOINT_12]) == {before[frames.JOINT_12][-1]}
    assert np.abs(bench.joints - GOAL).max() > 0.1
    bench.arm.faults = HEALTHY
    assert bench.run(1)[frames.JOINT_12] != [before[frames.JOINT_12][-1]]


def test_zero_joints_and_zero_everything(bench: Bench) -> None:
    bench.arm.faults = Faults(zero="joints")
    told = bench.run(5)
    assert {d for i in (frames.JOINT_12, frames.JOINT_34, frames.JOINT_56) for d in told[i]} == {bytes(8)}
    assert bytes(8) not in told[frames.STATUS] and bytes(8) not in told[frames.POSE_XY]
    bench.arm.faults = Faults(zero="all")
    assert {d for data in bench.run(5).values() for d in data} == {bytes(8)}


@pytest.mark.parametrize(
    ("name", "bit"), [("motor_hot", 1), ("over_current", 2), ("driver_hot", 3), ("driver_error", 5), ("stall", 7)]
)
def test_motor_bits(bench: Bench, name: str, bit: int) -> None:
    bench.arm.faults = from_json(f'{{"{name}": 3}}')
    assert bench.bits(3) == 1 << bit | 0x40 and bench.bits(2) == 0x40
    bench.arm.faults = HEALTHY
    assert bench.bits(3) == 0x40


def test_comm_bit_of_a_joint(bench: Bench) -> None:
    bench.arm.faults = Faults(joint_comm=2)
    assert bench.status()["comm_bits"] == 2
    bench.arm.faults = HEALTHY
    assert bench.status()["comm_bits"] == 0


def test_collision_freezes_the_arm_until_it_is_over(bench: Bench) -> None:
    bench.target(GOAL + 0.3)
    bench.run(20)
    here = bench.joints
    bench.arm.faults = Faults(collision=4)
    assert bench.status()["arm_status"] == 7 and bench.bits(4) == 1 << 4 | 0x40
    bench.target(GOAL + 0.3)
    bench.run(100)
    assert np.abs(bench.joints - here).max() < 0.1
    bench.arm.faults = HEALTHY
    assert bench.status()["arm_status"] == 0
    bench.target(GOAL + 0.3)
    bench.run(200)
    assert np.abs(bench.joints - GOAL - 0.3).max() < 0.01


def test_e_stop_sinks_and_afterwards_holds_there(bench: Bench) -> None:
    bench.arm.faults = Faults(e_stop=True)
    assert bench.status()["arm_status"] == 1
    bench.run(100)
    sunk = bench.joints
    assert np.abs(sunk - GOAL).max() > 0.01
    bench.arm.faults = HEALTHY
    bench.run(50)
    assert bench.status()["arm_status"] == 0 and np.abs(bench.joints - sunk).max() < 0.05


def test_teach_obeys_nobody_and_ends_in_standby(bench: Bench) -> None:
    bench.arm.faults = Faults(teach=True)
    bench.send(frames.MODE, ctrl_mode=1, move_mode=1, speed=100)
    bench.target(GOAL + 0.3)
    assert bench.status()["ctrl_mode"] == 2
    bench.run(50)
    assert np.abs(bench.joints - GOAL).max() < 0.01
    bench.arm.faults = HEALTHY
    assert bench.status()["ctrl_mode"] == 0


def test_a_motor_without_power_falls_alone(bench: Bench) -> None:
    stretched = GOAL + np.array([0.0, 0.4, 0.0, 0.0, 0.0, 0.0])  # joint 2 carries the whole arm
    bench.target(stretched)
    bench.run(300)
    bench.arm.faults = Faults(powerless=2)
    bench.send(frames.ENABLE, motor=2, code=2)
    bench.run(200)
    moved = np.abs(bench.joints - stretched)
    assert moved[1] > 0.1 and moved[[0, 3, 4, 5]].max() < 0.05
    assert bench.bits(2) == 0 and bench.bits(1) == 0x40
    bench.arm.faults = HEALTHY
    bench.send(frames.ENABLE, motor=2, code=2)
    bench.run(20)
    assert bench.bits(2) == 0x40


def test_temperature_and_voltage(bench: Bench) -> None:
    bench.arm.faults = Faults(temperature=90.0, voltage=19.5)
    told = frames.decode(0x261, bench.run(5)[0x261][-1])
    assert told["motor_temperature"] == 90 and told["voltage"] == pytest.approx(19.5)
    bench.arm.faults = HEALTHY
    assert frames.decode(0x261, bench.run(5)[0x261][-1])["motor_temperature"] == 34


def test_loss_takes_its_share(bench: Bench) -> None:
    bench.arm.faults = Faults(loss=0.3)
    told = bench.run(500)
    assert 280 < len(told[frames.STATUS]) < 420
    assert {len(d) for data in told.values() for d in data} == {8}


def test_latency_delays_feedback_and_commands(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(bench.arm._bus, "_clock", lambda: now[0])
    bench.arm.faults = Faults(latency=0.05)
    assert bench.run(3) == {}
    bench.target(GOAL + 0.3)
    bench.run(1)
    now[0] += 0.04
    assert bench.run(20) == {} and np.abs(bench.joints - GOAL).max() < 0.01
    now[0] += 0.02
    assert len(bench.run(1)[frames.STATUS]) == 4
    bench.run(100)
    assert np.abs(bench.joints - GOAL).max() > 0.1


def test_a_power_cycle_does_not_heal(bench: Bench) -> None:
    bench.arm.faults = Faults(joint_comm=1, motor_hot=3)
    bench.run(1)
    bench.send(frames.STOP, stop=2)
    assert bench.status()["comm_bits"] == 1 and bench.bits(3) == 1 << 1


def test_faults_come_from_another_process_and_say_when(bench: Bench) -> None:
    name = bench.arm.config.name
    stop = threading.Event()
    thread = threading.Thread(target=bench.arm.run, args=(stop,), daemon=True)
    thread.start()
    try:
        first = inject(name, Faults(joint_comm=5, frozen=True))
        assert bench.arm.faults == Faults(joint_comm=5, frozen=True)
        assert inject(name, HEALTHY) > first
        assert bench.arm.faults == HEALTHY
    finally:
        stop.set()
        thread.join(5)
    with pytest.raises(ArmError, match=r"did not answer within 0\.1 s"):
        inject(name, HEALTHY, 0.1)
    bench.arm.close()
    assert not channel_for(name).exists()
    with pytest.raises(ArmError, match="no simulated arm takes faults"):
        inject(name, HEALTHY)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense", "not JSON"),
        ("[1]", "must be an object"),
        ('{"fire": true}', "fault .*fire.*bus_dead"),
        ('{"frozen": 1}', "frozen: must be bool, got 1"),
        ('{"joint_comm": 7}', "must be a joint 1..6 or 0"),
        ('{"joint_comm": true}', "must be int"),
        ('{"loss": 1.5}', "loss: must be in 0..1"),
        ('{"latency": NaN}', "latency: must be in 0..2"),
        ('{"zero": "some"}', "fault zero"),
    ],
)
def test_bad_faults_are_named(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        from_json(text)


def test_json_there_and_back() -> None:
    assert from_json("{}") == HEALTHY == from_json(HEALTHY.to_json())
    some = Faults(zero="all", loss=0.25, collision=6)
    assert from_json(some.to_json()) == some
