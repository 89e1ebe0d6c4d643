from __future__ import annotations

import numpy as np
import pytest

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.arm.rotations import angle_between
from reconvla_ros.teleop.aim import Follow, Jog, leashed, times, turn
from reconvla_ros.teleop.anchor import anchor
from reconvla_ros.types import Float, Pose

DOWN = np.array([1.0, 0.0, 0.0, 0.0])
START = Pose(np.array([0.3, 0.0, 0.2]), DOWN)
STILL = np.zeros(3)


def about(axis: int, angle: float) -> Float:
    vector = np.zeros(3)
    vector[axis] = angle
    return turn(vector)


def test_a_jog_adds_up_what_the_twist_gives() -> None:
    jog = Jog(lead=0.03, angular_lead=0.15)
    jog.begin(START)
    for _ in range(10):
        target = jog.step(np.array([0.002, 0.0, -0.001]), STILL, START)
    assert target.position == pytest.approx([0.32, 0.0, 0.19])
    assert angle_between(target.quaternion, DOWN) == pytest.approx(0.0, abs=1e-9)


def test_a_jog_turns_about_the_axes_of_base_link_or_of_the_tcp() -> None:
    for in_tcp, wanted in ((False, times(about(2, 0.1), DOWN)), (True, times(DOWN, about(2, 0.1)))):
        jog = Jog(0.03, 0.15, in_tcp)
        jog.begin(START)
        target = jog.step(STILL, np.array([0.0, 0.0, 0.1]), START)
        assert angle_between(target.quaternion, wanted) == pytest.approx(0.0, abs=1e-9)


def test_in_the_axes_of_the_tcp_forward_is_where_the_fingers_point() -> None:
    jog = Jog(0.03, 0.15, in_tcp=True)
    jog.begin(START)  # DOWN: z of the TCP is -z of the base
    assert jog.step(np.array([0.0, 0.0, 0.01]), STILL, START).position == pytest.approx([0.3, 0.0, 0.19])


def test_an_arm_that_is_held_back_is_not_wound_up() -> None:
    jog = Jog(lead=0.03, angular_lead=0.15)
    jog.begin(START)
    for _ in range(500):
        target = jog.step(np.array([0.002, 0.0, 0.0]), np.array([0.0, 0.01, 0.0]), START)
    assert np.linalg.norm(target.position - START.position) == pytest.approx(0.03)
    assert angle_between(target.quaternion, DOWN) == pytest.approx(0.15)
    back = jog.step(np.array([-0.002, 0.0, 0.0]), STILL, START)
    assert np.linalg.norm(back.position - START.position) == pytest.approx(0.028)  # at once, not after 1 m of unwinding


def test_a_leash_keeps_what_is_near() -> None:
    near = Pose(START.position + 0.01, times(about(0, 0.1), DOWN))
    kept = leashed(near, START, 0.03, 0.15)
    assert np.array_equal(kept.position, near.position)
    assert np.array_equal(kept.quaternion, near.quaternion)


def test_relative_following_starts_without_a_leap_and_adds_what_the_leader_moves() -> None:
    leader = Pose(np.array([0.1, 0.3, 0.5]), about(2, 1.0))
    follow = Follow(0.03, 0.15)
    follow.begin(leader, START)
    target, behind = follow.step(leader, START)
    assert behind == 0.0
    assert np.array_equal(target.position, START.position)
    assert angle_between(target.quaternion, START.quaternion) == pytest.approx(0.0, abs=1e-9)
    moved = Pose(leader.position + np.array([0.0, 0.02, 0.0]), times(about(1, 0.1), leader.quaternion))
    target, behind = follow.step(moved, START)
    assert target.position == pytest.approx(START.position + np.array([0.0, 0.02, 0.0]))
    assert angle_between(target.quaternion, times(about(1, 0.1), DOWN)) == pytest.approx(0.0, abs=1e-9)
    assert behind == pytest.approx(0.02)


def test_the_share_of_the_leaders_way() -> None:
    follow = Follow(0.1, 0.15, scale=0.5)
    follow.begin(START, START)
    moved = Pose(START.position + np.array([0.04, 0.0, 0.0]), DOWN)
    assert follow.step(moved, START)[0].position == pytest.approx(START.position + np.array([0.02, 0.0, 0.0]))


def test_absolute_following_goes_where_the_leader_is() -> None:
    follow = Follow(0.1, 0.5, relative=False)
    leader = Pose(START.position + np.array([0.0, 0.0, 0.04]), times(about(0, 0.2), DOWN))
    follow.begin(leader, START)
    target, behind = follow.step(leader, START)
    assert np.array_equal(target.position, leader.position)
    assert behind == pytest.approx(0.04)


class TestAnchor:
    kinematics = Kinematics()
    joints = np.array([0.1, 1.0, -0.87, 0.0, 0.92, 0.2])

    def test_an_arm_that_sags_is_anchored_where_it_was_sent(self) -> None:
        sent = self.joints + np.array([0.0, -0.01, 0.0, 0.0, 0.005, 0.0])
        found = anchor(self.kinematics.tcp(self.joints), self.joints, sent, self.kinematics)
        assert found.position == pytest.approx(self.kinematics.tcp(sent).position, abs=1e-12)
        assert angle_between(found.quaternion, self.kinematics.tcp(sent).quaternion) == pytest.approx(0.0, abs=1e-9)

    def test_another_tool_offset_does_not_move_it(self) -> None:
        longer = Kinematics(tcp_offset=(0.0, 0.0, 0.2))
        found = anchor(longer.tcp(self.joints), self.joints, self.joints, self.kinematics)
        assert found.position == pytest.approx(longer.tcp(self.joints).position, abs=1e-12)

    @pytest.mark.parametrize("applied", [None, joints + 0.06])
    def test_an_arm_that_stands_elsewhere_is_anchored_where_it_is(self, applied: Float | None) -> None:
        measured = self.kinematics.tcp(self.joints)
        assert anchor(measured, self.joints, applied, self.kinematics) is measured
