"""References and commands that belong together: pose and joints of one arm, by the driver's kinematics."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.safety.filter import Command, Reference

ARM = Kinematics()
LIMITS = DriverConfig().limits()
DT = 0.005
OPEN = np.array([0.0, 1.2, -1.2, 0.0, 0.9, 0.0])  # in the open: away from every bound


def at(joints: ArrayLike, gripper: float = 0.03, **values: Any) -> Reference:
    """A reference at `joints`."""
    q = np.array(joints, dtype=np.float64)
    tcp = ARM.tcp(q)
    return Reference(tcp.position, tcp.quaternion, q, gripper, **values)


def to(joints: ArrayLike, **values: Any) -> Command:
    """A command of `joints` with their pose."""
    q = np.array(joints, dtype=np.float64)
    tcp = ARM.tcp(q)
    return Command(tcp.position, tcp.quaternion, q, **values)
