from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator

import can
import numpy as np
import pytest

from reconvla_ros.errors import BusError
from reconvla_ros.sim import arm_on_can, frames
from reconvla_ros.sim.arm_on_can import SimulatedArm
from reconvla_ros.sim.bus import BusConfig
from reconvla_ros.sim.scenes import make
from reconvla_ros.sim.shared_state import StateReader, path_for


@pytest.fixture
def config(udp_port: int) -> BusConfig:
    """A bus inside this process: no network, no other process."""
    return BusConfig("virtual", f"arm{udp_port}", udp_port)


@pytest.fixture
def host(config: BusConfig) -> Iterator[can.BusABC]:
    bus = config.open()
    yield bus
    bus.shutdown()


def drain(bus: can.BusABC) -> list[can.Message]:
    return list(iter(lambda: bus.recv(0), None))  # type: ignore[arg-type]


def send(bus: can.BusABC, can_id: int, **values: float) -> None:
    bus.send(can.Message(arbitration_id=can_id, data=frames.encode(can_id, values), is_extended_id=False))


def test_a_second_of_cycles_is_3040_frames(config: BusConfig, host: can.BusABC) -> None:
    with SimulatedArm(config, make("empty")) as arm:
        counts: Counter[int] = Counter()
        for _ in range(200):
            arm.cycle()
            counts.update(m.arbitration_id for m in drain(host))
    assert sum(counts.values()) == 3040
    assert {counts[i] for i in frames.FAST_IDS} == {200} and {counts[i] for i in frames.SLOW_IDS} == {40}


def test_enable_move_and_published_state(config: BusConfig, host: can.BusABC) -> None:
    with SimulatedArm(config, make("empty")) as arm:
        reader = StateReader(path_for(config.name))
        send(host, frames.ENABLE, motor=7, code=2)
        arm.cycle()
        acks = [m for m in drain(host) if m.arbitration_id == frames.ACK]
        assert [m.data[0] for m in acks] == [0x71]
        for _ in range(20):
            arm.cycle()
        send(host, frames.MODE, ctrl_mode=1, move_mode=1, speed=100)
        send(host, frames.TARGET_12, joint1=0.4, joint2=0.5)
        for _ in range(400):
            drain(host)
            arm.cycle()
        told = {m.arbitration_id: bytes(m.data) for m in drain(host)}
        assert frames.decode(frames.JOINT_12, told[frames.JOINT_12]) == pytest.approx(
            {"joint1": 0.4, "joint2": 0.5}, abs=1e-3
        )
        sample = reader.latest()
        assert sample is not None
        np.testing.assert_array_equal(sample.position, arm.world.data.qpos)
        assert sample.time == pytest.approx(arm.world.time) == pytest.approx(421 * arm_on_can.PERIOD)
        reader.close()


def test_end_pose_is_the_pose_of_the_reported_joints(config: BusConfig, host: can.BusABC) -> None:
    with SimulatedArm(config, make("empty")) as arm:
        for _ in range(5):
            drain(host)
            arm.cycle()
        told = {m.arbitration_id: bytes(m.data) for m in drain(host)}
        q = [v for i in (frames.JOINT_12, frames.JOINT_34, frames.JOINT_56) for v in frames.decode(i, told[i]).values()]
        flange = arm.firmware.chain.forward(np.array(q))[:3, 3]
        x, y, z = [
            *frames.decode(frames.POSE_XY, told[frames.POSE_XY]).values(),
            frames.decode(frames.POSE_ZRX, told[frames.POSE_ZRX])["z"],
        ]
        np.testing.assert_allclose((x, y, z), flange, atol=6e-7)


def test_a_late_loop_makes_up_physics_without_a_burst(config: BusConfig, host: can.BusABC) -> None:
    with SimulatedArm(config, make("empty")) as arm:
        arm.cycle()
        drain(host)
        before = arm.world.time
        arm.cycle(4)
        assert arm.world.time - before == pytest.approx(4 * arm_on_can.PERIOD)
        counts = Counter(m.arbitration_id for m in drain(host))
    assert {counts[i] for i in frames.FAST_IDS} == {1}
    assert all(counts[i] <= 1 for i in frames.SLOW_IDS)


def test_run_keeps_time_and_stops(config: BusConfig) -> None:
    stop = threading.Event()
    with SimulatedArm(config, make("empty")) as arm:
        thread = threading.Thread(target=arm.run, args=(stop,))
        begin = time.monotonic()
        thread.start()
        while arm.world.time < 0.5 and time.monotonic() - begin < 20:
            time.sleep(0.01)
        elapsed = time.monotonic() - begin
        stop.set()
        thread.join(5)
        assert not thread.is_alive()
        done = arm.stats.cycles + arm.stats.lost
        assert done * arm_on_can.PERIOD == pytest.approx(elapsed, abs=0.5)  # real time, whatever the load
        assert arm.stats.cycles * arm_on_can.PERIOD <= elapsed + 2 * arm_on_can.PERIOD  # never ahead of it


def test_a_bus_in_use_is_refused_and_nothing_is_left(config: BusConfig) -> None:
    with SimulatedArm(config, make("empty")), pytest.raises(BusError, match="another simulated arm"):
        SimulatedArm(config, make("empty"))
    assert not path_for(config.name).exists()
    other = config.open()
    task = other.send_periodic(can.Message(arbitration_id=0x2A1, data=bytes(8), is_extended_id=False), 0.01)
    with pytest.raises(BusError, match="already sends feedback"):
        SimulatedArm(config, make("empty"))
    task.stop()
    other.shutdown()
    assert not path_for(config.name).exists()


def test_another_scene_is_put_under_the_arm_that_stays(config: BusConfig, host: can.BusABC) -> None:
    with SimulatedArm(config, make("fruit_in_bowl", 1)) as arm:
        told: list[int] = []
        arm.told = told.append
        send(host, frames.ENABLE, motor=7, code=2)
        for _ in range(40):
            arm.cycle()
        assert len(told) == 4  # 20 Hz
        reader, joints, then = StateReader(path_for(config.name)), arm.world.sensed().position, arm.world.time
        arm.load(make("fruit_in_bowl", 2))
        for _ in range(20):
            arm.cycle()
        assert reader.closed
        assert StateReader(path_for(config.name)).identity.digest == make("fruit_in_bowl", 2).digest
        np.testing.assert_allclose(arm.world.sensed().position, joints, atol=1e-3)
        assert arm.world.time > then
        assert arm.firmware.motors[0].enabled
