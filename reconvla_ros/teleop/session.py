"""When a hand moves the arm, and what it asks for: dead-man, lease, anchor, speed. Pure; time is an argument.

Motion begins with a fresh press only: a dead-man that is held at the start, through a fault, or while the lease is
taken away has to be let go first. Letting go ends the commands at once; the lease stays, so that the policy does not go
on because a thumb got tired.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from reconvla_ros.arm.rotations import angle_between
from reconvla_ros.teleop.aim import Follow, Jog
from reconvla_ros.teleop.protocol import Act, Reading
from reconvla_ros.teleop.settings import SPEEDS, TeleopConfig
from reconvla_ros.types import Float, Pose

_MAY_MOVE = ("HOLDING", "MOVING")
_TEACH = 2  # ctrl_mode of the arm
_TOUCHED = 0.005  # [m] a leader's gripper that moved further is being used


@dataclass(frozen=True, eq=False)
class Follower:
    """What is known of the arm that follows.

    Attributes:
        age: of `measured` [s], inf when nothing was heard.
        measured: TCP in base_link. anchor: where it was sent, when it stands there; else as measured.
        opening: of the gripper, as commanded last, else as measured [m].
        holder: of the lease. state, reason: of the driver. ctrl_mode: of the arm.
    """

    age: float = math.inf
    measured: Pose | None = None
    anchor: Pose | None = None
    opening: float = 0.0
    holder: str = "none"
    state: str = "DISCONNECTED"
    reason: str = ""
    ctrl_mode: int = 0


@dataclass(frozen=True, eq=False)
class Order:
    """What one tick leads to: a command (None: publish nothing), whether to ask for the lease, and words."""

    pose: Pose | None = None
    gripper: float | None = None
    take_lease: bool = False
    note: str = ""


class Session:
    """One device, one arm.

    Args:
        config: speeds and bounds.
        toggles: of the device.
        leader_tcp: joints of a leader (6,) [rad] -> its TCP in its own base.
    """

    def __init__(self, config: TeleopConfig, toggles: bool, leader_tcp: Callable[[Float], Pose] | None = None) -> None:
        self._config, self._toggles, self._leader_tcp = config, toggles, leader_tcp
        self.speed = config.speed
        self.engaged = False  # of a device that toggles
        self._jog = Jog(config.lead, config.angular_lead, config.frame == "tcp")
        relative = config.leader_mode == "relative"
        self._follow = Follow(config.lead, config.angular_lead, relative, config.leader_scale)
        self._let_go_first, self._asked, self._driving = True, False, False
        self._opening: float | None = None
        self._grip_began: float | None = None  # opening of a leader when it was engaged [m]
        self._last_ns: int | None = None
        self._leader: Float | None = None
        self._why = ""

    @property
    def driving(self) -> bool:
        """Whether commands go out."""
        return self._driving

    def trouble(self, why: str) -> None:
        """The device is gone: nothing moves until it is back and was let go."""
        self._end(why)

    def press(self, act: Act) -> None:
        """Take what concerns motion: speed, engaging."""
        for name in SPEEDS:
            if act.name == name.upper():
                self.speed = name
        if act is Act.ENGAGE and self._toggles:
            self.engaged = not self.engaged
            self._let_go_first, self._why = False, ""
        if act in (Act.STOP, Act.HAND_OVER):
            self._end("stopped" if act is Act.STOP else "handed over")

    def _end(self, why: str) -> None:
        self._driving = self._asked = self.engaged = False
        self._let_go_first, self._leader = True, None
        self._opening = self._grip_began = None
        self._why = why

    def tick(self, now_ns: int, reading: Reading, follower: Follower) -> Order:
        """What to ask for at monotonic `now_ns`. The reading was checked."""
        longest = 2.0 / self._config.rate  # a node that was held up does not leap
        dt = 0.0 if self._last_ns is None else min(max(now_ns - self._last_ns, 0) / 1e9, longest)
        self._last_ns = now_ns
        held = reading.held and (self.engaged or not self._toggles)
        if not held:
            if not reading.held and self.engaged:
                self._end(f"let go: {reading.note}")
            self._driving = self._asked = False
            self._opening = self._grip_began = None
            if not self._toggles:
                self._let_go_first, self._why = False, ""
            return Order(note=reading.note or self._why or self._hindrance(follower) or self._idle(reading))
        if self._let_go_first:
            return Order(note=f"{self._why or 'held from the start'}: let go, then press again")
        if why := self._hindrance(follower):
            self._end(why)
            return Order(note=why)
        if follower.holder != "teleop":
            return self._want_lease(follower)
        if (problem := self._begin(reading, follower)) or (problem := self._leap(reading)):
            self._end(problem)
            return Order(note=problem)
        return self._drive(dt, reading, follower)

    def _idle(self, reading: Reading) -> str:
        return "ready: enter engages" if self._toggles and reading.held else "ready"

    def _hindrance(self, follower: Follower) -> str:
        """Why the arm cannot be driven now; empty when it can."""
        if follower.measured is None or not follower.age <= self._config.state_stale:
            heard = "never heard" if math.isinf(follower.age) else f"{follower.age:.1f} s old"
            return f"the pose of the arm (arm/ee_pose) is {heard}: is the driver up?"
        if follower.state not in _MAY_MOVE:
            remedy = {"STOPPED": "; clear the stop first", "DISABLED": "; call arm/enable first"}.get(
                follower.state, ""
            )
            return f"the driver is {follower.state}: {follower.reason or 'no reason given'}{remedy}"
        return ""

    def _want_lease(self, follower: Follower) -> Order:
        if self._driving:
            self._end(f"the lease went to {follower.holder}")
            return Order(note=self._why)
        asked, self._asked = self._asked, True
        return Order(take_lease=not asked, note=f"asks for the lease (now {follower.holder})")

    def _begin(self, reading: Reading, follower: Follower) -> str:
        """Anchor at the first tick of a drive; why not, or empty."""
        if self._driving:
            return ""
        anchor = follower.anchor or follower.measured
        assert anchor is not None
        if reading.joints is not None:
            assert self._leader_tcp is not None
            self._leader = np.array(reading.joints)
            leader = self._leader_tcp(self._leader)
            if self._config.leader_mode == "absolute" and (why := self._apart(leader, anchor)):
                return why
            self._follow.begin(leader, anchor)
        else:
            self._jog.begin(anchor)
        self._driving = True
        return ""

    def _apart(self, leader: Pose, anchor: Pose) -> str:
        config = self._config
        distance = float(np.linalg.norm(leader.position - anchor.position))
        angle = angle_between(leader.quaternion, anchor.quaternion)
        if distance <= config.leader_near and angle <= config.leader_near_angle:
            return ""
        return (
            f"leader and follower are {distance:.2f} m and {angle:.2f} rad apart, absolute mode begins within "
            f"{config.leader_near:g} m and {config.leader_near_angle:g} rad: bring the leader there, or use relative"
        )

    def _leap(self, reading: Reading) -> str:
        """Of a leader's joints; empty for other devices."""
        if reading.joints is None or self._leader is None:
            return ""
        joints = np.array(reading.joints)
        leap = float(np.abs(joints - self._leader).max())
        self._leader = joints
        bound = self._config.leader_jump
        return f"the leader leapt by {leap:.2f} rad, allowed {bound:g}: let go" if leap > bound else ""

    def _drive(self, dt: float, reading: Reading, follower: Follower) -> Order:
        measured, config = follower.measured, self._config
        assert measured is not None
        if reading.joints is not None and self._leader_tcp is not None:
            pose, behind = self._follow.step(self._leader_tcp(np.array(reading.joints)), measured)
            if behind > config.leader_leash:
                self._end(f"the follower is {behind:.2f} m behind, allowed {config.leader_leash:g}: let go")
                return Order(note=self._why)
            return Order(pose, self._leader_grip(reading.opening, follower.opening), note="follows")
        share, twist = SPEEDS[self.speed], np.array(reading.twist)
        pose = self._jog.step(
            share * config.linear_speed * dt * twist[:3], share * config.angular_speed * dt * twist[3:], measured
        )
        return Order(pose, self._grip(dt, reading.grip, follower), note="moves")

    def _leader_grip(self, opening: float | None, follower: float) -> float | None:
        """The leader's opening; None (keep) until its gripper is used or is as far open as the follower's.

        Else engaging would drop what the follower holds.
        """
        if opening is None:
            return None
        if self._opening is None:
            self._grip_began = opening if self._grip_began is None else self._grip_began
            if abs(opening - self._grip_began) < _TOUCHED and abs(opening - follower) > _TOUCHED:
                return None
        self._opening = min(opening, self._config.gripper_range)
        return self._opening

    def _grip(self, dt: float, grip: float, follower: Follower) -> float | None:
        """The opening to ask for; None (keep) until the gripper is used in this drive: what it grips, it keeps."""
        if grip == 0.0 and self._opening is None:
            return None
        before = follower.opening if self._opening is None else self._opening
        self._opening = min(max(before + grip * self._config.gripper_speed * dt, 0.0), self._config.gripper_range)
        return self._opening


def drag_words(follower: Follower) -> tuple[bool, str]:
    """Whether the arm is in teach mode, and what to tell the person who leads it."""
    if follower.ctrl_mode == _TEACH:
        return True, "teach mode: lead the arm. HOLD IT before you leave teach mode: it may drop"
    return False, "not in teach mode: hold the arm, then press the button on it"
