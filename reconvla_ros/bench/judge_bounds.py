"""What the judge asks for, and its own kinematics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reconvla_ros import tables
from reconvla_ros.types import Float


@dataclass(frozen=True)
class Bounds:
    """What the bus may carry: (6,) [rad], [rad/s], [rad/s^2], TCP box (3,) [m], speeds [m/s], [rad/s]; `period` [s]."""

    joint_lower: tuple[float, ...]
    joint_upper: tuple[float, ...]
    joint_speed: float
    joint_acceleration: float
    workspace_lower: tuple[float, ...]
    workspace_upper: tuple[float, ...]
    tcp_offset: tuple[float, ...]
    tcp_speed: float
    tcp_angular_speed: float
    gripper_range: float
    gripper_speed: float
    gripper_effort: float
    speed_percent: int
    period: float


def tcp_of(joints: Float, offset: tuple[float, ...]) -> tuple[Float, Float]:
    """TCP positions (N, 3) [m] and rotations (N, 3, 3) of joints (N, 6) [rad], from the DH table (variant 1)."""
    rotation = np.tile(np.eye(3), (len(joints), 1, 1))
    place = np.zeros((len(joints), 3))
    for row, angle in zip(tables.dh_table(1), joints.T, strict=True):
        ca, sa = np.cos(row.alpha), np.sin(row.alpha)
        tilt = np.array([[1.0, 0.0, 0.0], [0.0, ca, -sa], [0.0, sa, ca]])
        ct, st, zero = np.cos(angle + row.offset), np.sin(angle + row.offset), np.zeros(len(joints))
        turn = np.array([[ct, -st, zero], [st, ct, zero], [zero, zero, zero + 1.0]]).transpose(2, 0, 1)
        place = place + rotation @ np.array([row.a, 0.0, 0.0])
        rotation = rotation @ tilt @ turn
        place = place + rotation @ np.array([0.0, 0.0, row.d])
    return place + rotation @ np.array(offset), rotation
