from __future__ import annotations

import math

import numpy as np
import pytest

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.teleop.ear import Ear

SECOND = 1_000_000_000
JOINTS = np.array([0.0, 1.0, -0.87, 0.0, 0.92, 0.0])
KINEMATICS = Kinematics()


def test_nothing_heard_is_no_arm() -> None:
    follower = Ear(KINEMATICS).follower(SECOND)
    assert follower.measured is None and follower.anchor is None and math.isinf(follower.age)


def test_a_pose_gets_old() -> None:
    ear = Ear(KINEMATICS)
    ear.pose(KINEMATICS.tcp(JOINTS), SECOND)
    assert ear.follower(SECOND + SECOND // 4).age == pytest.approx(0.25)


def test_a_word_of_the_driver_from_before_a_grant_does_not_take_the_lease_away() -> None:
    ear = Ear(KINEMATICS)
    ear.granted("teleop", 2 * SECOND)
    ear.status("MOVING", "", "policy", 1, 2 * SECOND - 1)
    assert (ear.holder, ear.state) == ("teleop", "MOVING")
    ear.status("HOLDING", "", "none", 1, 2 * SECOND + 1)
    assert ear.holder == "none"


def test_what_was_sent_last_counts_until_something_else_is_sent() -> None:
    ear = Ear(KINEMATICS)
    ear.pose(KINEMATICS.tcp(JOINTS), 0)
    ear.joints, ear.gripper = JOINTS, 0.034
    ear.trace(JOINTS + 0.01, 0.03, "", 0)
    ear.trace(np.full(6, np.nan), math.nan, "", 0)
    follower = ear.follower(0)
    assert follower.anchor is not None
    assert follower.anchor.position == pytest.approx(KINEMATICS.tcp(JOINTS + 0.01).position)
    assert follower.opening == 0.03  # what it grips at 0.034 it goes on gripping


def test_a_refusal_is_shown_for_a_while() -> None:
    ear = Ear(KINEMATICS)
    ear.trace(JOINTS, 0.03, "workspace: z", SECOND)
    ear.trace(JOINTS, 0.03, "", SECOND + 1)
    assert ear.refusal(2 * SECOND) == "workspace: z"
    assert ear.refusal(3 * SECOND) == ""
