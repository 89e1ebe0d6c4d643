"""Rules about how: size of a step, speed, acceleration, external effort.

There is no rule for the acceleration of the TCP: joint speed and acceleration bound it, and a rule of its own would only
contradict them near a bend of the way.
"""

from __future__ import annotations

import math
from dataclasses import replace

from reconvla_ros.safety.case import Case, Command, Reference, Ruling

_SLACK = 1.0 + 1e-6
# A tick that takes less time than the clock (the TCP would be too fast) ends off the jerk profile by rounding only.
_ACCELERATION_SLACK = 1e-3  # [rad/s^2]


def step_size(case: Case) -> Ruling:
    """The largest step of a tick, whatever its dt; the largest turn of a joint for a Cartesian target."""
    step, limits = case.step, case.limits
    if not step or (case.dt is None and case.command.straight):
        return None
    sizes = [abs(v) for v in step]
    joint = sizes.index(max(sizes))
    most = limits.target_joint_step if case.dt is None else limits.joint_step
    if sizes[joint] > most * _SLACK:
        return None, f"joint{joint + 1} by {sizes[joint]:.4f} rad at once, allowed {most:g}"
    moved = math.dist(case.position, case.state.position.tolist())
    if case.dt is None or moved <= limits.tcp_step * _SLACK:
        return None
    return None, f"TCP by {moved:.4f} m at once, allowed {limits.tcp_step:g}"


def _toward(command: Command, ref: Reference, share: float) -> Command:
    """`share` in [0, 1] of the way from the reference to the command; the pose follows in the first order."""
    assert command.joints is not None
    sign = 1.0 if float(ref.quaternion @ command.quaternion) >= 0.0 else -1.0
    quaternion = ref.quaternion + share * (sign * command.quaternion - ref.quaternion)
    return replace(
        command,
        joints=ref.joints + share * (command.joints - ref.joints),
        position=ref.position + share * (command.position - ref.position),
        quaternion=quaternion / math.hypot(*quaternion.tolist()),
    )


def joint_speed(case: Case) -> Ruling:
    """Each joint's speed."""
    if not case.step or case.dt is None:
        return None
    most = case.limits.joint_speed.tolist()
    excess = [abs(v) / case.dt / bound for v, bound in zip(case.step, most, strict=True)]
    joint = excess.index(max(excess))
    if excess[joint] <= _SLACK:
        return None
    detail = f"joint{joint + 1} at {excess[joint] * most[joint]:.3f} rad/s, allowed {most[joint]:g}"
    return _toward(case.command, case.state, 1.0 / excess[joint]), detail


def tcp_speed(case: Case) -> Ruling:
    """Speed and turning of the TCP."""
    if not case.step or case.dt is None:
        return None
    limits = case.limits
    speed = math.dist(case.position, case.state.position.tolist()) / case.dt
    p, q = case.state.quaternion.tolist(), case.command.quaternion.tolist()
    chord = min(math.dist(p, q), math.dist(p, [-v for v in q]))
    turn = 4.0 * math.asin(min(1.0, chord / 2.0)) / case.dt
    excess = max(speed / limits.tcp_speed, turn / limits.tcp_angular_speed)
    if excess <= _SLACK:
        return None
    bounds = f"allowed {limits.tcp_speed:g} m/s and {limits.tcp_angular_speed:g} rad/s"
    return _toward(case.command, case.state, 1.0 / excess), f"TCP at {speed:.3f} m/s and {turn:.3f} rad/s, {bounds}"


def joint_acceleration(case: Case) -> Ruling:
    """Each joint's change of speed from the last tick to this one; a joint that gets slower may brake harder."""
    before, dt = case.state.velocity, case.dt
    if not case.step or dt is None or before is None:
        return None
    rows = zip(
        case.step, before.tolist(), case.limits.joint_acceleration.tolist(), case.limits.stop_acceleration.tolist(),
        strict=True,
    )  # fmt: skip
    for joint, (step, old, speeding, braking) in enumerate(rows):
        change = abs(step / dt - old) / dt
        slower = abs(step / dt) <= abs(old) and step * old >= 0.0
        allowed = braking if slower else speeding
        if change > allowed + _ACCELERATION_SLACK:
            return None, f"joint{joint + 1} at {change:.2f} rad/s^2, allowed {allowed:g}"
    return None


def effort(case: Case) -> Ruling:
    """Where something pushes back harder than `external_effort`, the joint does not push on; giving way passes."""
    external = case.state.external
    if external is None or not case.step:
        return None
    bounds = case.limits.external_effort
    for joint, (step, felt) in enumerate(zip(case.step, external.tolist(), strict=True)):
        bound = float(bounds[joint])
        if abs(felt) > bound and step * felt > 0.0:
            return None, f"joint{joint + 1} pushes {felt:.1f} N m beyond the arm's weight, allowed {bound:g}"
    return None
