"""Leader mode: who becomes a leader and when, and what it says."""

from __future__ import annotations

import numpy as np
import pytest

from reconvla_ros.sim import frames
from reconvla_ros.sim.arm_io import Sensed, Servo
from reconvla_ros.sim.leader import LeaderMode, wave

LEAD = frames.encode(frames.LINKAGE, {"role": 0xFA})
FOLLOW = frames.encode(frames.LINKAGE, {"role": 0xFC})
RESET = frames.encode(frames.STOP, {"stop": 2})


def sensed(position: float = 0.0) -> Sensed:
    return Sensed(np.full(6, position), np.zeros(6), np.zeros(6), 0.02)


def test_an_arm_in_standby_becomes_a_leader_at_once() -> None:
    mode = LeaderMode()
    assert mode.takes(frames.LINKAGE, LEAD, standby=True)
    assert mode.active


def test_an_arm_that_works_becomes_one_with_its_next_reset() -> None:
    mode = LeaderMode()
    assert mode.takes(frames.LINKAGE, LEAD, standby=False)
    assert not mode.active
    assert not mode.takes(frames.ENABLE, bytes(8), standby=False)  # still the firmware's business
    assert mode.takes(frames.STOP, RESET, standby=False)
    assert mode.active


def test_a_leader_takes_no_command_and_stays_one_until_the_power_cut_after_fc() -> None:
    mode = LeaderMode(leader=True)
    for can_id in (frames.ENABLE, frames.MODE, frames.TARGET_12, frames.STOP, frames.FIRMWARE):
        assert mode.takes(can_id, RESET, standby=True)
    mode.restart()
    assert mode.active
    mode.takes(frames.LINKAGE, FOLLOW, standby=True)
    assert mode.active
    mode.restart()
    assert not mode.active


def test_an_unknown_role_and_a_short_frame_change_nothing() -> None:
    mode = LeaderMode()
    mode.takes(frames.LINKAGE, frames.encode(frames.LINKAGE, {"role": 0xAA}), standby=True)
    mode.takes(frames.LINKAGE, b"\xfa", standby=True)
    assert not mode.active


def test_it_sends_its_joints_as_targets_and_no_feedback() -> None:
    sent = dict(LeaderMode.sent(sensed(0.3)))
    assert list(sent) == [0x151, 0x155, 0x156, 0x157, 0x159]
    assert frames.counts(frames.MODE, sent[0x151]) | {"dwell": 0, "mounting": 0} == {
        "ctrl_mode": 1, "move_mode": 1, "speed": 100, "follow": 0xAD, "dwell": 0, "mounting": 0,
    }  # fmt: skip
    joints = [v for i in (0x155, 0x156, 0x157) for v in frames.decode(i, sent[i]).values()]
    assert joints == pytest.approx([0.3] * 6, abs=frames.DEG)
    assert frames.decode(0x159, sent[0x159])["opening"] == pytest.approx(0.02)


def test_it_stays_where_it_is_until_a_hand_moves_it_and_no_faster_than_a_hand() -> None:
    mode = LeaderMode(leader=True)
    drive = mode.drive(0.0, sensed(0.3))
    assert drive.servo == [Servo.HOLD] * 6
    assert drive.position == pytest.approx([0.3] * 6)
    mode.hand = lambda time: (np.full(6, 1.0), 0.05)
    drive = mode.drive(0.01, sensed(0.3))
    assert drive.position == pytest.approx([0.32] * 6)
    assert drive.velocity == pytest.approx([2.0] * 6)
    assert drive.opening == 0.05


def test_the_wave_starts_at_rest_and_is_slow() -> None:
    times = np.arange(0.0, 30.0, 0.01).tolist()
    way = np.array([wave(t)[0] for t in times])
    assert way[0] == pytest.approx(np.zeros(6))
    assert np.abs(np.diff(way, axis=0)).max() / 0.01 < 0.5
    assert all(0.0 <= wave(t)[1] <= 0.07 for t in times)
