"""Rules about the command itself: shape, finite numbers, age, gripper."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from reconvla_ros.safety.case import Case, Ruling

FUTURE_SLACK = 0.05  # [s] clocks of two machines may differ by this much
_HUGE, _OVERFLOW = 1e12, 1e307
_AHEAD = 64  # more joint positions ahead than this are a mistake


def shape(case: Case) -> Ruling:
    """Types and shapes, so that no later rule can raise."""
    command, dt = case.command, case.dt
    wanted: tuple[tuple[str, Any, tuple[int, ...]], ...] = (
        ("position", command.position, (3,)), ("quaternion", command.quaternion, (4,)), ("joints", command.joints, (6,))
    )  # fmt: skip
    for name, value, size in wanted:
        if value is None and name == "joints":
            continue
        if not isinstance(value, np.ndarray) or value.dtype != np.float64 or value.shape != size:
            got = getattr(value, "shape", type(value).__name__)
            return None, f"{name}: expected {size[0]} numbers, got {got}"
    for name, number in (("gripper", command.gripper), ("effort", command.effort), ("age", command.age)):
        if number is None and name != "age":
            continue
        known = isinstance(number, float) or (
            isinstance(number, int) and not isinstance(number, bool) and abs(number) <= _HUGE
        )
        if not known:
            return None, f"{name}: expected a number, got {number!r:.40}"
    ahead = command.ahead
    if ahead is not None:
        good = isinstance(ahead, np.ndarray) and ahead.dtype == np.float64 and ahead.ndim == 2 and ahead.shape[1] == 6
        if not good or len(ahead) > _AHEAD:
            return (
                None,
                f"ahead: expected up to {_AHEAD} x 6 numbers, got {getattr(ahead, 'shape', type(ahead).__name__)}",
            )
    return None if dt is None or 0.0 < dt < math.inf else (None, f"dt: must be above 0 s, got {dt}")


def finite(case: Case) -> Ruling:
    """Not a single NaN or infinity, and a quaternion of unit length."""
    command = case.command
    values = [*case.position, *command.quaternion.tolist(), command.age]
    values += [] if command.joints is None else command.joints.tolist()
    values += [value for value in (command.gripper, command.effort) if value is not None]
    # One sum tells all: NaN and infinity spread, and what overflows it is as good as infinite.
    if not math.isfinite(sum(map(abs, values))):
        bad = next((k for k, v in enumerate(values) if not abs(v) < _OVERFLOW), -1)
        return None, f"entry {bad} of position, quaternion, age, joints, gripper, effort"
    if command.ahead is not None and not float(np.abs(command.ahead).sum()) < _HUGE:  # NaN and infinity spread
        return None, "ahead"
    norm = math.hypot(*values[3:7])
    return None if abs(norm - 1.0) <= 1e-3 else (None, f"quaternion length {norm:.4g}, must be 1")


def age(case: Case) -> Ruling:
    """Neither too old nor from the future."""
    if -FUTURE_SLACK <= case.command.age <= case.limits.command_age:
        return None
    return None, f"{case.command.age:.3f} s old, allowed {-FUTURE_SLACK:g}..{case.limits.command_age:g}"


def gripper_range(case: Case) -> Ruling:
    """The opening."""
    opening, most = case.command.gripper, case.limits.gripper_range
    if opening is None or 0.0 <= opening <= most:
        return None
    inside = min(max(opening, 0.0), most)
    detail = f"opening {opening:.4f} m, allowed 0..{most:g}"
    # A checkpoint may ask for a little more than the fingers have; a metre is a mistake of units.
    if abs(opening - inside) > most:
        return None, detail
    return replace(case.command, gripper=inside), detail


def gripper_effort(case: Case) -> Ruling:
    """The gripping torque. Up to what the hardware gives it is clamped; beyond, or negative, it is a mistake."""
    effort, most = case.command.effort, case.limits.gripper_effort
    if effort is None or 0.0 <= effort <= most:
        return None
    detail = f"effort {effort:.3f} N m, allowed 0..{most:g}"
    if effort < 0.0 or effort > case.limits.hard.gripper_effort:
        return None, detail
    return replace(case.command, effort=most), detail
