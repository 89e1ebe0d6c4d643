"""The firmware's own kinematics: forward, and all closed-form inverse solutions of the spherical wrist, in numpy.

Kept apart from the driver's kinematics on purpose: two independent solutions that agree are evidence, one is not.
Frames: `base_link` to flange (`tool0`). Lengths [m], angles [rad]. Euler angles are extrinsic x-y-z (ROS rpy).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import acos, atan2, cos, hypot, pi, sin

import numpy as np
from numpy.typing import NDArray

from reconvla_ros.tables import dh_table

Float = NDArray[np.float64]

GIMBAL = 1e-9  # cosine of ry below this: rx and rz turn about one axis
SINGULAR = 1e-6  # [rad] |J5| below this: J4 and J6 turn about one axis


def matrix_from_rpy(rpy: Float) -> Float:
    """Extrinsic x-y-z angles (3,) -> rotation (3, 3): Rz(rz) Ry(ry) Rx(rx)."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(rpy), np.sin(rpy)
    return np.array(
        [
            [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
            [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
            [-sy, cy * sx, cy * cx],
        ]
    )


def rpy_from_matrix(r: Float) -> tuple[float, float, float]:
    """Rotation (3, 3) -> extrinsic x-y-z angles; in gimbal lock rz = 0, as piper_sdk reports it."""
    down = hypot(r[0, 0], r[1, 0])
    if down < GIMBAL:
        return atan2(-r[1, 2], r[1, 1]), atan2(-r[2, 0], down), 0.0
    return atan2(r[2, 1], r[2, 2]), atan2(-r[2, 0], down), atan2(r[1, 0], r[0, 0])


class Chain:
    """The DH chain of one zero variant (`dh_table`): `forward` and `inverse`."""

    def __init__(self, variant: int = 1):
        rows = dh_table(variant)
        self._offset = np.array([row.offset for row in rows])
        self._a2, self._a3 = rows[2].a, rows[3].a
        self._d1, self._d4, self._d6 = rows[0].d, rows[3].d, rows[5].d
        self._zero2, self._zero3 = rows[1].offset, rows[2].offset
        self._sin_alpha = np.sin([row.alpha for row in rows])
        self._cos_alpha = np.cos([row.alpha for row in rows])
        self._links = np.tile(np.eye(4), (6, 1, 1))
        self._links[:, 0, 3] = [row.a for row in rows]
        self._links[:, 1, 3] = [-row.d * sin(row.alpha) for row in rows]
        self._links[:, 2, 3] = [row.d * cos(row.alpha) for row in rows]
        self._links[:, 1, 2] = -self._sin_alpha
        self._links[:, 2, 2] = self._cos_alpha

    def links(self, q: Float) -> Float:
        """Joint angles (6,) -> transform of each joint frame in its parent (6, 4, 4)."""
        c, s = np.cos(q + self._offset), np.sin(q + self._offset)
        links = self._links.copy()
        links[:, 0, 0], links[:, 0, 1] = c, -s
        links[:, 1, 0], links[:, 1, 1] = s * self._cos_alpha, c * self._cos_alpha
        links[:, 2, 0], links[:, 2, 1] = s * self._sin_alpha, c * self._sin_alpha
        return links

    def forward(self, q: Float) -> Float:
        """Joint angles (6,) -> flange in base_link (4, 4)."""
        links = self.links(q)
        pose = links[0]
        for link in links[1:]:
            pose = pose @ link
        return pose

    def flange(self, q: Sequence[float]) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Joint angles -> flange position [m] and extrinsic x-y-z angles [rad], as END_POSE reports them.

        The same as `forward` and `rpy_from_matrix`, written out in plain floats: in a process that wakes 200 times a
        second this takes a third of the time that small numpy arrays do.
        """
        (c1, s1), (c4, s4), (c5, s5), (c6, s6) = ((cos(a), sin(a)) for a in (q[0], q[3], q[4], q[5]))
        shoulder = q[1] + self._zero2
        elbow = shoulder + q[2] + self._zero3
        c2, s2, c3, s3 = cos(shoulder), sin(shoulder), cos(elbow), sin(elbow)
        u, v = c4 * c5, s4 * c5
        wrist = ((u * c6 - s4 * s6, -s5 * c6, v * c6 + c4 * s6), (-u * s6 - s4 * c6, s5 * s6, c4 * c6 - v * s6))
        columns = [
            (c1 * (c3 * x + s3 * z) - s1 * y, s1 * (c3 * x + s3 * z) + c1 * y, c3 * z - s3 * x)
            for x, z, y in (*wrist, (c4 * s5, c5, s4 * s5))
        ]
        out = self._a2 * c2 + self._a3 * c3 + self._d4 * s3
        up = self._d1 - self._a2 * s2 - self._a3 * s3 + self._d4 * c3
        (r00, r10, r20), (_, r11, r21), (r02, r12, r22) = columns
        position = (c1 * out + self._d6 * r02, s1 * out + self._d6 * r12, up + self._d6 * r22)
        down = hypot(r00, r10)
        if down < GIMBAL:
            return position, (atan2(-r12, r11), atan2(-r20, down), 0.0)
        return position, (atan2(r21, r22), atan2(-r20, down), atan2(r10, r00))

    def inverse(self, target: Float, near: Float) -> list[Float]:
        """All joint angles (6,) that reach the flange pose `target` (4, 4), up to eight, each angle in (-pi, pi].

        At the wrist singularity J4 of `near` (6,) is kept. Limits are not considered. An empty list: out of reach.
        """
        centre = target[:3, 3] - self._d6 * target[:3, 2]
        radius, height = hypot(centre[0], centre[1]), centre[2] - self._d1
        turn = atan2(centre[1], centre[0]) if radius > 1e-9 else near[0]
        solutions = []
        for q1, r in ((turn, radius), (turn + pi, -radius)):
            for q2, q3 in self._elbow(r, -height):
                arm = np.array([q1, q2, q3, -self._offset[3], -self._offset[4], -self._offset[5]])
                for wrist in self._wrist(arm, target[:3, :3], near[3]):
                    q = np.array([q1, q2, q3, *wrist])
                    solutions.append((q + pi) % (2 * pi) - pi)
        return solutions

    def _elbow(self, x: float, y: float) -> list[tuple[float, float]]:
        """J2, J3 that put the wrist centre at (x, y) of the plane that J1 turns (y downwards)."""
        reach = hypot(self._a3, self._d4)
        cosine = (x * x + y * y - self._a2**2 - reach**2) / (2 * self._a2 * reach)
        if abs(cosine) > 1.0:
            return []
        pairs = []
        bend = atan2(-self._d4, self._a3)
        for angle in (acos(cosine), -acos(cosine)):
            shoulder = atan2(y, x) - atan2(reach * sin(angle), self._a2 + reach * cos(angle))
            pairs.append((shoulder - self._offset[1], angle - bend - self._offset[2]))
        return pairs

    def _wrist(self, arm: Float, rotation: Float, keep: float) -> list[tuple[float, float, float]]:
        """J4, J5, J6 that turn the wrist of `arm` to `rotation`: Rz(J4) Ry(J5) Rz(J6)."""
        links = self.links(arm)
        m = (links[0] @ links[1] @ links[2])[:3, :3].T @ rotation
        m = np.array([m[0], m[2], -m[1]])  # undo RotX(90) in front of J4
        tilt = hypot(m[0, 2], m[1, 2])
        if tilt < SINGULAR:
            return [(keep, 0.0, atan2(m[1, 0], m[0, 0]) - keep)] if m[2, 2] > 0 else []
        both = []
        for sign in (1.0, -1.0):
            q4 = atan2(sign * m[1, 2], sign * m[0, 2])
            both.append((q4, atan2(sign * tilt, m[2, 2]), atan2(sign * m[2, 1], -sign * m[2, 0])))
        return both
