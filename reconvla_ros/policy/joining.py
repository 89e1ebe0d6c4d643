"""How a new chunk joins the one under way: the steps that are committed already, and a guess of the rest, as tokens.

Step k of the new chunk is followed from stamp + k step_dt on. Steps that begin before the chunk can arrive are committed: the
arm follows the previous chunk then. They are written as actions from the measured TCP, step by step, each from where the
tokens before it lead (so that rounding to bins does not add up), and forced upon the model, which continues from there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reconvla_ros.model.tokens import ActionCodec
from reconvla_ros.policy.actions import from_targets, gripper_action_of, to_targets
from reconvla_ros.policy.contract import AXES, Contract
from reconvla_ros.policy.protocol import Plan
from reconvla_ros.policy.underway import Underway
from reconvla_ros.types import Float, Pose

# The arm is on its way when it is this near to where the previous chunk led between LAG ago and the end of the step in force.
# First-motion speed is 0.1 m/s and 0.5 rad/s: this is what it may be behind besides, in 0.2 s.
NEAR = 0.02  # [m]
NEAR_ANGLE = 0.1  # [rad]
LAG = 0.3  # [s]
# Times this little after the end of a step are the end of it: an arrival is known no better than to a microsecond.
SLACK = 1e-6  # [s]


@dataclass(frozen=True)
class Joined:
    """Tokens of the new chunk's leading steps as the previous chunk has them.

    Attributes:
        ids: 7 per step; of all the steps that the previous chunk covers.
        forced: how many leading steps of them are committed and fit in the bins.
        reason: why fewer are forced than are committed; empty otherwise.
    """

    ids: tuple[int, ...] = ()
    forced: int = 0
    reason: str = ""

    @property
    def prefix(self) -> tuple[int, ...]:
        """Tokens of the forced steps."""
        return self.ids[: self.forced * AXES]

    @property
    def draft(self) -> tuple[int, ...]:
        """A guess of the tokens after the prefix."""
        return self.ids[self.forced * AXES :]


def join(plan: Plan, stamp_ns: int, anchor: Pose, contract: Contract, codec: ActionCodec, force: bool = True) -> Joined:
    """What of the previous chunk the new one begins with.

    Args:
        stamp_ns: capture stamp of the new observation. anchor: TCP measured then.
        force: with False nothing is forced, and everything is a guess.
    """
    way = Underway(plan.previous)
    begin, steps, dt = way.since(stamp_ns), contract.chunk_steps, plan.step_dt
    if not 0.0 <= begin < way.end:
        return Joined(reason="the previous chunk is over" if begin >= way.end else "the observation is an older one")
    step_end = plan.previous.step_dt * (way.step(begin) + 1)
    where, distance, angle = way.nearest(anchor, begin - LAG, step_end)
    if distance > NEAR or angle > NEAR_ANGLE:
        return Joined(
            reason=f"the arm is {distance:.3f} m, {angle:.2f} rad off the previous chunk, allowed {NEAR:g} m, {NEAR_ANGLE:g} rad"
        )
    arrival = max(0.0, way.since(plan.arrival_ns) - begin)
    committed, reason = math.ceil(max(0.0, arrival - SLACK) / dt) if force else 0, ""
    if committed >= steps:
        committed, reason = 0, f"{committed} of {steps} steps would be over when it arrives"
    best = Joined()
    for ends in _choices(
        way,
        begin + dt * np.arange(1.0, steps + 1.0, dtype=np.float64),
        committed,
        begin + arrival,
        max(0.0, begin - where),
    ):
        covered = int(np.count_nonzero(ends <= way.end + 1e-9))
        if committed > covered:
            reason = f"the previous chunk covers {covered} of {committed} committed steps"
        found = _encode(way, ends[:covered], min(committed, covered), reason, anchor, contract, codec)
        if found.forced > best.forced or not best.ids:
            best = found
        if best.forced == committed:
            break
    return best


def _choices(way: Underway, ends: Float, committed: int, arrival: float, lag: float) -> list[Float]:
    """Times (T,) on the previous way at which the new steps end, the best first; the later ones need smaller steps.

    The best: its own times, but the step in force at the hand-over keeps at least the target in force, or an arm that has
    reached it would turn back. An arm that lags (slow governor, late start) goes the same way by so much later.
    """
    if not committed:
        return [ends]
    in_force = way.chunk.step_dt * (way.step(arrival - SLACK) + 1)
    both = []
    for own in (ends, ends - lag):
        both += [np.concatenate((own[: committed - 1], np.maximum(own[committed - 1 :], in_force))), own]
    return both


def _encode(
    way: Underway, ends: Float, committed: int, reason: str, anchor: Pose, contract: Contract, codec: ActionCodec
) -> Joined:
    """The steps that end at `ends` (N,) [s since the previous stamp] as tokens, `committed` of them exactly."""
    positions, quaternions = way.targets(ends)
    # The gripper has no time in between: what is in force when most of the step is followed.
    source = [way.step(end - SLACK) for end in ends]
    grips = np.array([gripper_action_of(float(way.chunk.gripper[j]), contract) for j in source])
    ids = np.zeros((len(ends), AXES), dtype=np.int64)
    reached, forced = anchor, 0
    for k in range(committed):
        opens = np.array([grips[k] * contract.gripper_sign > 0])
        wanted = from_targets(positions[k : k + 1], quaternions[k : k + 1], opens, reached, contract)
        if float(np.abs(wanted[:, : AXES - 1]).max()) > 1.0:
            reason = f"step {k + 1} is {float(np.abs(wanted).max()):.2f} units away from the arm, a token holds 1"
            break
        ids[k] = codec.encode(wanted[0])
        ids[k, -1] = _grip_id(way, source[k], float(grips[k]), codec)
        place, turn, _ = to_targets(codec.decode(ids[k : k + 1]), reached, contract)
        reached, forced = Pose(place[0], turn[0]), k + 1
    _guess(ids, forced, reached, positions, quaternions, grips, contract, codec)
    for k in range(forced, len(ends)):
        ids[k, -1] = _grip_id(way, source[k], float(grips[k]), codec)
    return Joined(tuple(int(i) for i in ids.ravel()), forced, reason)


def _guess(
    ids: NDArray[np.int64],
    forced: int,
    reached: Pose,
    positions: Float,
    quaternions: Float,
    grips: Float,
    contract: Contract,
    codec: ActionCodec,
) -> None:
    """Fill in the rows after `forced`: the moves of the previous chunk, clipped to the bins."""
    if forced >= len(ids):
        return
    before = Pose(positions[forced - 1], quaternions[forced - 1]) if forced else reached
    opens = grips[forced:] * contract.gripper_sign > 0
    ids[forced:] = codec.encode(from_targets(positions[forced:], quaternions[forced:], opens, before, contract))


def _grip_id(way: Underway, step: int, action: float, codec: ActionCodec) -> int:
    """The gripper token the model gave for that step, where it still says the same; else the plainest."""
    if way.chunk.token_ids:
        token = way.chunk.token_ids[step * AXES + AXES - 1]
        if float(codec.decode(token)) * action > 0:
            return int(token)
    return int(codec.encode(action))
