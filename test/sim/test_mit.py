"""MIT frames as each firmware takes them, and the torque they make."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reconvla_ros.sim import frames, mit
from reconvla_ros.sim.arm_io import FirmwareOptions, Servo
from reconvla_ros.sim.firmware import Firmware
from reconvla_ros.sim.mit import MitTarget, encode_mit, form_of
from reconvla_ros.sim.scenes import make

SENT = MitTarget(0.5, 1.0, 100.0, 2.0, 4.0)


def wide(target: MitTarget) -> bytes:
    """The form from S-V1.8-8 on, packed by hand."""
    word = 0
    ranges = ((-12.5, 12.5, 16), (-45.0, 45.0, 12), (0.0, 500.0, 12), (-5.0, 5.0, 12), (-16.0, 16.0, 12))
    values = (target.position, target.velocity, target.kp, target.kd, target.torque)
    for value, (low, high, bits) in zip(values, ranges, strict=True):
        word = word << bits | round((value - low) / (high - low) * ((1 << bits) - 1))
    return word.to_bytes(8, "big")


@pytest.mark.parametrize(
    ("version", "joint", "sign", "factor", "code"),
    [
        ("S-V1.7-2", 1, -1.0, 4.0, 4),
        ("S-V1.7-2", 3, 1.0, 4.0, 4),
        ("S-V1.7-2", 5, 1.0, 1.0, 4),
        ("S-V1.7-2", 6, -1.0, 1.0, 4),
        ("S-V1.7-3", 1, 1.0, 4.0, 4),
        ("S-V1.8-2", 2, 1.0, 4.0, 4),
        ("S-V1.8-2", 4, 1.0, 1.0, 4),
        ("S-V1.8-3", 2, 1.0, 1.0, 4),
        ("S-V1.8-7", 6, 1.0, 1.0, 4),
        ("S-V1.8-8", 2, 1.0, 1.0, 6),
    ],
)
def test_each_firmware_reads_a_frame_its_own_way(
    version: str, joint: int, sign: float, factor: float, code: int
) -> None:
    form = form_of(version)
    data = wide(SENT) if form.wide else encode_mit(SENT)
    read = form.read(joint, data)
    assert form.code == code
    assert read.position == pytest.approx(sign * 0.5, abs=1e-3) and read.velocity == pytest.approx(sign, abs=0.03)
    assert read.torque == pytest.approx(sign * factor * 4.0, abs=0.04 * factor)
    assert (read.kp, read.kd) == (pytest.approx(100.0, abs=0.2), pytest.approx(2.0, abs=0.01))


def test_the_old_frame_is_another_torque_on_new_firmware() -> None:
    """Why the driver refuses: the newest firmware takes the check nibble as a part of the torque, and no error shows."""
    read = form_of("S-V1.8-8").read(2, encode_mit(SENT))
    assert abs(read.torque - SENT.torque) > 0.5


class Bench:
    """Firmware and physics, time as fast as it can."""

    def __init__(self, make_rig: Any, version: str) -> None:
        self.rig = make_rig(make("empty"))
        self.rig.firmware = Firmware(FirmwareOptions(version=version))
        self.rig.enable(100)
        self.rig.go(np.array([0.0, 1.0, -0.9, 0.0, 0.3, 0.0]))
        self.rig.run(1.0)
        self.code = mit.form_of(version).code

    def select(self) -> None:
        self.rig.send(frames.MODE, ctrl_mode=1, move_mode=self.code, follow=0xAD)

    def tell(self, joint: int, **values: float) -> None:
        target = MitTarget(**{"position": 0.0, "velocity": 0.0, "kp": 0.0, "kd": 0.0, "torque": 0.0} | values)
        self.rig.firmware.receive(frames.MIT[joint - 1], wide(target) if self.code == 6 else encode_mit(target))


@pytest.fixture(params=["S-V1.8-5", "S-V1.8-8"])
def bench(make_rig: Any, request: pytest.FixtureRequest) -> Bench:
    return Bench(make_rig, request.param)


def test_choosing_the_mode_moves_nothing_and_stiffness_does(bench: Bench) -> None:
    before = bench.rig.joints
    bench.select()
    bench.rig.run(0.5)
    assert bench.rig.firmware.fast()[2] == bench.code
    assert np.abs(bench.rig.joints - before).max() < 2e-3
    bench.tell(1, position=0.4, kp=100.0, kd=5.0)
    bench.rig.run(2.0)
    assert bench.rig.joints[0] == pytest.approx(0.4, abs=0.02)
    bench.rig.run(2.0)  # no watchdog: silence changes nothing
    assert bench.rig.joints[0] == pytest.approx(0.4, abs=0.02)
    assert np.abs(bench.rig.joints - before)[1:].max() < 5e-3  # those without a frame hold


def test_no_stiffness_is_no_torque_and_the_joint_falls(bench: Bench) -> None:
    bench.select()
    before = bench.rig.joints[2]
    bench.tell(3)
    bench.rig.run(0.6)
    assert abs(bench.rig.joints[2] - before) > 0.1


def test_torque_alone_turns_the_joint(bench: Bench) -> None:
    bench.select()
    bench.tell(1, torque=4.0)
    bench.rig.run(0.3)
    assert bench.rig.joints[0] > 0.05


def test_going_back_to_joint_targets_starts_where_the_arm_is(bench: Bench) -> None:
    bench.select()
    bench.tell(1, position=0.4, kp=100.0, kd=5.0)
    bench.rig.run(2.0)
    here = bench.rig.joints
    bench.rig.send(frames.MODE, ctrl_mode=1, move_mode=1, speed=50)
    bench.rig.run(0.5)
    assert np.abs(bench.rig.joints - here).max() < 0.01


def test_a_wrong_check_nibble_and_another_mode_are_ignored(make_rig: Any) -> None:
    bench = Bench(make_rig, "S-V1.8-5")
    data = bytearray(encode_mit(MitTarget(0.4, 0.0, 100.0, 5.0, 0.0)))
    bench.rig.firmware.receive(frames.MIT[0], bytes(data))
    assert bench.rig.firmware.ignored["target in another mode"] == 1
    bench.select()
    data[7] ^= 1
    bench.rig.firmware.receive(frames.MIT[0], bytes(data))
    assert bench.rig.firmware.ignored["MIT check"] == 1
    bench.rig.run(0.5)
    assert abs(bench.rig.joints[0]) < 0.01


def test_a_motor_that_gets_power_again_holds_until_it_is_told(make_rig: Any) -> None:
    bench = Bench(make_rig, "S-V1.8-5")
    bench.select()
    bench.tell(1, position=0.4, kp=100.0, kd=5.0)
    bench.rig.run(0.02)
    for code in (1, 2):
        bench.rig.send(frames.ENABLE, motor=1, code=code)
        bench.rig.run(0.05)
    assert bench.rig.firmware.tick(bench.rig.world.time, bench.rig.world.sensed()).servo[0] is Servo.HOLD
