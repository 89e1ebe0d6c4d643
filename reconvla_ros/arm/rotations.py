"""Rotations as unit quaternions x y z w and matrices (3, 3): the few operations the driver needs every tick."""

from __future__ import annotations

import math

import numpy as np

from reconvla_ros.types import Float


def matrix_from_quaternion(q: Float) -> Float:
    """Rotation matrix (3, 3) of a unit quaternion x y z w (4,)."""
    x, y, z, w = q.tolist()
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion_from_matrix(m: Float) -> Float:
    """Unit quaternion x y z w (4,), w >= 0, of a rotation matrix (3, 3); the largest component is found first."""
    (a, b, c), (d, e, f), (g, h, i) = m[:3, :3].tolist()
    squares = (1 + a - e - i, 1 - a + e - i, 1 - a - e + i, 1 + a + e + i)  # 4 x^2, 4 y^2, 4 z^2, 4 w^2
    largest = squares.index(max(squares))
    s = 0.5 / math.sqrt(squares[largest])
    if largest == 3:
        q = ((h - f) * s, (c - g) * s, (d - b) * s, 0.25 / s)
    elif largest == 0:
        q = (0.25 / s, (b + d) * s, (c + g) * s, (h - f) * s)
    elif largest == 1:
        q = ((b + d) * s, 0.25 / s, (f + h) * s, (c - g) * s)
    else:
        q = ((c + g) * s, (f + h) * s, 0.25 / s, (d - b) * s)
    norm = math.copysign(math.hypot(*q), q[3])
    return np.array([v / norm for v in q])


def angle_between(p: Float, q: Float) -> float:
    """Angle [rad] in [0, pi] between two unit quaternions."""
    # atan2 of the difference, not acos of the dot product: acos cannot tell angles below 1e-8 apart.
    sign = 1.0 if float(np.dot(p, q)) >= 0.0 else -1.0
    half_chord = math.dist(p.tolist(), (sign * q).tolist()) / 2.0
    return 4.0 * math.asin(min(1.0, half_chord))


def slerp(p: Float, q: Float, fraction: float) -> Float:
    """From `p` a `fraction` in [0, 1] of the shorter way to `q`."""
    dot = float(np.dot(p, q))
    q = -q if dot < 0.0 else q
    angle = angle_between(p, q) / 2.0
    if angle < 1e-6:
        mixed = p + fraction * (q - p)
    else:
        mixed = (math.sin((1.0 - fraction) * angle) * p + math.sin(fraction * angle) * q) / math.sin(angle)
    return mixed / math.hypot(*mixed.tolist())
