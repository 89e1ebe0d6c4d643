"""The arm and its gripper as capsules: where they are for joint positions, and how far from table, boxes and themselves.

A capsule is an axis (two points of a link) and a radius. Everything is computed for N joint positions at once, because
the filter looks at the next position and at where a stop would end in one go. Frames: `base_link`; link frames are those
of `tables.CHAIN`; `tool0` is link6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from reconvla_ros.errors import LimitError
from reconvla_ros.tables import TCP_OFFSET, dh_table
from reconvla_ros.types import N_JOINTS, Float

_SPHERES_PER_RADIUS = 1.0  # spheres on an axis are at most one radius apart: they stand out by at most 12 % of it
_TINY = 1e-12


@dataclass(frozen=True)
class Capsule:
    """`start`, `end` of the axis in the frame of `link` (1..6) [m], `radius` [m].

    `side`: +1 or -1 for a finger, which moves by half the opening along that y; 0 for everything else.
    """

    name: str
    link: int
    start: tuple[float, float, float]
    end: tuple[float, float, float]
    radius: float
    side: int = 0


# The outer surface of the arm is published only as meshes. Axes of link2, link3 and link5 follow AgileX's URDF frames; no
# radius was measured on a real arm: they are those of the simulated arm (sim/arm_mjcf.py), whose boxes and cylinders lie
# inside these capsules except for the corners of the finger tips (6 mm) and the shoulder's upper rim (3 mm). The base
# stands still: it is in link1's frame.
CAPSULES = (
    Capsule("base", 1, (0.0, 0.0, -0.123), (0.0, 0.0, -0.041), 0.055),
    Capsule("shoulder", 1, (0.0, 0.0, -0.045), (0.0, 0.0, 0.0), 0.0461),
    Capsule("shoulder motor", 2, (0.0, 0.0, -0.036), (0.0, 0.0, 0.036), 0.0447),
    Capsule("upper arm", 2, (0.0, 0.0, 0.0), (0.28503, 0.0, 0.0), 0.035),
    Capsule("elbow", 2, (0.28503, 0.0, -0.024), (0.28503, 0.0, 0.024), 0.042),
    Capsule("forearm", 3, (-0.008, -0.03, 0.0), (-0.02198, -0.2, 0.0), 0.030),
    Capsule("wrist roll", 4, (0.0, 0.0, -0.045), (0.0, 0.0, -0.008), 0.031),
    Capsule("wrist motor", 5, (0.0, 0.0, -0.018), (0.0, 0.0, 0.018), 0.0305),
    Capsule("wrist", 5, (0.0, -0.01, 0.0), (0.0, -0.06, 0.0), 0.024),
    Capsule("flange", 6, (0.0, 0.0, 0.0), (0.0, 0.0, 0.03), 0.030),
    # The gripper: a palm 40 x 84 x 64 mm, a rail 28 x 116 x 14 mm for the fingers, the wrist camera 24 x 90 x 24 mm behind it.
    Capsule("palm", 6, (0.0, -0.0285, 0.052), (0.0, 0.0285, 0.052), 0.040),
    Capsule("rail", 6, (0.0, -0.049, 0.09), (0.0, 0.049, 0.09), 0.018),
    Capsule("wrist camera", 6, (-0.062, -0.034, 0.02), (-0.062, 0.034, 0.02), 0.020),
    # Fingers 18 x 22 mm, tips at 0.145 m (AgileX names 0.135..0.145). The capsule ends at the tip, so that a gripper that
    # points straight down may come as near to the table as its tips may; the corners of a tilted flat tip stand out by up to
    # 6 mm, which `table_margin` may add.
    Capsule("left finger", 6, (0.0, 0.009, 0.1), (0.0, 0.009, 0.1308), 0.0142, 1),
    Capsule("right finger", 6, (0.0, -0.009, 0.1), (0.0, -0.009, 0.1308), 0.0142, -1),
)
FIXED = ("base", "shoulder")  # they do not move in base_link, so table and boxes are no matter of theirs
# Pairs that joint limits let touch (found over 5000 positions, corners of the range included). Left out: neighbours on the
# chain, which overlap by construction, and pairs whose distance stays positive whatever the joints do (forearm and wrist
# against the gripper, the elbow against everything, upper arm and shoulder motor against the wrist roll).
_LOWER = ("base", "shoulder", "shoulder motor", "upper arm")
_UPPER = ("wrist motor", "wrist", "flange", "palm", "rail", "wrist camera", "left finger", "right finger")
PAIRS = (
    *((low, high) for low in _LOWER for high in _UPPER),
    ("base", "forearm"),
    ("base", "wrist roll"),
    ("shoulder", "wrist roll"),
)


@dataclass(frozen=True, eq=False)
class Look:
    """N joint positions, looked at.

    Attributes:
        clearance: to every item of `Body.items` (N, M) [m]; never more than the capsules' own, at most 12 % of a radius less.
        tcp: (N, 3) [m]. tool: the tool's z axis (N, 3).
    """

    clearance: Float
    tcp: Float
    tool: Float

    def row(self, index: int) -> Look:
        """One of them, as a look of its own."""
        part = slice(index, index + 1)
        return Look(self.clearance[part], self.tcp[part], self.tool[part])


class Body:
    """One arm in its surroundings.

    Args:
        variant: `dh_is_offset`, by firmware.
        table_z: height of the table [m].
        keep_out: flat, six numbers a box: x y z of the low corner, x y z of the high one [m].
        tcp_offset: from `tool0` to `tcp` [m].

    Attributes:
        items: (reason, what) of each column of `Look.clearance`: every moving capsule against the table, the pairs, every
            moving capsule against each box.
    """

    def __init__(
        self,
        variant: int = 1,
        table_z: float = 0.0,
        keep_out: tuple[float, ...] = (),
        tcp_offset: tuple[float, ...] = TCP_OFFSET,
    ) -> None:
        rows = dh_table(variant)
        self._table_z = table_z
        self._zero = np.array([row.offset for row in rows])
        # A link is constant + cos(angle) * first + sin(angle) * second, each (6, 4, 4).
        self._links, self._by_cos, self._by_sin = (np.zeros((N_JOINTS, 4, 4)) for _ in range(3))
        for k, row in enumerate(rows):
            ca, sa = math.cos(row.alpha), math.sin(row.alpha)
            self._links[k, :3, 2:] = np.array([[0.0, row.a], [-sa, -row.d * sa], [ca, row.d * ca]])
            self._links[k, 3, 3] = 1.0
            self._by_cos[k, :3, :2] = np.array([[1.0, 0.0], [0.0, ca], [0.0, sa]])
            self._by_sin[k, :3, :2] = np.array([[0.0, -1.0], [ca, 0.0], [sa, 0.0]])
        self._tcp_offset = np.array([*tcp_offset, 1.0])
        self._place_points()
        self._place_pairs()
        self._place_boxes(boxes_of(keep_out))
        self.items = self._name_items()

    def _place_points(self) -> None:
        """Both ends of every axis as columns of one (6, 4, K) array, so that one product moves them all."""
        counts = [0] * N_JOINTS
        columns = max(2 * sum(c.link == link for c in CAPSULES) for link in range(1, N_JOINTS + 1))
        self._local, self._shift = np.zeros((N_JOINTS, 4, columns)), np.zeros((N_JOINTS, 4, columns))
        ends: tuple[list[int], list[int]] = ([], [])
        for capsule in CAPSULES:
            link = capsule.link - 1
            for end, point in zip(ends, (capsule.start, capsule.end), strict=True):
                self._local[link, :, counts[link]] = (*point, 1.0)
                self._shift[link, 1, counts[link]] = 0.5 * capsule.side
                end.append(link * columns + counts[link])
                counts[link] += 1
        self._ends = np.array([*ends[0], *ends[1]])
        self._moving = np.array([i for i, c in enumerate(CAPSULES) if c.name not in FIXED])
        self._moving_radius = np.array([CAPSULES[i].radius for i in self._moving])

    def _place_pairs(self) -> None:
        index = {capsule.name: i for i, capsule in enumerate(CAPSULES)}
        self._first, self._second = (np.array([index[pair[k]] for pair in PAIRS]) for k in (0, 1))
        self._apart = np.array([CAPSULES[index[a]].radius + CAPSULES[index[b]].radius for a, b in PAIRS])
        length = np.array([math.dist(c.start, c.end) ** 2 for c in CAPSULES])
        self._square_1, self._square_2 = length[self._first], length[self._second]

    def _place_boxes(self, boxes: Float) -> None:
        """Spheres along the axes that cover the capsules: (S,) capsule, share of its axis, radius."""
        capsule: list[int] = []
        share: list[float] = []
        radius: list[float] = []
        begin: list[int] = []
        for k, i in enumerate(self._moving):
            length, r = math.dist(CAPSULES[i].start, CAPSULES[i].end), CAPSULES[i].radius
            pieces = max(1, math.ceil(length / (r * _SPHERES_PER_RADIUS)))
            begin.append(len(capsule))
            capsule += [k] * (pieces + 1)
            share += [n / pieces for n in range(pieces + 1)]
            radius += [math.hypot(r, 0.5 * length / pieces)] * (pieces + 1)
        self._sphere_of, self._sphere_share = np.array(capsule), np.array(share)
        self._sphere_radius, self._sphere_begin = np.array(radius)[:, None], np.array(begin)
        self._middle = ((boxes[:, 0] + boxes[:, 1]) / 2.0).T[:, None, None, :]  # (3, 1, 1, B)
        self._half = ((boxes[:, 1] - boxes[:, 0]) / 2.0).T[:, None, None, :]

    def _name_items(self) -> tuple[tuple[str, str], ...]:
        moving = [CAPSULES[i].name for i in self._moving]
        boxes = range(self._half.shape[-1])
        return (
            *(("table", name) for name in moving),
            *(("self_collision", f"{a} to {b}") for a, b in PAIRS),
            *(("keep_out", f"{name} to box {box + 1}") for name in moving for box in boxes),
        )

    def frames(self, joints: Float) -> Float:
        """link1..link6 in `base_link` for joints (N, 6): (N, 6, 4, 4)."""
        angle = (joints + self._zero)[:, :, None, None]
        links = self._links + np.cos(angle) * self._by_cos + np.sin(angle) * self._by_sin
        frames = np.empty_like(links)
        frames[:, 0] = links[:, 0]
        for k in range(1, N_JOINTS):
            np.matmul(frames[:, k - 1], links[:, k], out=frames[:, k])
        return frames

    def axes(self, joints: Float, opening: float | Float) -> tuple[Float, Float]:
        """Start and end of every capsule's axis in `base_link`, each (3, N, C) [m]; `opening` [m], one or (N,)."""
        return self._axes(self.frames(joints), opening)

    def _axes(self, frames: Float, opening: float | Float) -> tuple[Float, Float]:
        wide = np.asarray(opening, dtype=np.float64).reshape(-1, 1, 1, 1)
        points = frames @ (self._local + wide * self._shift)
        flat = points[:, :, :3].transpose(2, 0, 1, 3).reshape(3, len(frames), -1).take(self._ends, axis=2)
        return flat[:, :, : len(CAPSULES)], flat[:, :, len(CAPSULES) :]

    def look(self, joints: Float, opening: float | Float) -> Look:
        """Clearances, TCP and tool axis for joints (N, 6) [rad] and the total opening of the gripper [m], one or (N,)."""
        frames = self.frames(joints)
        start, end = self._axes(frames, opening)
        parts = [self._above_table(start, end), self._between_pairs(start, end)]
        if self._half.size:
            parts.append(self._from_boxes(start, end))
        tool0 = frames[:, N_JOINTS - 1]
        return Look(np.concatenate(parts, axis=1), (tool0 @ self._tcp_offset)[:, :3], tool0[:, :3, 2])

    def _above_table(self, start: Float, end: Float) -> Float:
        lowest = np.minimum(start[2], end[2]).take(self._moving, axis=1)
        return lowest - (self._moving_radius + self._table_z)

    def _between_pairs(self, start: Float, end: Float) -> Float:
        """Distances between the axes, less both radii (N, P): the nearest points of two segments (Ericson 2005, 5.1.9)."""
        way = end - start
        u, v = way.take(self._first, axis=2), way.take(self._second, axis=2)
        r = start.take(self._first, axis=2) - start.take(self._second, axis=2)
        a, e = self._square_1, self._square_2
        b, c, f = _dot(u, v), _dot(u, r), _dot(v, r)
        s = (b * f - c * e) / np.maximum(a * e - b * b, _TINY)
        s = np.minimum(np.maximum(s, 0.0), 1.0)
        t = np.minimum(np.maximum((b * s + f) / e, 0.0), 1.0)
        s = np.minimum(np.maximum((b * t - c) / a, 0.0), 1.0)
        gap = r + s * u - t * v
        return np.sqrt(_dot(gap, gap)) - self._apart

    def _from_boxes(self, start: Float, end: Float) -> Float:
        """Distance of the covering spheres from each box, negative inside (N, C * B)."""
        start, way = start.take(self._moving, axis=2), (end - start).take(self._moving, axis=2)
        centre = start.take(self._sphere_of, axis=2) + way.take(self._sphere_of, axis=2) * self._sphere_share
        beyond = np.abs(centre[..., None] - self._middle) - self._half  # (3, N, S, B)
        outside = np.maximum(beyond, 0.0)
        signed = np.sqrt(_dot(outside, outside)) + np.minimum(beyond.max(axis=0), 0.0)
        nearest = np.minimum.reduceat(signed - self._sphere_radius, self._sphere_begin, axis=1)
        return nearest.reshape(start.shape[1], -1)


def _dot(p: Float, q: Float) -> Float:
    return np.asarray(p[0] * q[0] + p[1] * q[1] + p[2] * q[2])


def boxes_of(keep_out: tuple[float, ...]) -> Float:
    """Flat corners -> boxes (B, 2, 3) [m].

    Raises:
        LimitError: not six numbers a box.
    """
    if len(keep_out) % 6:
        raise LimitError(f"limits.keep_out: six numbers a box (x y z low, x y z high), got {len(keep_out)} numbers")
    return np.array(keep_out, dtype=np.float64).reshape(-1, 2, 3)
