"""Dead-man, lease, anchor: when commands go out, and which."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.teleop.protocol import Act, Reading
from reconvla_ros.teleop.session import Follower, Order, Session, drag_words
from reconvla_ros.teleop.settings import TeleopConfig
from reconvla_ros.types import Pose

TICK = 20_000_000  # [ns]
READY = (0.0, 1.0, -0.87, 0.0, 0.92, 0.0)
KINEMATICS = Kinematics()
START = KINEMATICS.tcp(np.array(READY))
FORWARD = Reading(True, (1.0, 0.0, 0.0, 0.0, 0.0, 0.0))
LEADER = Reading(True, joints=READY, opening=0.02)
HERE = Follower(age=0.01, measured=START, anchor=START, opening=0.05, holder="teleop", state="HOLDING")


class Bench:
    """A session, and time."""

    def __init__(self, toggles: bool = False, **config: object) -> None:
        self.config = replace(TeleopConfig(), speed="fast", **config)  # type: ignore[arg-type]
        self.session = Session(self.config, toggles, KINEMATICS.tcp)
        self.now = 0
        if not toggles:
            self.tick(Reading())

    def tick(self, reading: Reading, follower: Follower = HERE) -> Order:
        self.now += TICK
        return self.session.tick(self.now, reading, follower)


def lifted(joint: int, by: float) -> Reading:
    joints = list(READY)
    joints[joint] += by
    return replace(LEADER, joints=tuple(joints))


def test_a_held_dead_man_moves_the_target_at_the_speed_and_letting_go_ends_it_at_once() -> None:
    bench = Bench()
    orders = [bench.tick(FORWARD) for _ in range(5)]
    poses = [order.pose for order in orders]
    assert all(pose is not None for pose in poses)
    steps = np.diff([pose.position[0] for pose in poses if pose is not None])
    assert steps == pytest.approx(0.10 * 0.02)
    assert bench.tick(Reading()).pose is None
    assert not bench.session.driving


@pytest.mark.parametrize(("speed", "share"), [(Act.SLOW, 0.25), (Act.MEDIUM, 0.5), (Act.FAST, 1.0)])
def test_the_speed_scales(speed: Act, share: float) -> None:
    bench = Bench()
    bench.session.press(speed)
    first, second = bench.tick(FORWARD).pose, bench.tick(FORWARD).pose
    assert first is not None and second is not None
    assert second.position[0] - first.position[0] == pytest.approx(share * 0.10 * 0.02)


def test_a_dead_man_that_is_held_from_the_start_moves_nothing_until_it_was_let_go() -> None:
    session = Session(TeleopConfig(), False)
    order = session.tick(TICK, FORWARD, HERE)
    assert order.pose is None and not order.take_lease
    assert "let go, then press again" in order.note
    session.tick(2 * TICK, Reading(), HERE)
    assert session.tick(3 * TICK, FORWARD, HERE).pose is not None


def test_the_lease_is_asked_for_once_a_press_and_nothing_is_sent_before_it_is_there() -> None:
    bench, other = Bench(), replace(HERE, holder="policy")
    orders = [bench.tick(FORWARD, other) for _ in range(3)]
    assert [order.take_lease for order in orders] == [True, False, False]
    assert all(order.pose is None for order in orders)
    assert bench.tick(FORWARD).pose is not None
    bench.tick(Reading(), other)
    assert bench.tick(FORWARD, other).take_lease


def test_a_lease_that_is_taken_away_needs_a_new_press() -> None:
    bench, gone = Bench(), replace(HERE, holder="none")
    bench.tick(FORWARD)
    order = bench.tick(FORWARD, gone)
    assert order.pose is None and not order.take_lease and "none" in order.note
    assert not bench.tick(FORWARD, gone).take_lease
    bench.tick(Reading(), gone)
    assert bench.tick(FORWARD, gone).take_lease


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"age": 0.31}, "0.3 s old"),
        ({"measured": None, "age": float("inf")}, "never heard"),
        ({"age": float("nan")}, "old"),
        ({"state": "STOPPED", "reason": "arm/stop was called"}, "STOPPED: arm/stop was called; clear the stop first"),
        ({"state": "FAULT", "reason": "joint_comm"}, "FAULT: joint_comm"),
        ({"state": "DISABLED"}, "call arm/enable first"),
    ],
)
def test_an_arm_that_cannot_be_driven_is_named_and_needs_a_new_press(change: dict[str, object], words: str) -> None:
    bench = Bench()
    bench.tick(FORWARD)
    bad = replace(HERE, **change)  # type: ignore[arg-type]
    order = bench.tick(FORWARD, bad)
    assert order.pose is None and words in order.note
    assert bench.tick(FORWARD).pose is None  # it is well again, but was not let go
    bench.tick(Reading())
    assert bench.tick(FORWARD).pose is not None


def test_a_drive_begins_where_the_arm_was_sent_not_where_it_sags_to() -> None:
    sagged = replace(HERE, measured=Pose(START.position - np.array([0.0, 0.0, 0.002]), START.quaternion))
    pose = Bench().tick(replace(FORWARD, twist=(0.0,) * 6), sagged).pose
    assert pose is not None
    assert pose.position == pytest.approx(START.position)


def test_a_second_press_begins_anew() -> None:
    bench = Bench()
    for _ in range(10):
        bench.tick(FORWARD)
    bench.tick(Reading())
    moved = Pose(START.position + np.array([0.0, 0.1, 0.0]), START.quaternion)
    pose = bench.tick(replace(FORWARD, twist=(0.0,) * 6), replace(HERE, measured=moved, anchor=moved)).pose
    assert pose is not None
    assert np.array_equal(pose.position, moved.position)


def test_a_node_that_was_held_up_does_not_leap() -> None:
    bench = Bench()
    first = bench.tick(FORWARD).pose
    bench.now += 5_000_000_000
    second = bench.tick(FORWARD).pose
    assert first is not None and second is not None
    assert second.position[0] - first.position[0] <= 0.10 * 2.0 / bench.config.rate + 1e-12


def test_the_gripper_is_kept_until_it_is_used_and_then_goes_on_from_where_it_was_sent() -> None:
    bench = Bench()
    assert bench.tick(FORWARD).gripper is None
    opening = bench.tick(Reading(True, grip=-1.0)).gripper
    assert opening == pytest.approx(0.05 - 0.06 * 0.02)
    assert bench.tick(FORWARD).gripper == opening
    for _ in range(100):
        closed = bench.tick(Reading(True, grip=-1.0)).gripper
    assert closed == 0.0
    bench.tick(Reading())
    assert bench.tick(FORWARD).gripper is None


def test_a_lost_device_ends_the_drive_until_it_was_let_go() -> None:
    bench = Bench()
    bench.tick(FORWARD)
    bench.session.trouble("gamepad: unplugged")
    assert not bench.session.driving
    assert bench.tick(FORWARD).pose is None


@pytest.mark.parametrize("act", [Act.STOP, Act.HAND_OVER])
def test_a_stop_and_a_hand_over_end_the_drive(act: Act) -> None:
    bench = Bench()
    bench.tick(FORWARD)
    bench.session.press(act)
    assert bench.tick(FORWARD).pose is None


class TestLeader:
    def engaged(self, **config: object) -> Bench:
        bench = Bench(toggles=True, **config)
        assert bench.tick(LEADER).pose is None
        bench.session.press(Act.ENGAGE)
        return bench

    def test_it_moves_only_while_engaged_and_from_where_both_are(self) -> None:
        bench = self.engaged()
        far = Pose(START.position + np.array([0.1, -0.2, 0.1]), START.quaternion)
        there = replace(HERE, measured=far, anchor=far)
        order = bench.tick(LEADER, there)
        assert order.pose is not None and np.array_equal(order.pose.position, far.position)
        order = bench.tick(lifted(0, 0.02), there)
        moved = KINEMATICS.tcp(np.array(lifted(0, 0.02).joints)).position - START.position
        assert order.pose is not None and order.pose.position == pytest.approx(far.position + moved)
        bench.session.press(Act.ENGAGE)
        assert bench.tick(LEADER, there).pose is None

    def test_engaging_does_not_open_the_followers_hand(self) -> None:
        bench = self.engaged()
        assert bench.tick(LEADER).gripper is None  # the leader's is at 0.02, the follower's at 0.05
        assert bench.tick(replace(LEADER, opening=0.024)).gripper is None
        assert bench.tick(replace(LEADER, opening=0.026)).gripper == pytest.approx(0.026)
        assert bench.tick(LEADER).gripper == pytest.approx(0.02)
        bench = self.engaged()
        assert bench.tick(replace(LEADER, opening=0.049)).gripper == pytest.approx(0.049)  # as far open as the other

    def test_a_leader_that_falls_silent_has_to_be_engaged_again(self) -> None:
        bench = self.engaged()
        bench.tick(LEADER)
        order = bench.tick(Reading(note="the leader is silent for 0.2 s"))
        assert order.pose is None and "silent" in order.note
        assert bench.tick(LEADER).pose is None
        bench.session.press(Act.ENGAGE)
        assert bench.tick(LEADER).pose is not None

    def test_a_leader_that_leaps_lets_go(self) -> None:
        bench = self.engaged()
        bench.tick(LEADER)
        order = bench.tick(lifted(3, 0.21))
        assert order.pose is None and "leapt by 0.21 rad, allowed 0.2" in order.note
        assert not bench.session.engaged

    def test_a_follower_that_is_held_back_lets_go(self) -> None:
        bench = self.engaged()
        bench.tick(LEADER)
        notes = [bench.tick(lifted(0, 0.1 * k)).note for k in range(1, 12)]
        assert any("behind, allowed 0.2" in note for note in notes)
        assert not bench.session.engaged

    def test_absolute_mode_begins_only_near(self) -> None:
        bench = self.engaged(leader_mode="absolute")
        order = bench.tick(lifted(0, 0.5))
        assert order.pose is None and "apart" in order.note and not bench.session.engaged
        bench.session.press(Act.ENGAGE)
        order = bench.tick(lifted(0, 0.05))
        wanted = KINEMATICS.tcp(np.array(lifted(0, 0.05).joints)).position
        assert order.pose is not None and order.pose.position == pytest.approx(wanted)


def test_drag_teach_says_what_may_happen() -> None:
    taught, words = drag_words(replace(HERE, ctrl_mode=2))
    assert taught and "may drop" in words
    taught, words = drag_words(HERE)
    assert not taught and "button" in words
