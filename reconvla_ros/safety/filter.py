"""The filter: one pure function on the way of every command, whatever its source.

`check(command, state, limits, dt)` -> passed, clamped or refused, with a reason code. It runs twice on the road: on a
target (``dt=None``: where, not how fast) and on every tick right before the bus (``dt`` = the tick). Each rule is one
small function; the table RULES is their order. A clamp hands the changed command to the next rule, the first refusal
ends. Nothing that is not finite gets past the second rule, so no later comparison can fail open.

The rules live in `rules_input` (the command itself), `rules_place` (where) and `rules_motion` (how). What needs memory of who
asked is judged before a command is made: task id, sequence and age of chunks in `task/chunk_player.py`, lease, source and age of
single commands in `arm/requests.py`, the anchor of relative actions and the leash in `arm/control.py` and `arm/motion.py`.
"""

from __future__ import annotations

from reconvla_ros.safety import rules_input, rules_motion, rules_place
from reconvla_ros.safety.case import Case, Command, Filtered, Reference, Rule, Verdict
from reconvla_ros.safety.limits import Limits
from reconvla_ros.types import N_JOINTS

__all__ = ["REASONS", "RULES", "Command", "Filtered", "Reference", "Verdict", "check"]

RULES: tuple[tuple[str, Rule], ...] = (
    ("shape", rules_input.shape),
    ("not_finite", rules_input.finite),
    ("age", rules_input.age),
    ("distance", rules_place.distance),
    ("workspace", rules_place.workspace),
    ("table", rules_place.floor),
    ("orientation", rules_place.orientation),
    ("joint_range", rules_place.joint_range),
    ("step_size", rules_motion.step_size),
    ("joint_speed", rules_motion.joint_speed),
    ("tcp_speed", rules_motion.tcp_speed),
    ("joint_acceleration", rules_motion.joint_acceleration),
    ("singularity", rules_place.singularity),
    ("gripper_range", rules_input.gripper_range),  # before the fingers are looked at
    ("gripper_effort", rules_input.gripper_effort),
    ("keep_out", rules_place.keep_out),
    ("table", rules_place.table),
    ("self_collision", rules_place.self_collision),
    ("effort", rules_motion.effort),
)
REASONS = tuple(dict.fromkeys(code for code, _ in RULES))


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
    case = Case(command, state, limits, dt)
    reasons: list[str] = []
    details: list[str] = []
    for code, rule in RULES:
        ruling = rule(case)
        if ruling is None:
            continue
        changed, detail = ruling
        if changed is None:
            return Filtered(Verdict.REFUSED, command if not reasons else case.command, code, f"{code}: {detail}")
        case = Case(changed, state, limits, dt)
        reasons.append(code)
        details.append(f"{code}: {detail}")
    look, room = case.seen()
    if reasons:
        return Filtered(Verdict.CLAMPED, case.command, reasons[0], "; ".join(details), look, room)
    return Filtered(Verdict.PASSED, command, look=look, room=room)
