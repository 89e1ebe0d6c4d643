"""The filter: one pure function on the way of every command, whatever its source.

`check(command, state, limits, dt)` -> passed, clamped or refused, with a reason code. It runs twice on the road: on a
target (``dt=None``: where, not how fast) and on every tick right before the bus (``dt`` = the tick). Each rule is one
small function; the table RULES is their order. A clamp hands the changed command to the next rule, the first refusal
ends. Nothing that is not finite gets past the first rule, so no later comparison can fail open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from reconvla_ros.safety.limits import Limits
from reconvla_ros.types import N_JOINTS, Float

_ROUNDING = 1e-9
_JOINT_CLAMP = 0.1  # [rad] a joint target further outside its range than this is refused, not clamped


class Verdict(IntEnum):
    """As in ActionTrace.msg."""

    PASSED = 0
    CLAMPED = 1
    REFUSED = 2


@dataclass(frozen=True, eq=False)
class Command:
    """What is asked for; any part may be nonsense, that is what the filter is for.

    Attributes:
        position: TCP in base_link (3,) [m].
        quaternion: x y z w (4,).
        joints: (6,) [rad], or None before inverse kinematics.
        gripper: total opening [m], None = keep.
        age: since it was decided [s]; negative = from the future.
    """

    position: Float
    quaternion: Float
    joints: Float | None = None
    gripper: float | None = None
    age: float = 0.0


@dataclass(frozen=True, eq=False)
class Reference:
    """Where the arm was last sent, or where it is measured before the first command: same fields, always finite."""

    position: Float
    quaternion: Float
    joints: Float
    gripper: float


@dataclass(frozen=True, eq=False)
class Filtered:
    """Outcome: `command` is what may go on (that of the reference's pose when refused is the caller's business)."""

    verdict: Verdict
    command: Command
    reason: str = ""
    detail: str = ""


# One rule: None = nothing to say; (command, detail) = clamped; (None, detail) = refused.
Ruling = tuple[Command | None, str] | None
Rule = Callable[[Command, Reference, Limits, float | None], Ruling]

FUTURE_SLACK = 0.05  # [s] clocks of two machines may differ by this much


def _shape(command: Command, ref: Reference, limits: Limits, dt: float | None) -> Ruling:
    wanted = (("position", command.position, 3), ("quaternion", command.quaternion, 4), ("joints", command.joints, 6))
    for name, value, length in wanted:
        if value is None and name == "joints":
            continue
        if not isinstance(value, np.ndarray) or value.dtype != np.float64 or value.shape != (length,):
            got = getattr(value, "shape", type(value).__name__)
            return None, f"{name}: expected {length} numbers, got {got}"
    return None if dt is None or dt > 0.0 else (None, f"dt: must be above 0 s, got {dt}")


def _finite(command: Command, ref: Reference, limits: Limits, dt: float | None) -> Ruling:
    values = [*command.position, *command.quaternion, command.age]
    values += [] if command.joints is None else [*command.joints]
    values += [] if command.gripper is None else [command.gripper]
    if not np.all(np.isfinite(values)):
        return None, f"entry {int(np.argmin(np.isfinite(values)))} of position, quaternion, age, joints, gripper"
    norm = float(np.linalg.norm(command.quaternion))
    return None if abs(norm - 1.0) <= 1e-3 else (None, f"quaternion length {norm:.4g}, must be 1")


def _age(command: Command, ref: Reference, limits: Limits, dt: float | None) -> Ruling:
    if -FUTURE_SLACK <= command.age <= limits.command_age:
        return None
    return None, f"{command.age:.3f} s old, allowed {-FUTURE_SLACK:g}..{limits.command_age:g}"


def _distance(command: Command, ref: Reference, limits: Limits, dt: float | None) -> Ruling:
    # A joint target (home) may be far: its way is checked tick by tick. A Cartesian one this far is a mistake.
    distance = float(np.linalg.norm(command.position - ref.position))
    if command.joints is not None or distance <= limits.target_distance:
        return None
    return None, f"{distance:.3f} m from the present TCP, allowed {limits.target_distance:g}"


def _workspace(command: Command, ref: Reference, limits: Limits, dt: float | None) -> Ruling:
    lower = np.array([limits.workspace_lower[0], limits.workspace_lower[1], limits.workspace_lower[2]])
    return _box(command, ref, limits, lower, limits.workspace_upper)


def _table(command: Command, ref: Reference, limits: Limits, dt: float | None) -> Ruling:
    lower = np.array([-np.inf, -np.inf, limits.floor])
    return _box(command, ref, limits, lower, np.full(3, np.inf))


def _box(command: Command, ref: Reference, limits: Limits, lower: Float, upper: Float) -> Ruling:
    # From outside the box only motion that does not lead further out passes.
    low, high = np.minimum(lower, ref.position), np.maximum(upper, ref.position)
    inside = np.clip(command.position, low, high)
    outside = np.abs(command.position - inside)
    axis = int(np.argmax(outside))
    if outside[axis] <= _ROUNDING:
        return None
    detail = f"{'xyz'[axis]} = {command.position[axis]:.4f} m, allowed {low[axis]:.4f}..{high[axis]:.4f}"
    if command.joints is None and outside[axis] <= limits.clamp_distance:
        return replace(command, position=inside), detail
    return None, detail


def _joint_range(command: Command, ref: Reference, limits: Limits, dt: float | None) -> Ruling:
    if command.joints is None:
        return None
    low = np.maximum(limits.joint_lower, np.minimum(limits.soft_lower, ref.joints))
    high = np.minimum(limits.joint_upper, np.maximum(limits.soft_upper, ref.joints))
    inside = np.clip(command.joints, low, high)
    outside = np.abs(command.joints - inside)
    joint = int(np.argmax(outside))
    if outside[joint] <= 0.0:
        return None
    if outside[joint] <= _ROUNDING:
        return None if dt is None else (replace(command, joints=inside), "rounding")
    detail = f"joint{joint + 1} = {command.joints[joint]:.4f} rad, allowed {low[joint]:.4f}..{high[joint]:.4f}"
    if outside[joint] > _JOINT_CLAMP:
        return None, detail
    return replace(command, joints=inside), detail


def _toward(command: Command, ref: Reference, share: float) -> Command:
    """`share` in [0, 1] of the way from the reference to the command; the pose follows in the first order."""
    assert command.joints is not None
    sign = 1.0 if float(np.dot(ref.quaternion, command.quaternion)) >= 0.0 else -1.0
    quaternion = ref.quaternion + share * (sign * command.quaternion - ref.quaternion)
    return replace(
        command,
        joints=ref.joints + share * (command.joints - ref.joints),
        position=ref.position + share * (command.position - ref.position),
        quaternion=quaternion / np.linalg.norm(quaternion),
    )


def _joint_speed(command: Command, ref: Reference, limits: Limits, dt: float | None) -> Ruling:
    if command.joints is None or dt is None:
        return None
    speed = np.abs(command.joints - ref.joints) / dt
    excess = speed / limits.joint_speed
    joint = int(np.argmax(excess))
    if excess[joint] <= 1.0 + 1e-6:
        return None
    detail = f"joint{joint + 1} at {speed[joint]:.3f} rad/s, allowed {limits.joint_speed[joint]:g}"
    return _toward(command, ref, 1.0 / float(excess[joint])), detail


def _tcp_speed(command: Command, ref: Reference, limits: Limits, dt: float | None) -> Ruling:
    if command.joints is None or dt is None:
        return None
    speed = float(np.linalg.norm(command.position - ref.position)) / dt
    chord = min(
        float(np.linalg.norm(command.quaternion - ref.quaternion)),
        float(np.linalg.norm(command.quaternion + ref.quaternion)),
    )
    turn = 4.0 * float(np.arcsin(min(1.0, chord / 2.0))) / dt
    excess = max(speed / limits.tcp_speed, turn / limits.tcp_angular_speed)
    if excess <= 1.0 + 1e-6:
        return None
    bounds = f"allowed {limits.tcp_speed:g} m/s and {limits.tcp_angular_speed:g} rad/s"
    return _toward(command, ref, 1.0 / excess), f"TCP at {speed:.3f} m/s and {turn:.3f} rad/s, {bounds}"


def _gripper(command: Command, ref: Reference, limits: Limits, dt: float | None) -> Ruling:
    if command.gripper is None or 0.0 <= command.gripper <= limits.gripper_range:
        return None
    inside = min(max(command.gripper, 0.0), limits.gripper_range)
    detail = f"opening {command.gripper:.4f} m, allowed 0..{limits.gripper_range:g}"
    # A checkpoint may ask for a little more than the fingers have; a metre is a mistake of units.
    if abs(command.gripper - inside) > limits.gripper_range:
        return None, detail
    return replace(command, gripper=inside), detail


RULES: tuple[tuple[str, Rule], ...] = (
    ("shape", _shape),
    ("not_finite", _finite),
    ("age", _age),
    ("distance", _distance),
    ("workspace", _workspace),
    ("table", _table),
    ("joint_range", _joint_range),
    ("joint_speed", _joint_speed),
    ("tcp_speed", _tcp_speed),
    ("gripper_range", _gripper),
)
REASONS = tuple(code for code, _ in RULES)


def check(command: Command, state: Reference, limits: Limits, dt: float | None = None) -> Filtered:
    """Pass, clamp or refuse `command`.

    Args:
        command: what is asked for, possibly nonsense.
        state: where the arm was last sent.
        limits: validated bounds.
        dt: time for the way from `state` to `command` [s]; None for a target that is approached by someone else's
            speed-limited motion.

    Returns:
        the command that may go on; `reason` is the code of the refusal or of the first clamp.
    """
    assert state.joints.shape == (N_JOINTS,)
    reasons: list[str] = []
    details: list[str] = []
    for code, rule in RULES:
        ruling = rule(command, state, limits, dt)
        if ruling is None:
            continue
        changed, detail = ruling
        if changed is None:
            return Filtered(Verdict.REFUSED, command, code, f"{code}: {detail}")
        command = changed
        reasons.append(code)
        details.append(f"{code}: {detail}")
    if reasons:
        return Filtered(Verdict.CLAMPED, command, reasons[0], "; ".join(details))
    return Filtered(Verdict.PASSED, command)
