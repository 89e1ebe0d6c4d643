"""From hand to target: a twist is integrated, a leader is followed. Pure; poses are the TCP in base_link.

A target never runs further ahead of the measured TCP than the lead allows. So an arm that is held back (by the filter, by a
thing in its way, by its own speed) is not wound up: it stops within the lead after the hand lets go.
"""

from __future__ import annotations

import numpy as np

from reconvla_ros.arm.rotations import angle_between, matrix_from_quaternion, quaternion_from_matrix, slerp
from reconvla_ros.types import Float, Pose


def turn(vector: Float) -> Float:
    """Rotation vector [rad] (3,) -> quaternion x y z w (4,)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.array([0.0, 0.0, 0.0, 1.0])
    return np.array([*(np.sin(angle / 2.0) * vector / angle), np.cos(angle / 2.0)])


def times(p: Float, q: Float) -> Float:
    """Rotation `q` (4,), then `p`."""
    return quaternion_from_matrix(matrix_from_quaternion(p) @ matrix_from_quaternion(q))


def inverse(q: Float) -> Float:
    """The rotation back."""
    return np.array([-q[0], -q[1], -q[2], q[3]])


def leashed(target: Pose, measured: Pose, lead: float, angular_lead: float) -> Pose:
    """The target, no further than `lead` [m] and `angular_lead` [rad] from the measured pose."""
    away = target.position - measured.position
    distance = float(np.linalg.norm(away))
    position = target.position if distance <= lead else measured.position + away * (lead / distance)
    angle = angle_between(measured.quaternion, target.quaternion)
    if angle <= angular_lead:
        return Pose(position, target.quaternion)
    return Pose(position, slerp(measured.quaternion, target.quaternion, angular_lead / angle))


class Jog:
    """Integrates a twist.

    Args:
        lead, angular_lead: most that the target is ahead of the measured TCP [m], [rad].
        in_tcp: the twist is about the axes of the TCP, not of base_link.
    """

    def __init__(self, lead: float, angular_lead: float, in_tcp: bool = False) -> None:
        self._lead, self._angular_lead, self._in_tcp = lead, angular_lead, in_tcp
        self._target: Pose | None = None

    def begin(self, anchor: Pose) -> None:
        """Start from where the arm stands."""
        self._target = anchor

    def step(self, linear: Float, angular: Float, measured: Pose) -> Pose:
        """Go on by `linear` [m] (3,) and `angular` [rad] (3,); `begin` comes first."""
        assert self._target is not None, "begin comes before a step"
        position, quaternion = self._target.position, self._target.quaternion
        if self._in_tcp:
            rotation = matrix_from_quaternion(quaternion)
            linear, angular = rotation @ linear, rotation @ angular
        moved = Pose(position + linear, times(turn(angular), quaternion))
        self._target = leashed(moved, measured, self._lead, self._angular_lead)
        return self._target


class Follow:
    """Follows a leader's TCP.

    Joint angles cannot pass the filter as they are: `arm/ee_command` is Cartesian, and so are the workspace, the speed and
    the table. So the leader's TCP leads. Relative: what the leader has moved since both were engaged is added to where
    the follower was, so nothing leaps however far the two were apart. Absolute: the follower goes where the leader is;
    the caller lets that begin only near to each other.

    Args:
        lead, angular_lead: as for `Jog`.
        relative: see above.
        scale: share of the leader's way, in relative mode.
    """

    def __init__(self, lead: float, angular_lead: float, relative: bool = True, scale: float = 1.0) -> None:
        self._lead, self._angular_lead = lead, angular_lead
        self._relative, self._scale = relative, scale
        self._leader: Pose | None = None
        self._anchor: Pose | None = None

    def begin(self, leader: Pose, anchor: Pose) -> None:
        """Engage: the leader is there, the follower stands at `anchor`."""
        self._leader, self._anchor = leader, anchor

    def wanted(self, leader: Pose) -> Pose:
        """Where the follower should be."""
        assert self._leader is not None and self._anchor is not None, "begin comes before following"
        if not self._relative:
            return leader
        position = self._anchor.position + self._scale * (leader.position - self._leader.position)
        return Pose(
            position, times(times(leader.quaternion, inverse(self._leader.quaternion)), self._anchor.quaternion)
        )

    def step(self, leader: Pose, measured: Pose) -> tuple[Pose, float]:
        """The target, and how far the follower is behind where it should be [m]."""
        wanted = self.wanted(leader)
        behind = float(np.linalg.norm(wanted.position - measured.position))
        return leashed(wanted, measured, self._lead, self._angular_lead), behind
