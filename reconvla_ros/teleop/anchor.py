"""Where a drive begins: where the arm was sent, not where it sags to. Pure.

An arm stands a little off its target (gravity, friction). A drive that began at the measured pose would make that error
the new target, and the arm would sink by it with every press.
"""

from __future__ import annotations

import numpy as np

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.teleop.aim import inverse, times
from reconvla_ros.types import Float, Pose

NEAR = 0.05  # [rad] further from its target the arm does not stand at it: it moves, or was moved


def anchor(measured: Pose, joints: Float | None, applied: Float | None, kinematics: Kinematics) -> Pose:
    """The TCP where `applied` (6,) [rad] sent the arm, when `joints` (6,) are there; else `measured`.

    Only the difference of the two joint positions is taken from the kinematics, so that neither the zeros of the
    firmware nor another tool offset matter.
    """
    if joints is None or applied is None or float(np.abs(joints - applied).max()) > NEAR:
        return measured
    there, here = kinematics.tcp(applied), kinematics.tcp(joints)
    return Pose(
        measured.position + there.position - here.position,
        times(times(there.quaternion, inverse(here.quaternion)), measured.quaternion),
    )
