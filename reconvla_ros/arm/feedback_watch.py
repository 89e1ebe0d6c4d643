"""Feedback that arrives on time and is wrong all the same: frozen, zero, or faster than physics. Pure; time is an argument.

Frozen. All six joints read exactly the same, frame after frame, although they should not. Two signs, each of which no
healthy arm can give:
1. The motors report speed (0x251..0x256) that adds up to `_TRAVEL` since the joints last changed: 57 counts of the
   feedback (0.001 degree), and not one was seen. Speeds below `_SPEED_FLOOR` count as rest, so an offset of the speed
   sensor adds up to nothing, and at the start of a motion there is no speed yet.
2. The target was `_OFF` (286 counts) further from the joints than at their last change, already `frozen` [s] ago, and
   not one count was seen since. However slowly MOVE J follows, a lag is a share of the distance: with a time constant
   of one second an arm is 14 counts further after 50 ms, with ten seconds still more than one. A slow motion only takes
   longer to get `_OFF` away, so what may move unseen is bounded. What remains is a dead time of the arm beyond `frozen`,
   and an arm that is blocked: to hold is right then, too.
Both need a target that has moved since the last change: a held arm may read the same for ever. A target that comes to
the arm (a new reference taken from it) is no motion.

Zero. All joints exactly zero, and the last good joints were not within `_NEAR_ZERO` of it: six encoders do not read an exact
zero at once, unless the arm lies in its rest pose, and then the frames before have led there. However long the feedback was
away, nothing is granted for it: near the rest pose zeros would pass for a motion, and the arm would be sent there. Only an
arm that comes back without power is believed: it may have fallen into its rest pose, and the preflight looks before it gets
power. So after a pause zeros are judged when the slower frames, which say of the power, have come, too; until then they are
`feedback_pending`.

Jump. A joint that is further from the last good place than `_HARD` speed takes it in the time between the two frames,
plus `_SLACK`: frames that a busy host reads late come closer together than they were made; 0.1 rad are 33 ms at the
largest speed the firmware drives. After a jump the feedback is bad until it is back near the last good place, or has
stayed with another one (not zero) for `_SETTLED`; the fault itself is latched. After a pause of the feedback the arm may
be anywhere.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from reconvla_ros import tables
from reconvla_ros.types import N_JOINTS, ArmState, Float

_SPEED_FLOOR = 0.02  # [rad/s] 20 counts of the speed feedback
_TRAVEL = 1e-3  # [rad]
_OFF = 5e-3  # [rad] more than friction and gravity keep a holding arm from its target; our choice
_FRESH = 5  # frames without a change: one that was read twice is not frozen
_HARD = tables.JOINT_MAX_VELOCITY
_SLACK = 0.1  # [rad]
_NEAR_ZERO = 0.03  # [rad] two frames at the largest speed
_SETTLED_NS = 300_000_000
_SLOW_NS = 100_000_000  # four rounds of 0x261..0x266
_PAUSE_NS = 300_000_000  # the feedback was away: what comes after it is not judged by what was before


@dataclass(frozen=True)
class Finding:
    """`name` is "" or the fault of the supervisor's table; `words` for a person."""

    name: str = ""
    words: str = ""


_FINE = Finding()
_PENDING = Finding("feedback_pending", "the arm says zero after a pause; its slower frames are waited for")


def _off(a: list[float], b: list[float]) -> tuple[float, int]:
    """The largest difference of a joint [rad], and which one."""
    off = [abs(x - y) for x, y in zip(a, b, strict=True)]
    joint = off.index(max(off))
    return off[joint], joint


class FeedbackWatch:
    """Judges every sample of one arm.

    Args:
        frozen: how long the joints may stay the same while they should not [s].
    """

    def __init__(self, frozen: float) -> None:
        self._frozen_ns = int(frozen * 1e9)
        self._targets: deque[tuple[int, list[float]]] = deque()
        self._stamp = 0
        self._fresh_ns = 0  # monotonic time of the newest frame
        self._good: list[float] | None = None
        self._odd: list[float] = []  # the newest frame, good or not
        self._odd_ns = 0  # since when they agree with each other
        self._paused_ns = -_SLOW_NS  # end of the last pause
        self._lost = False  # nothing was believed since then
        self._step = 0.0  # [s] between the last good frame and the next one
        self._joints: list[float] = []
        self._bad = _FINE  # zero or jump, until it is over
        self._restart(0, None)

    def _restart(self, now_ns: int, target: list[float] | None) -> None:
        """The joints changed: begin to wait for the next change."""
        self._since_ns, self._same, self._travel = now_ns, 0, [0.0] * N_JOINTS
        self._from = target

    def update(self, now_ns: int, state: ArmState, target: Float | None) -> Finding:
        """One tick at monotonic `now_ns`; `target` (6,) [rad] is what the arm was sent last, None = nothing, or no power."""
        aim = None if target is None else target.tolist()
        self._remember(now_ns, aim)
        if state.stamp_ns == self._stamp:
            return self._bad if self._bad.name else self._judge_frozen(now_ns, aim)
        dt = (now_ns - self._fresh_ns) / 1e9 if self._fresh_ns else 0.0
        pause = now_ns - self._fresh_ns > _PAUSE_NS
        self._stamp, self._fresh_ns = state.stamp_ns, now_ns
        joints = state.position.tolist()
        if joints != self._joints or self._from is None:
            self._restart(now_ns, aim)
        else:
            self._same += 1
            for j, speed in enumerate(state.velocity.tolist()):
                if abs(speed) >= _SPEED_FLOOR:
                    self._travel[j] += speed * dt
        self._joints = joints
        self._bad = self._judge_place(now_ns, dt, joints, pause, any(state.enabled))
        return self._bad if self._bad.name else self._judge_frozen(now_ns, aim)

    def _judge_place(self, now_ns: int, dt: float, joints: list[float], pause: bool, powered: bool) -> Finding:
        good, odd, self._odd = self._good, self._odd, joints
        zero = not any(joints)
        if good is None:
            self._good = joints
            return _FINE
        if not self._bad.name:
            self._step, self._odd_ns = min(dt, _PAUSE_NS / 1e9), now_ns
        elif (zero and powered) or _off(joints, odd)[0] > _HARD * dt + _SLACK:
            self._odd_ns = now_ns
        if pause:
            self._lost, self._paused_ns = True, now_ns
        if zero and now_ns - self._paused_ns < _SLOW_NS:
            return _PENDING
        off, joint = _off(joints, good)
        anywhere = self._lost and not (zero and powered)
        settled = now_ns - self._odd_ns >= _SETTLED_NS or anywhere
        if off <= (_NEAR_ZERO if zero else _HARD * self._step + _SLACK) or settled:
            self._good, self._lost = joints, False
            return _FINE
        if zero:
            return Finding("feedback_zero", f"every joint reads 0, joint{joint + 1} was at {good[joint]:.3f} rad")
        return Finding(
            "feedback_jump",
            f"joint{joint + 1} went from {good[joint]:.3f} to {joints[joint]:.3f} rad, faster than it can move",
        )

    def _judge_frozen(self, now_ns: int, aim: list[float] | None) -> Finding:
        since = now_ns - self._since_ns
        if aim is None or self._from is None or self._same < _FRESH or since < self._frozen_ns:
            return _FINE
        moved = max(abs(a - b) for a, b in zip(aim, self._from, strict=True))
        travel = max(abs(way) for way in self._travel)
        old = self._target_at(now_ns - self._frozen_ns)
        off = 0.0 if old is None else self._further(old)
        if off < _OFF and (travel < _TRAVEL or moved < _TRAVEL):
            return _FINE
        why = f"the target moved {moved:.4f} rad" + (f", the motors say {travel:.4f} rad" if travel >= _TRAVEL else "")
        return Finding("feedback_frozen", f"joints read the same for {since / 1e9:.3f} s while {why}")

    def _further(self, aim: list[float]) -> float:
        """How much further from the joints a target is than the one at their last change [rad]."""
        assert self._from is not None
        return max(abs(a - q) - abs(b - q) for a, b, q in zip(aim, self._from, self._joints, strict=True))

    def _remember(self, now_ns: int, aim: list[float] | None) -> None:
        if aim is None:
            self._targets.clear()
            self._from = None
            return
        self._targets.append((now_ns, aim))
        while len(self._targets) > 1 and self._targets[1][0] <= now_ns - self._frozen_ns:
            self._targets.popleft()

    def _target_at(self, then_ns: int) -> list[float] | None:
        """The target that was in force at `then_ns`; None before the first."""
        return self._targets[0][1] if self._targets and self._targets[0][0] <= then_ns else None
