"""The state machine alone: ideal joints that are where the drive says, or fall when it lets go."""

from __future__ import annotations

import numpy as np
import pytest

from reconvla_ros.errors import ConfigError
from reconvla_ros.sim import frames
from reconvla_ros.sim.arm_io import Drive, FirmwareOptions, Sensed, Servo
from reconvla_ros.sim.firmware import Firmware
from reconvla_ros.types import Float

READY = np.array([0.0, 1.0, -1.2, 0.0, 0.6, 0.0])


class Bench:
    """Firmware on ideal joints."""

    def __init__(self, options: FirmwareOptions | None = None):
        self.firmware = Firmware(options or FirmwareOptions())
        self.joints: Float = READY.copy()
        self.opening = 0.03
        self.now = 0.0
        self.drive: Drive = self.run(0.01)

    def run(self, seconds: float) -> Drive:
        for _ in range(round(seconds / 0.005)):
            self.now += 0.005
            drive = self.firmware.tick(self.now, Sensed(self.joints.copy(), np.zeros(6), np.zeros(6), self.opening))
            for j in range(6):
                if drive.servo[j] == Servo.HOLD:
                    self.joints[j] = drive.position[j]
            if drive.gripper_on:
                self.opening = drive.opening
        self.drive = drive
        return drive

    def send(self, can_id: int, **values: float) -> None:
        self.firmware.receive(can_id, frames.encode(can_id, values))

    def enable(self, motor: int = 7, code: int = 2) -> None:
        self.send(frames.ENABLE, motor=motor, code=code)
        self.run(0.05)

    def mode(self, move: int, speed: int = 100, ctrl: int = 1, follow: int = 0) -> None:
        self.send(frames.MODE, ctrl_mode=ctrl, move_mode=move, speed=speed, follow=follow)

    def target(self, q: Float) -> None:
        for i in range(3):
            self.send(frames.TARGET_12 + i, **{f"joint{2 * i + 1}": q[2 * i], f"joint{2 * i + 2}": q[2 * i + 1]})

    def pose(self, x: float, y: float, z: float, rx: float, ry: float, rz: float) -> None:
        self.send(frames.TARGET_XY, x=x, y=y)
        self.send(frames.TARGET_ZRX, z=z, rx=rx)
        self.send(frames.TARGET_RYRZ, ry=ry, rz=rz)

    def here(self) -> list[float]:
        block = self.firmware.fast()
        told: dict[str, float] = {}
        for i, can_id in enumerate(frames.FAST_IDS[1:4], start=1):
            told |= frames.decode(can_id, block[8 * i : 8 * i + 8])
        return list(told.values())

    @property
    def status(self) -> dict[str, int]:
        return frames.counts(frames.STATUS, self.firmware.fast()[:8])

    @property
    def enabled(self) -> list[bool]:
        slow = self.firmware.slow()
        return [bool(frames.counts(0x261 + j, slow[8 * j : 8 * j + 8])["bits"] & 0x40) for j in range(6)]


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def live() -> Bench:
    bench = Bench()
    bench.enable()
    bench.mode(1)
    return bench


def test_starts_limp_in_standby_and_ignores_targets(bench: Bench) -> None:
    assert bench.enabled == [False] * 6
    assert bench.status["ctrl_mode"] == 0
    bench.target(READY + 0.2)
    assert bench.run(0.5).servo == [Servo.OFF] * 6
    assert bench.firmware.ignored["target in another mode"] == 3


def test_motors_enable_one_by_one_after_a_latency(bench: Bench) -> None:
    bench.send(frames.ENABLE, motor=2, code=2)
    bench.run(0.005)
    assert bench.enabled == [False] * 6
    bench.run(0.02)
    assert bench.enabled == [False, True, False, False, False, False]
    assert bench.drive.servo[1] == Servo.HOLD and not bench.drive.gripper_on
    bench.enable(7)
    assert bench.enabled == [True] * 6 and bench.drive.gripper_on
    ((first, data), *_) = bench.firmware.replies()
    assert (first, data[0]) == (frames.ACK, 0x71)
    bench.enable(3, code=1)
    assert bench.enabled == [True, True, False, True, True, True]
    bench.enable(0xFF, code=1)
    assert bench.enabled == [False] * 6


def test_enabling_does_not_jump(bench: Bench) -> None:
    bench.enable()
    bench.run(0.2)
    np.testing.assert_allclose(bench.joints, READY, atol=1e-12)


@pytest.mark.parametrize("speed", [10, 50, 100])
def test_move_j_obeys_speed_percent(live: Bench, speed: int) -> None:
    live.mode(1, speed)
    live.target(READY + 0.8)
    fastest = 0.0
    for _ in range(2000):
        before = live.joints.copy()
        live.run(0.005)
        fastest = max(fastest, float(np.abs(live.joints - before).max()) / 0.005)
    assert fastest <= 3.0 * speed / 100 + 1e-6
    assert fastest >= 0.9 * min(3.0 * speed / 100, np.sqrt(5.0 * 0.8))
    # J5 starts at 0.6: its target is beyond the limit and it stayed
    np.testing.assert_allclose(live.joints[:4], READY[:4] + 0.8, atol=1e-4)
    assert live.joints[4] == pytest.approx(0.6)


def test_beyond_a_limit_sets_status_and_bit_and_a_good_target_clears_them(live: Bench) -> None:
    bad = READY.copy()
    bad[4] = 1.4
    live.target(bad)
    assert (live.status["arm_status"], live.status["limit_bits"]) == (4, 0b10000)
    live.run(0.3)
    assert live.joints[4] == pytest.approx(READY[4])
    live.target(READY)
    assert (live.status["arm_status"], live.status["limit_bits"]) == (0, 0)


def test_moving_is_reported(live: Bench) -> None:
    live.target(READY - 0.3)
    live.run(0.05)
    assert live.status["moving"] == 1
    live.run(2.0)
    assert live.status["moving"] == 0


@pytest.mark.parametrize("mode", [0, 2])
def test_move_p_and_l_reach_a_pose(live: Bench, mode: int) -> None:
    x, y, z, *turn = live.here()
    live.mode(mode)
    live.pose(x + 0.02, y + 0.05, z - 0.03, *turn)
    off_line = 0.0
    direction = np.array([0.02, 0.05, -0.03]) / np.linalg.norm([0.02, 0.05, -0.03])
    for _ in range(600):
        live.run(0.005)
        off_line = max(off_line, float(np.linalg.norm(np.cross(np.array(live.here()[:3]) - (x, y, z), direction))))
    assert live.here() == pytest.approx([x + 0.02, y + 0.05, z - 0.03, *turn], abs=2e-5)
    assert live.status["move_mode"] == mode and live.status["arm_status"] == 0
    if mode == 2:
        assert off_line < 5e-6


@pytest.mark.parametrize("mode", [0, 2])
def test_unreachable_pose_is_status_2_and_moves_nothing(live: Bench, mode: int) -> None:
    before = live.here()
    live.mode(mode)
    live.pose(0.9, 0.0, 0.3, *before[3:])
    live.run(0.5)
    assert live.status["arm_status"] == 2
    assert live.here() == pytest.approx(before, abs=1e-6)
    live.pose(*before)
    assert live.status["arm_status"] == 0


def test_pose_outside_joint_limits_is_status_4(live: Bench) -> None:
    live.mode(0)
    x, y, z, *_ = live.here()
    live.pose(x, y, z, 0.0, -1.2, 0.0)  # backwards: the wrist cannot
    assert live.status["arm_status"] in (2, 4)
    assert live.status["arm_status"] == 4


def test_a_pose_needs_all_three_frames(live: Bench) -> None:
    live.mode(0)
    before = live.joints.copy()
    live.send(frames.TARGET_RYRZ, ry=0.1, rz=0.2)
    live.run(0.2)
    np.testing.assert_allclose(live.joints, before, atol=1e-9)


def test_a_mode_change_forgets_the_old_target(live: Bench) -> None:
    live.target(READY - 0.5)
    live.run(0.2)
    live.mode(0)
    live.run(1.0)
    stopped = live.joints.copy()
    live.run(0.5)
    np.testing.assert_allclose(live.joints, stopped, atol=1e-9)
    assert np.abs(live.joints - (READY - 0.5)).max() > 0.05


def test_no_watchdog_the_last_target_is_reached_in_silence(live: Bench) -> None:
    live.target(READY - 0.4)
    live.run(5.0)
    np.testing.assert_allclose(live.joints, READY - 0.4, atol=1e-4)
    assert live.drive.servo == [Servo.HOLD] * 6


def test_emergency_stop_damps_and_ignores_everything_but_reset_and_disable(live: Bench) -> None:
    live.target(READY - 0.3)
    live.run(0.1)
    live.send(frames.STOP, stop=1)
    assert live.run(0.01).servo == [Servo.DAMPED] * 6
    assert not live.drive.gripper_on
    live.mode(1)
    live.target(READY)
    live.enable()
    assert live.status["arm_status"] == 1
    assert live.run(0.1).servo == [Servo.DAMPED] * 6
    live.enable(code=1)
    assert live.drive.servo == [Servo.OFF] * 6


def test_reset_cuts_power_and_swallows_the_next_enable(live: Bench) -> None:
    live.send(frames.STOP, stop=1)
    live.send(frames.STOP, stop=2)
    assert live.run(0.01).servo == [Servo.OFF] * 6
    assert (live.status["arm_status"], live.status["ctrl_mode"], live.status["limit_bits"]) == (0, 0, 0)
    live.enable()
    assert live.enabled == [False] * 6
    live.enable()
    assert live.enabled == [True] * 6


@pytest.mark.parametrize(("range_mm", "full"), [(70, 0.07), (100, 0.1)])
def test_gripper_range(range_mm: int, full: float) -> None:
    bench = Bench(FirmwareOptions(gripper_range=range_mm))
    bench.send(frames.TARGET_GRIPPER, opening=0.5, effort=1.0, code=1)
    bench.run(1.0)
    assert bench.opening == pytest.approx(full)
    bench.send(frames.TARGET_GRIPPER, opening=-0.01, effort=1.0, code=1)
    bench.run(1.0)
    assert bench.opening == pytest.approx(0.0)
    assert bench.firmware.fast()[8 * 7 + 6] == 0xC0
    bench.send(frames.TARGET_GRIPPER, opening=0.05, effort=1.0, code=0)
    bench.run(0.2)
    assert not bench.drive.gripper_on and bench.firmware.fast()[8 * 7 + 6] == 0x80


def test_gripper_of_unset_range_ignores_commands_and_reads_zero() -> None:
    bench = Bench(FirmwareOptions(gripper_range=0))
    bench.send(frames.TARGET_GRIPPER, opening=0.05, effort=1.0, code=1)
    bench.enable()
    assert not bench.run(0.5).gripper_on
    assert frames.counts(frames.GRIPPER, bench.firmware.fast()[56:64])["opening"] == 0


def test_modes_that_are_not_modelled_are_refused(live: Bench) -> None:
    for move, follow in ((3, 0), (6, 0xAD), (5, 0), (1, 0xAD)):
        live.mode(move, follow=follow)
    live.mode(1, ctrl=7)
    live.firmware.receive(frames.LINKAGE, bytes([0xFA] + [0] * 7))
    assert (live.status["move_mode"], live.status["ctrl_mode"]) == (1, 1)
    assert live.firmware.ignored == {"following or unknown mode": 4, "mode": 1, "linkage": 1}


def test_short_and_unknown_frames_are_survived(live: Bench) -> None:
    live.firmware.receive(frames.ENABLE, b"\x07")
    live.firmware.receive(0x7FF, b"")
    live.firmware.receive(0x121, bytes(8))
    live.send(frames.ENABLE, motor=9, code=2)
    assert live.run(0.1).servo == [Servo.HOLD] * 6


def test_time_advances_at_most_20_ms_in_a_tick(live: Bench) -> None:
    live.target(READY - 0.5)
    live.run(0.3)
    before = live.joints.copy()
    live.now += 10.0
    live.run(0.005)
    assert np.abs(live.joints - before).max() <= 3.0 * 0.02 + 1e-9


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="70 or 100"):
        FirmwareOptions(gripper_range=80)
    with pytest.raises(ConfigError, match=r"S-V1\.6-3"):
        FirmwareOptions(version="S-V1.5-2")
