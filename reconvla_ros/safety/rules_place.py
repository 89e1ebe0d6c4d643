"""Rules about where: workspace, table, keep-out boxes, the arm itself, orientation, joint range, singularities.

From a place that is out of bounds already, only what does not lead further out passes. Where the command says what is ahead
(where a stop would end), the same holds there: the motion brakes before the border, not at it.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from reconvla_ros.safety.case import ROUNDING, Case, Ruling
from reconvla_ros.safety.limits import Limits
from reconvla_ros.tables import dh_table
from reconvla_ros.types import Float

_JOINT_CLAMP = 0.1  # [rad] a joint target further outside its range than this is refused, not clamped
_INF = math.inf
SLOWEST = 0.1  # share of the speed that is left at `singularity_stop`
KINDS = ("wrist", "elbow", "shoulder")


def distance(case: Case) -> Ruling:
    """A joint target (home) may be far: its way is checked tick by tick. A Cartesian one this far is a mistake."""
    if case.command.joints is not None:
        return None
    off = math.dist(case.position, case.state.position.tolist())
    return None if off <= case.limits.target_distance else (
        None, f"{off:.3f} m from the present TCP, allowed {case.limits.target_distance:g}"
    )  # fmt: skip


def workspace(case: Case) -> Ruling:
    """The box for the TCP."""
    return (
        None if case.inside else _box(case, case.limits.workspace_lower.tolist(), case.limits.workspace_upper.tolist())
    )


def floor(case: Case) -> Ruling:
    """The TCP above the table, or above the lower side of the box, whichever is higher."""
    return None if case.inside else _box(case, [-_INF, -_INF, case.limits.floor], [_INF, _INF, _INF])


def _box(case: Case, lower: list[float], upper: list[float]) -> Ruling:
    here = case.state.position.tolist()
    low = [min(a, b) for a, b in zip(lower, here, strict=True)]
    high = [max(a, b) for a, b in zip(upper, here, strict=True)]
    inside = [min(max(v, a), b) for v, a, b in zip(case.position, low, high, strict=True)]
    outside = [abs(v - w) for v, w in zip(case.position, inside, strict=True)]
    axis = outside.index(max(outside))
    if outside[axis] > ROUNDING:
        detail = f"{'xyz'[axis]} = {case.position[axis]:.4f} m, allowed {low[axis]:.4f}..{high[axis]:.4f}"
        if case.command.joints is None and outside[axis] <= case.limits.clamp_distance:
            return replace(case.command, position=np.array(inside)), detail
        return None, detail
    if case.command.ahead is None or case.command.joints is None or case.free:
        return None
    for place in case.looks[0].tcp[1:].tolist():
        for axis, value in enumerate(place):
            if not low[axis] - ROUNDING <= value <= high[axis] + ROUNDING:
                detail = f"a stop would end at {'xyz'[axis]} = {value:.4f} m, allowed {low[axis]:.4f}..{high[axis]:.4f}"
                return None, detail
    return None


def orientation(case: Case) -> Ruling:
    """The tool inside a cone around `tool_axis`."""
    if case.command.straight or case.limits.tool_cone >= math.pi:
        return None
    axis = np.asarray(case.limits.tool_axis)
    here = _angle(_tool(case.state.quaternion), axis)
    allowed = max(case.limits.tool_cone, here) + ROUNDING
    asked = _angle(_tool(case.command.quaternion), axis)
    if asked > allowed:
        return None, f"tool {math.degrees(asked):.1f} degrees from its axis, allowed {math.degrees(allowed):.1f}"
    if case.command.ahead is not None and case.command.joints is not None:
        worst = max(_angle(tool, axis) for tool in case.looks[0].tool)
        if worst > allowed + ROUNDING:
            return None, f"a stop would end {math.degrees(worst):.1f} degrees off, allowed {math.degrees(allowed):.1f}"
    return None


def _tool(quaternion: Float) -> Float:
    """The z axis of a frame (3,)."""
    x, y, z, w = quaternion.tolist()
    return np.array([2 * (x * z + y * w), 2 * (y * z - x * w), 1 - 2 * (x * x + y * y)])


def _angle(p: Float, q: Float) -> float:
    """Angle [rad] between two vectors of about unit length."""
    return 2.0 * math.atan2(float(np.linalg.norm(p - q)), float(np.linalg.norm(p + q)))


def joint_range(case: Case) -> Ruling:
    """Inside the range, and not into the margin."""
    joints, limits = case.command.joints, case.limits
    if joints is None:
        return None
    asked = joints.tolist()
    if not limits.in_margin(asked):
        return None
    ranges = limits.allowed_range(case.state.joints.tolist())
    inside = [min(max(v, low), high) for v, (low, high) in zip(asked, ranges, strict=True)]
    outside = [abs(v - w) for v, w in zip(asked, inside, strict=True)]
    joint = outside.index(max(outside))
    if outside[joint] <= 0.0:
        return None
    if outside[joint] <= ROUNDING:
        return None if case.dt is None else (replace(case.command, joints=np.array(inside)), "rounding")
    low, high = ranges[joint]
    detail = f"joint{joint + 1} = {asked[joint]:.4f} rad, allowed {low:.4f}..{high:.4f}"
    if outside[joint] > _JOINT_CLAMP:
        return None, detail
    return replace(case.command, joints=np.array(inside)), detail


def singular(joints: Float, variant: int = 1) -> tuple[float, float, float]:
    """Distance from the wrist, elbow and shoulder singularity, each in [0, 1]: |sin q5|, |sin| of the angle between upper
    arm and the line from elbow to wrist, distance of the wrist from axis 1 as a share of the reach.

    The wrist is spherical, so their product times a2 r (a2 + r), with r from elbow to wrist, is |det J|, the manipulability.
    """
    zero2, zero3, a2, a3, d4, far, bend = _geometry(variant)
    _, q2, q3, _, q5, _ = joints.tolist()
    upper = q2 + zero2
    lower = upper + q3 + zero3
    out = a2 * math.cos(upper) + a3 * math.cos(lower) + d4 * math.sin(lower)
    return abs(math.sin(q5)), abs(math.sin(q3 + zero3 + bend)), min(1.0, abs(out) / (a2 + far))


def _geometry(variant: int) -> tuple[float, ...]:
    if variant not in _GEOMETRY:
        rows = dh_table(variant)
        a3, d4 = rows[3].a, rows[3].d
        _GEOMETRY[variant] = (
            rows[1].offset, rows[2].offset, rows[2].a, a3, d4, math.hypot(a3, d4), math.atan2(-d4, a3)
        )  # fmt: skip
    return _GEOMETRY[variant]


_GEOMETRY: dict[int, tuple[float, ...]] = {}


def slowdown(limits: Limits, joints: Float) -> float:
    """Share of the Cartesian speed that is allowed at `joints` (6,): 1 in the open, `SLOWEST` at `singularity_stop`."""
    near = min(singular(joints, limits.variant))
    if near >= limits.singularity_slow:
        return 1.0
    return max(SLOWEST, (near - limits.singularity_stop) / (limits.singularity_slow - limits.singularity_stop))


def singularity(case: Case) -> Ruling:
    """Cartesian motion below `singularity_stop` only leads away."""
    command, limits = case.command, case.limits
    if command.joints is None or command.straight:
        return None
    for joints in (command.joints, *(() if command.ahead is None else command.ahead[-1:])):
        there = singular(joints, limits.variant)
        if min(there) >= limits.singularity_stop:
            continue
        here = singular(case.state.joints, limits.variant)
        for kind, now, then in zip(KINDS, here, there, strict=True):
            if then < min(limits.singularity_stop, now) - ROUNDING:
                return None, f"{kind}: {then:.3f} from a singularity, allowed {limits.singularity_stop:g}"
    return None


def keep_out(case: Case) -> Ruling:
    """No part of arm or gripper inside a box."""
    return _trespass(case, "keep_out")


def table(case: Case) -> Ruling:
    """No moving part of arm or gripper in the table."""
    return _trespass(case, "table")


def self_collision(case: Case) -> Ruling:
    """The arm does not touch itself."""
    return _trespass(case, "self_collision")


def _trespass(case: Case, reason: str) -> Ruling:
    # An arm that stands may always go on standing, and fingers may open to free a hand.
    if case.command.joints is None or (case.dt is not None and not any(case.step)):
        return None
    detail = case.trespass.get(reason)
    return None if detail is None else (None, detail)
