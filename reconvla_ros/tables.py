"""Facts of the AgileX PiPER as data: geometry, limits, masses. The only place they are stated.

Sources: piper_sdk 0.6.2 (kinematics and parameter frames) for geometry and joint limits; the current AgileX URDF for
masses; the AgileX protocol sheet for firmware limits. Lengths [m], angles [rad], masses [kg].
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, radians


@dataclass(frozen=True)
class DhRow:
    """One row of the modified (Craig) DH table: T = RotX(alpha) TransX(a) RotZ(theta + offset) TransZ(d)."""

    alpha: float
    a: float
    d: float
    offset: float


_ALPHA = (0.0, -pi / 2, 0.0, pi / 2, -pi / 2, pi / 2)
_A = (0.0, 0.0, 0.28503, -0.02198, 0.0, 0.0)
_D = (0.123, 0.0, 0.0, 0.25075, 0.0, 0.091)
# Zeros of J2 and J3 differ by +2 and -2 degrees between firmware before S-V1.6-3 (variant 0) and from it on (variant 1).
_OFFSETS = {
    1: (0.0, radians(-172.22), radians(-102.78), 0.0, 0.0, 0.0),
    0: (0.0, radians(-174.22), radians(-100.78), 0.0, 0.0, 0.0),
}


def dh_table(variant: int = 1) -> tuple[DhRow, ...]:
    """The six rows for `dh_is_offset` = 1 (default; firmware from S-V1.6-3 on) or 0."""
    return tuple(DhRow(*row) for row in zip(_ALPHA, _A, _D, _OFFSETS[variant], strict=True))


# Firmware and SDK joint limits [rad]: J1 +-150, J2 0..180, J3 -170..0, J4 +-100, J5 +-70, J6 +-120 degrees. The hard
# table: configuration may only tighten it.
JOINT_LOWER = (-2.6179, 0.0, -2.967, -1.745, -1.22, -2.0944)
JOINT_UPPER = (2.6179, 3.14, 0.0, 1.745, 1.22, 2.0944)
JOINT_MAX_VELOCITY = 3.0  # [rad/s], firmware maximum per joint
JOINT_MAX_ACCELERATION = 5.0  # [rad/s^2], firmware maximum per joint
REST = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)  # folded; J2 and J3 lie on their stops, a disabled arm rests here safely

GRIPPER_RANGES = (0.07, 0.10)  # [m] total opening of the small and the large gripper
OPENING_DIGITS = 6  # of an opening [m]: the bus counts 0.001 mm, and a float32 message carries 0.07 as 0.0700000003
GRIPPER_MAX_EFFORT = 3.0  # [N m] practical cap; the wire allows 5

TCP_OFFSET = (0.0, 0.0, 0.14)  # [m] from tool0 (flange) along its z to between the fingertips


@dataclass(frozen=True)
class Body:
    """Mass [kg] and centre of mass [m] in the link frame, with the diagonal inertia about it [kg m^2]."""

    mass: float
    com: tuple[float, float, float]
    inertia: tuple[float, float, float]


# AgileX publishes inertias about the joint origin; these have m r^2 taken off, so they are about the centre of mass.
BODIES = {
    "base_link": Body(1.02, (-0.00474, 0.00003, 0.04145), (0.00090, 0.00105, 0.00087)),
    "link1": Body(0.71, (0.00012, 0.00010, -0.00439), (0.00048, 0.00039, 0.00044)),
    "link2": Body(1.17, (0.19867, -0.01093, 0.00142), (0.00103, 0.02167, 0.02143)),
    "link3": Body(0.50, (-0.02027, -0.13391, -0.00046), (0.00465, 0.00024, 0.00463)),
    "link4": Body(0.38, (-0.00010, 0.00088, -0.00497), (0.000175, 0.00018, 0.000154)),
    "link5": Body(0.383, (-0.00004, -0.05665, -0.00372), (0.00043, 0.00018, 0.00041)),
    "link6": Body(0.007, (-0.00009, 0.00001, -0.002), (5.7e-7, 5.7e-7, 1.07e-6)),
    "gripper_base": Body(0.45, (-0.00018, 0.00008, 0.03214), (0.00046, 0.00025, 0.00039)),
    "finger": Body(0.025, (0.00065, -0.04919, 0.00972), (1.3e-5, 5.5e-6, 1.4e-5)),
}


@dataclass(frozen=True)
class Link:
    """Where a joint frame sits in its parent: position [m], quaternion w x y z, the same as URDF rpy [rad]."""

    name: str
    position: tuple[float, float, float]
    quaternion: tuple[float, float, float, float]
    rpy: tuple[float, float, float]


# The DH chain (variant 1) as bodies: every joint turns about its local +z. Equal to the SDK's FK within 1e-9 m.
CHAIN = (
    Link("link1", (0.0, 0.0, 0.123), (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
    Link("link2", (0.0, 0.0, 0.0), (-0.047970945, 0.047970945, 0.705477702, 0.705477702), (pi / 2, -0.13578662, pi)),
    Link("link3", (0.28503, 0.0, 0.0), (-0.624015988, 0.0, 0.0, 0.781411573), (0.0, 0.0, -1.79384941)),
    Link("link4", (-0.02198, -0.25075, 0.0), (0.707106781, 0.707106781, 0.0, 0.0), (pi / 2, 0.0, 0.0)),
    Link("link5", (0.0, 0.0, 0.0), (0.707106781, -0.707106781, 0.0, 0.0), (-pi / 2, 0.0, 0.0)),
    Link("link6", (0.0, -0.091, 0.0), (0.707106781, 0.707106781, 0.0, 0.0), (pi / 2, 0.0, 0.0)),
)

# Arm status words of 0x2A1, for messages to people.
CTRL_MODES = {0: "standby", 1: "CAN", 2: "teach", 3: "ethernet", 4: "wifi", 5: "remote", 6: "leader", 7: "offline"}
ARM_STATUS = {
    0: "normal",
    1: "e-stop",
    2: "no inverse kinematics solution",
    3: "singularity",
    4: "target beyond limit",
    5: "joint communication error",
    6: "brake not released",
    7: "collision",
    8: "overspeed in drag teach",
    9: "joint status abnormal",
    10: "other",
    11: "teach record",
    12: "teach execute",
    13: "teach pause",
    14: "controller over-temperature",
    15: "brake resistor over-temperature",
}
