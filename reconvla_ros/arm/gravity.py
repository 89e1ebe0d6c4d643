"""The torque that gravity puts on each joint: what an arm under torque control must be given, or it sags."""

from __future__ import annotations

import numpy as np

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.tables import BODIES
from reconvla_ros.types import N_JOINTS, Float

_G = 9.81  # [m/s^2], along -z of base_link: an upright base
_HAND = ("link6", "gripper_base", "finger", "finger")


def gravity_torque(kinematics: Kinematics, joints: Float, gripper: bool = True) -> Float:
    """The holding torque (6,) [N m] at `joints` (6,) [rad] for an upright base, without load; `gripper` is fitted or not.

    Masses are those of AgileX's URDF (tables.py), not identified from an arm.
    """
    frames = kinematics.link_frames(joints)
    torque = np.zeros(N_JOINTS)
    for i, frame in enumerate(frames[:N_JOINTS]):
        names: tuple[str, ...] = (f"link{i + 1}",)
        if i == N_JOINTS - 1 and gripper:
            names = _HAND
        for body in (BODIES[name] for name in names):
            com = frame[:3, :3] @ np.array(body.com) + frame[:3, 3]
            for j in range(i + 1):
                axis, origin = frames[j][:3, 2], frames[j][:3, 3]
                torque[j] += body.mass * _G * float(np.cross(axis, com - origin)[2])
    return torque
