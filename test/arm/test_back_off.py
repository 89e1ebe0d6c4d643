"""`arm/release` with `back_off`, in the driver."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fake_arm import MS, ROS_START, FakeArm  # type: ignore[import-not-found]

from reconvla_ros.arm.control import DriverCore
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.safety.supervisor import State
from reconvla_ros.types import ActionChunk, EeCommand, Float

READY = np.array([0.0, 1.2, -1.2, 0.0, 0.9, 0.0])
CONFIG = DriverConfig(dry_run=False)


class Pinch:
    """A driver whose arm has just moved."""

    def __init__(self, **config: Any) -> None:
        self.arm = FakeArm(READY)
        self.core = DriverCore(self.arm, replace(CONFIG, **config))
        self.mono, self.ros = 5_000 * MS, ROS_START
        self.run(30)
        assert self.core.set_source("teleop")[0]
        self.start = self.tcp()
        target = replace(self.core.kinematics.tcp(READY), position=self.start + np.array([0.06, 0.05, -0.03]))
        for _ in range(30):
            accepted = self.core.accept_ee(EeCommand(self.ros, "teleop", target), self.mono, self.ros)
            assert accepted.ok, accepted.detail
            self.run(10)
        self.forward = self.path()
        assert np.linalg.norm(self.tcp() - self.start) > 0.05

    def run(self, ticks: int) -> None:
        for _ in range(ticks):
            self.mono, self.ros = self.mono + 5 * MS, self.ros + 5 * MS
            self.arm.stamp_ns = self.ros
            self.last = self.core.tick(self.mono, self.ros)

    def tcp(self) -> Float:
        return self.core.kinematics.tcp(self.arm.joints).position

    def path(self) -> Float:
        return np.array([command.position for command in self.arm.sent])


@pytest.fixture
def pinch() -> Pinch:
    return Pinch()


def test_it_goes_back_where_it_came_from_slowly_and_stops_by_itself(pinch: Pinch) -> None:
    done, message = pinch.core.back_off()
    assert done and "0.1 m" in message and pinch.core.stop_latched
    before = len(pinch.arm.sent)
    pinch.run(1500)
    back = pinch.path()[before:]
    assert pinch.core.standing and pinch.last.decision.state is State.STOPPED
    assert np.linalg.norm(pinch.tcp() - pinch.start) < 0.01  # the way was shorter than 0.10 m
    off = np.abs(back[:, None, :] - pinch.forward[None, :, :]).max(axis=2).min(axis=1)
    assert off.max() < 0.01
    assert np.abs(np.diff(back, axis=0)).max() / 0.005 <= 0.25 * CONFIG.joint_speed * (1 + 1e-6)
    places = np.array([pinch.core.kinematics.tcp(q).position for q in back])
    assert np.linalg.norm(np.diff(places, axis=0), axis=1).max() / 0.005 <= 0.25 * CONFIG.tcp_speed * (1 + 1e-6)


def test_it_ends_after_its_distance_and_a_second_release_goes_on_from_there() -> None:
    pinch = Pinch(back_off_distance=0.03)
    end = pinch.tcp()
    assert pinch.core.back_off()[0]
    pinch.run(1500)
    first = pinch.tcp()
    assert np.linalg.norm(first - end) == pytest.approx(0.03, abs=0.004) and pinch.core.standing
    assert pinch.core.back_off()[0]
    pinch.run(1500)
    assert np.linalg.norm(pinch.tcp() - end) == pytest.approx(0.06, abs=0.008)


def test_it_works_while_a_stop_is_latched(pinch: Pinch) -> None:
    pinch.core.stop()
    pinch.run(200)
    assert pinch.core.back_off()[0]
    before = pinch.tcp()
    pinch.run(200)
    assert np.linalg.norm(pinch.tcp() - before) > 0.01


@pytest.mark.parametrize("end", ["again", "stop", "fault", "power"])
def test_a_second_call_a_stop_and_a_fault_end_it_at_once(pinch: Pinch, end: str) -> None:
    assert pinch.core.back_off()[0]
    pinch.run(100)
    if end == "again":
        assert "ended" in pinch.core.back_off()[1]
    elif end == "stop":
        pinch.core.stop()
    elif end == "fault":
        pinch.arm.facts = {"comm_bits": 4}
    else:
        pinch.arm.enabled = (True, True, False, True, True, True)
    pinch.run(1)
    held = pinch.arm.sent[-1].position
    pinch.arm.facts, pinch.arm.enabled = {}, (True,) * 6  # a cause that goes away does not start it again
    pinch.run(400)
    assert np.abs(pinch.arm.sent[-1].position - held).max() < 1e-12 and pinch.core.stop_latched


def test_clearing_the_stop_ends_it_and_the_arm_holds(pinch: Pinch) -> None:
    assert pinch.core.back_off()[0]
    pinch.run(100)
    pinch.core.clear_stop()
    pinch.run(60)
    place = pinch.tcp()
    pinch.run(400)
    assert np.linalg.norm(pinch.tcp() - place) < 1e-9 and pinch.last.decision.state is State.HOLDING


def test_after_it_the_driver_moves_at_its_ordinary_speed(pinch: Pinch) -> None:
    assert pinch.core.back_off()[0]
    pinch.run(1500)
    pinch.core.clear_stop()
    pinch.run(5)
    assert pinch.core.ready()[0]
    before = len(pinch.arm.sent)
    pinch.run(300)
    speed = np.abs(np.diff(pinch.path()[before:], axis=0)).max() / 0.005
    assert 0.4 * CONFIG.joint_speed < speed <= CONFIG.joint_speed * (1 + 1e-6)


def test_an_arm_held_back_by_somebody_is_not_pushed_further(pinch: Pinch) -> None:
    # The target went 0.15 rad on, the arm did not: it never was where the newest part of the path leads.
    held = pinch.forward[int(np.argmin(np.abs(pinch.forward[:, 0] - (pinch.forward[-1, 0] - 0.12))))]
    pinch.arm.follows, pinch.arm.joints = False, (held + pinch.arm.joints) / 2.0  # no jump, as nobody can make one
    pinch.core.stop()
    pinch.run(1)
    pinch.arm.joints = held
    pinch.run(60)
    before = len(pinch.arm.sent)
    assert pinch.core.back_off()[0]
    pinch.arm.follows = True
    pinch.run(1500)
    back = pinch.path()[before:]
    assert np.all(back[:, 0] <= held[0] + np.radians(1.1e-3))  # one count of the feedback
    assert back[-1, 0] < held[0] - 0.02


def test_no_path_no_power_and_faults_are_named_and_the_stop_is_latched() -> None:
    arm = FakeArm(READY)
    core = DriverCore(arm, CONFIG)
    assert core.back_off() == (False, "stopped; the arm does not go back: no feedback yet")
    core.tick(5_000 * MS, ROS_START)
    assert not core.back_off()[0] and "last path" in core.back_off()[1] and core.stop_latched
    arm.enabled = (False,) * 6
    core.tick(5_005 * MS, ROS_START)
    assert "no power" in core.back_off()[1]
    arm.enabled, arm.facts = (True,) * 6, {"arm_status": 7}
    core.tick(5_010 * MS, ROS_START)
    assert "FAULT" in core.back_off()[1] and "makes it fall" in core.back_off()[1]
    assert arm.sent == [] and core.stop_latched


def test_an_arm_that_was_pushed_away_is_not_pulled_back_to_its_path(pinch: Pinch) -> None:
    pinch.core.stop()
    for _ in range(4):
        pinch.arm.joints = pinch.arm.joints + np.array([0.1, 0, 0, 0, 0, 0])
        pinch.run(10)
    pinch.run(60)
    sent = len(pinch.arm.sent)
    done, message = pinch.core.back_off()
    pinch.run(100)
    assert not done and "last path" in message and len(pinch.arm.sent) == sent


def test_an_arm_that_does_not_follow_is_left_after_the_time() -> None:
    pinch = Pinch(back_off_time=1.0)
    assert pinch.core.back_off()[0]
    pinch.arm.follows = False
    pinch.run(400)
    sent = len(pinch.arm.sent)
    pinch.run(100)
    assert pinch.core.standing and len(pinch.arm.sent) == sent


def test_a_chunk_is_refused_meanwhile(pinch: Pinch) -> None:
    pinch.core.set_task("t")
    assert pinch.core.back_off()[0]
    pinch.run(5)
    tcp = pinch.core.kinematics.tcp(pinch.arm.joints)
    chunk = ActionChunk(pinch.ros, "t", 1, 0.1, tcp, tcp.position[None], tcp.quaternion[None], np.array([0.05]))
    assert not pinch.core.accept_chunk(chunk, pinch.mono, pinch.ros).ok
