"""A scripted expert: knows where everything is, and does the task. Time is an argument; nothing here moves an arm.

It keeps the target that it last gave (the reference) and walks it along ways at a bounded speed. `targets` looks ahead from any
instant that was planned before, so that the chunks it gives join, however late they are followed.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace

import numpy as np

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.arm.rotations import angle_between, slerp
from reconvla_ros.sim import grasps
from reconvla_ros.sim.goals import Goal, Things
from reconvla_ros.sim.grasps import Way
from reconvla_ros.sim.tasks import Setup
from reconvla_ros.types import ArmState, Pose

NS = 1_000_000_000
TICK_NS = 20_000_000  # grain of the plan
TURNING = 0.45  # [rad/s] of the reference; below the driver's limit
GOES_UP = 0.02  # [m] a thing that moved further is approached from above again
# The reference goes slower when the TCP is further from it than the first [m], [rad], and waits at the second. An arm that
# follows lags by 0.012 m.
LAG, TURN_LAG = (0.018, 0.045), (0.12, 0.35)
LOST = (0.10, 0.8)  # [m], [rad] further than this the arm does not follow: begin anew from where it is
HELD = 0.09  # [m] a thing in the gripper is not further from the TCP than this (a cup by its origin)
HAND = 0.004  # [m] spread of the error of the hand, so that demonstrations differ


@dataclass(frozen=True, eq=False)
class Moment:
    """The reference at one instant: pose, opening [m], which way of the plan it follows, how long it has paused there [s].

    `pace` is the share of the full speed that it walks with.
    """

    pose: Pose
    opening: float
    index: int = 0
    paused: float = 0.0
    pace: float = 1.0


def _share(value: float, bounds: tuple[float, float]) -> float:
    """1 below the first bound, 0 above the second."""
    return min(max((bounds[1] - value) / (bounds[1] - bounds[0]), 0.0), 1.0)


class Expert:
    """Does the goals of one setup, one after the other, and again what failed.

    Args:
        setup: the start and what is asked for.
        kinematics: of the arm.
        seed: of the small errors of the hand; the setup's own by default.
    """

    def __init__(self, setup: Setup, kinematics: Kinematics | None = None, seed: int | None = None) -> None:
        self._goals, self._kinematics = setup.goals, kinematics or Kinematics()
        self._rng = np.random.default_rng((104729, setup.seed if seed is None else seed))
        self._moments: list[tuple[int, Moment]] = []
        self._ways: list[Way] = []
        self._goal: Goal | None = None
        self._offset = np.zeros(3)
        self._carries = False
        self.attempts = 0

    @property
    def doing(self) -> str:
        """What it is after now, in words."""
        return "nothing" if self._goal is None else f"{self._goal}{' (carries)' if self._carries else ''}"

    def targets(
        self, now_ns: int, things: Things, tcp: Pose, state: ArmState, step_ns: int, steps: int
    ) -> list[tuple[Pose, float]]:
        """The TCP targets (pose, opening [m]) due at the end of each of `steps` steps of `step_ns` after `now_ns`.

        Args:
            things, tcp, state: as they are at `now_ns`; stamps never go back.
        """
        moment = self._at(now_ns, tcp, state)
        off = (
            float(np.linalg.norm(moment.pose.position - tcp.position)),
            angle_between(moment.pose.quaternion, tcp.quaternion),
        )
        if off[0] > LOST[0] or off[1] > LOST[1]:
            moment = self._begin(Moment(tcp, moment.opening), things)
        else:
            pace = min(_share(off[0], LAG), _share(off[1], TURN_LAG))
            # What the arm has not reached yet has not paused.
            moment = replace(moment, pace=pace, paused=moment.paused if pace == 1.0 else 0.0)
            moment = self._decide(moment, things, tcp, state)
        self._moments = [(now_ns, moment)]
        end = now_ns + steps * step_ns
        at = now_ns
        while at < end:
            at += TICK_NS
            moment = self._advance(moment, TICK_NS / NS)
            self._moments.append((at, moment))
        return [self._reference(now_ns + (k + 1) * step_ns) for k in range(steps)]

    def _at(self, now_ns: int, tcp: Pose, state: ArmState) -> Moment:
        """The reference at an instant that was planned; where the arm is, before the first or long after the last."""
        if not self._moments or now_ns > self._moments[-1][0] + NS:
            return Moment(tcp, state.gripper)
        index = bisect_right([at for at, _ in self._moments], now_ns) - 1
        return self._moments[max(index, 0)][1]

    def _reference(self, at_ns: int) -> tuple[Pose, float]:
        index = bisect_right([at for at, _ in self._moments], at_ns) - 1
        moment = self._moments[index][1]
        return moment.pose, moment.opening

    def _decide(self, moment: Moment, things: Things, tcp: Pose, state: ArmState) -> Moment:
        """What to do from here: look at the thing again, go on to carry it, begin anew, or rest."""
        ended = moment.index >= len(self._ways)
        if self._goal is not None and not self._carries:
            if ended:
                self._carries = True
                self._ways = self._put(things, tcp, state)
                return replace(moment, index=0, paused=0.0)
            return self._follow_thing(moment, things)
        if self._goal is not None and not ended:
            lost = self._ways[moment.index].what in ("over", "turn") and not self._holds(things, tcp)
            if not lost:
                return moment
        return self._begin(moment, things)

    def _follow_thing(self, moment: Moment, things: Things) -> Moment:
        """Before the fingers close the ways follow the thing; one that has moved is approached from above."""
        if self._ways[moment.index].what == "close":
            return moment
        assert self._goal is not None
        before = self._ways[moment.index].pose.position
        self._ways = grasps.take(self._goal, things, self._offset, self._kinematics)
        moved = float(np.linalg.norm(self._ways[moment.index].pose.position - before))
        return replace(moment, index=0, paused=0.0) if moved > GOES_UP and moment.index > 0 else moment

    def _begin(self, moment: Moment, things: Things) -> Moment:
        """The next goal that does not hold."""
        self._carries = False
        self._goal = next((goal for goal in self._goals if not goal.holds(things)), None)
        self._ways = []
        if self._goal is not None:
            self.attempts += 1
            self._offset = np.array([*np.clip(self._rng.normal(0.0, HAND / 2, 2), -HAND, HAND), 0.0])
            self._ways = grasps.take(self._goal, things, self._offset, self._kinematics)
        return replace(moment, index=0, paused=0.0)

    def _put(self, things: Things, tcp: Pose, state: ArmState) -> list[Way]:
        assert self._goal is not None
        inside = sum(goal.holds(things) for goal in self._goals if goal.kind == "in")
        slot = grasps.SLOTS[0] if len(self._goals) == 1 else grasps.SLOTS[1 + inside % 3]
        return grasps.put(self._goal, things, tcp, float(state.position[5]), slot)

    def _holds(self, things: Things, tcp: Pose) -> bool:
        assert self._goal is not None
        return float(np.linalg.norm(things[self._goal.thing].position - tcp.position)) < HELD

    def _advance(self, moment: Moment, dt: float) -> Moment:
        """The reference `dt` [s] later."""
        if moment.index >= len(self._ways):
            return moment
        way, here = self._ways[moment.index], moment.pose
        dt *= moment.pace
        distance = float(np.linalg.norm(way.pose.position - here.position))
        angle = angle_between(here.quaternion, way.pose.quaternion)
        needed = max(distance / way.speed, angle / TURNING)
        if needed > 0.0 and needed > dt:
            share = dt / needed
            onward = Pose(
                here.position + share * (way.pose.position - here.position),
                slerp(here.quaternion, way.pose.quaternion, share),
            )
            # The gripper keeps its opening on the way, but opens early on the way to a thing.
            opening = way.opening if way.what == "above" else moment.opening
            return Moment(onward, opening, moment.index, 0.0, moment.pace)
        paused = moment.paused + dt
        if paused < way.pause:
            return Moment(way.pose, way.opening, moment.index, paused, moment.pace)
        return Moment(way.pose, way.opening, moment.index + 1, 0.0, moment.pace)
