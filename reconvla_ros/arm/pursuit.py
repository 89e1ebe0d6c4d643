"""What the arm is after: requests of the holder of the lease, and errands (home, ready), become goals of the motion."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from reconvla_ros.arm.history import Standstill
from reconvla_ros.arm.motion import Motion
from reconvla_ros.arm.requests import Requests
from reconvla_ros.arm.retrace import BackOff, Retrace, Trail
from reconvla_ros.arm.tick import Asked
from reconvla_ros.safety.filter import Command, Filtered, Verdict
from reconvla_ros.types import ArmState, Float


class Pursuit:
    """Holds at most one goal at a time. Its caller holds the lock.

    Args:
        requests: who asks, and for what.
        motion: gets the goals.
        standstill: of the measured arm; a frozen target is still being approached by an arm that moves.
        count: takes every judgement of the filter.

    Attributes:
        asked: the request in force; None = nothing is wanted.
        trail: where the arm was sent lately.
    """

    def __init__(
        self, requests: Requests, motion: Motion, standstill: Standstill, count: Callable[[Verdict, str], None]
    ) -> None:
        self._requests, self._motion, self._standstill, self._count = requests, motion, standstill, count
        self.asked: Asked | None = None
        self.trail = Trail()
        self._retrace: Retrace | None = None
        self._errand = False  # a joint goal of the driver itself; it ends when the motion has arrived
        self.broken_off = False  # the last errand was ended by a stop or a fault

    def follow(self, state: ArmState, now_mono_ns: int) -> None:
        """Turn what the holder of the lease asks for into the goal; without a request decelerate and hold."""
        if self._errand:
            if self._motion.arrived:
                self.drop()
            return
        wanted = self._requests.wanted(now_mono_ns)
        if wanted is None:
            if self.asked is not None:
                self.drop()
            return
        if self.asked is not None and self.asked.wanted is not None and self.asked.wanted.key == wanted.key:
            return
        filtered = self._away(state) or self._motion.set_pose(wanted.pose, wanted.gripper, wanted.age)
        self._count(filtered.verdict, filtered.reason)
        if filtered.verdict is Verdict.REFUSED:
            self._motion.stop()
        self.asked = Asked(wanted, filtered)

    def run_errand(self, state: ArmState, position: tuple[float, ...]) -> Filtered:
        """Go to a joint position (6,) [rad] at the ordinary limits; refused, nothing is asked for."""
        filtered = self._away(state) or self._motion.set_joints(np.array(position), None)
        self._count(filtered.verdict, filtered.reason)
        if filtered.verdict is not Verdict.REFUSED:
            self.asked, self._errand, self.broken_off = Asked(None, filtered), True, False
        return filtered

    @property
    def backing_off(self) -> bool:
        """Whether the way back is under way."""
        return self._retrace is not None

    def back_off(self, state: ArmState, bounds: BackOff, near: float, period: float) -> str:
        """Begin the way back along the last path; why not, or empty. The target is frozen, and a stop is latched."""
        way = self.trail.back_from(state.position, near)
        if not way:
            return f"the arm is not on its last path within {near:g} rad, or there is none: nothing to go back along"
        if why := self._motion.anchor(state.position, state.gripper, self._standstill.still):
            return why[1]
        assert self._motion.reference is not None
        self._retrace = Retrace(way, bounds, self._motion.reference.joints, period)
        return ""

    def remember(self, now_mono_ns: int, joints: Float) -> None:
        """What was sent is the path, unless it leads back."""
        if self._retrace is None:
            self.trail.add(now_mono_ns, joints)

    def lose_path(self) -> None:
        """The motors have no power: where the arm was sent, and how it came there, no longer counts."""
        self._retrace = None
        self.trail.clear()
        self._motion.forget()

    def follow_back(self, now_mono_ns: int) -> None:
        """One tick of the way back; at its end decelerate and hold."""
        retrace, reference = self._retrace, self._motion.reference
        if retrace is None or reference is None:
            return
        target = retrace.target(now_mono_ns, reference.joints, reference.position)
        if target is None or self._motion.set_joints(target, None, retrace.pace).verdict is Verdict.REFUSED:
            self.trail.cut(retrace.left)
            self._retrace = None
            self._motion.stop()

    def rest(self, state: ArmState) -> None:
        """Hold where the arm is, should it stand elsewhere than where it was sent."""
        if self._motion.arrived and self._standstill.still:
            self._motion.anchor(state.position, state.gripper)

    def _away(self, state: ArmState) -> Filtered | None:
        """Refuse a goal for an arm that nothing can start from."""
        why = self._motion.anchor(state.position, state.gripper, self._standstill.still)
        nothing = Command(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]))
        return Filtered(Verdict.REFUSED, nothing, *why) if why else None

    def freeze(self) -> None:
        """Forget every request; the target stays where it was sent last."""
        self.broken_off |= self._errand
        self.drop()
        self._motion.freeze()

    def drop(self) -> None:
        """Forget every request, give a lease for an errand back; decelerate and hold."""
        self._requests.lease.release("home")
        self.forget()

    def forget(self) -> None:
        """Forget every request; the lease stays. Decelerate and hold."""
        self.asked, self._errand = None, False
        if self._retrace is not None:
            self.trail.cut(self._retrace.left)
            self._retrace = None
        self._requests.drop()
        self._motion.stop()
