"""A new chunk begins with what is under way: committed steps as tokens, and a guess of the rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from reconvla_ros.model.tokens import ActionCodec
from reconvla_ros.policy.actions import to_targets
from reconvla_ros.policy.contract import Contract
from reconvla_ros.policy.joining import Joined, join
from reconvla_ros.policy.protocol import Plan
from reconvla_ros.policy.underway import Underway
from reconvla_ros.types import ActionChunk, Pose

PIPER = Contract()
CODEC = ActionCodec(PIPER.vocab_base, PIPER.bins)
ANCHOR = Pose(np.array([0.3, 0.05, 0.2]), Rotation.from_euler("xyz", [0.2, 1.1, -0.3]).as_quat())
STAMP = 10_000_000_000
NS = 1_000_000_000
HALF_BIN = 1.0 / 255.0


def chunk_of(ids: np.ndarray, contract: Contract = PIPER, step_dt: float = 0.1, anchor: Pose = ANCHOR) -> ActionChunk:
    """What the policy would make of these tokens."""
    positions, quaternions, gripper = to_targets(CODEC.decode(ids).reshape(-1, 7), anchor, contract)
    tokens = tuple(int(i) for i in ids.ravel())
    return ActionChunk(STAMP, "t", 0, step_dt, anchor, positions, quaternions, gripper, token_ids=tokens)


def random_ids(seed: int, scale: float = 0.5) -> np.ndarray:
    return CODEC.encode(np.random.default_rng(seed).uniform(-scale, scale, (5, 7)))


def at(chunk: ActionChunk, time: float) -> Pose:
    """Where the chunk leads `time` after its stamp."""
    positions, quaternions = Underway(chunk).targets([time])
    return Pose(positions[0], quaternions[0])


def poses_of(joined: Joined, anchor: Pose, contract: Contract = PIPER) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return to_targets(CODEC.decode(joined.ids).reshape(-1, 7), anchor, contract)


def test_whole_steps_later_the_tokens_are_those_of_the_chunk_shifted() -> None:
    previous = chunk_of(random_ids(1))
    plan = Plan(previous, 0.1, STAMP + 2 * NS // 10 + NS // 100)  # arrives 0.01 s after the second step
    joined = join(plan, STAMP + 2 * NS // 10, at(previous, 0.2), PIPER, CODEC)
    assert joined.forced == 1 and joined.reason == ""
    assert joined.prefix + joined.draft == previous.token_ids[14:]


def test_committed_steps_lie_on_what_is_under_way_and_errors_do_not_add_up() -> None:
    previous = chunk_of(random_ids(2, 0.3), step_dt=0.2)
    new = 0.33  # [s] between the two observations, in the middle of a step
    arm = at(previous, 0.25)  # 0.08 s behind
    plan = Plan(previous, 0.1, STAMP + int((new + 0.29) * NS))
    joined = join(plan, STAMP + int(new * NS), arm, PIPER, CODEC)
    assert joined.forced == 3
    positions, quaternions, gripper = poses_of(joined, arm)
    wanted, turns = Underway(previous).targets(
        [0.43, 0.53, 0.8]
    )  # 0.63, but until 0.8 the driver is after the fourth pose
    assert np.abs(positions[:3] - wanted).max() <= PIPER.xyz_scale * HALF_BIN * 1.001
    off = Rotation.from_quat(quaternions[:3]) * Rotation.from_quat(turns).inv()
    assert np.abs(off.as_rotvec()).max() <= PIPER.rotation_scale * HALF_BIN * 1.01
    assert gripper[:3].tolist() == previous.gripper[[2, 2, 3]].tolist()


@settings(deadline=None, max_examples=80)
@example(np.zeros((5, 7)), 0.0, 5.960464477539063e-08, 0.0, "relative")  # an arrival 59 ns later is no step later
@given(
    arrays(np.float64, (5, 7), elements=st.floats(-0.4, 0.4)),
    st.floats(0.0, 0.25),
    st.floats(0.0, 0.3),
    st.floats(-1.0, 1.0),
    st.sampled_from(["relative", "absolute"]),
)
def test_every_forced_step_is_within_half_a_bin(
    actions: np.ndarray, later: float, latency: float, aside: float, form: str
) -> None:
    contract = Contract(action_form=form, absolute_low=(-0.6,) * 6, absolute_high=(0.9,) * 6)
    previous = chunk_of(CODEC.encode(actions), contract)
    place = at(previous, later)
    arm = Pose(place.position + np.array([0.004, 0.0, -0.003]) * aside, place.quaternion)
    plan = Plan(previous, 0.1, STAMP + int((later + latency) * NS))
    joined = join(plan, STAMP + int(later * NS), arm, contract, CODEC)
    assert len(joined.ids) % 7 == 0 and len(joined.prefix) == 7 * joined.forced
    assert all(CODEC.low <= i <= CODEC.high for i in joined.ids)
    if form == "absolute" and joined.reason:
        return  # the anchor is where it is; absolute targets are anywhere
    way = Underway(previous)
    wait = way.since(plan.arrival_ns) - way.since(STAMP + int(later * NS))  # stamps are whole nanoseconds
    committed = int(np.ceil(max(0.0, wait - 1e-6) / 0.1))
    assert joined.forced == min(committed, len(joined.ids) // 7) or joined.reason
    if not joined.forced:
        return
    positions, _, _ = poses_of(joined, arm, contract)
    begin = Underway(previous).since(STAMP + int(later * NS))
    ends = begin + 0.1 * np.arange(1, joined.forced + 1)
    if joined.forced == committed:  # the step in force when it arrives
        ends[-1] = max(ends[-1], 0.1 * (Underway(previous).step(later + latency - 1e-6) + 1))
    wanted, _ = Underway(previous).targets(ends)
    half = HALF_BIN * (0.02 if form == "relative" else 0.75)
    np.testing.assert_allclose(positions[: joined.forced], wanted, atol=half * 1.001)


def test_a_committed_step_that_does_not_fit_in_a_token_is_not_forced() -> None:
    """The governor of the arm is slower than the model may be: what is left of the way does not fit in one step."""
    ids = CODEC.encode(np.tile([0.9, 0, 0, 0, 0, 0, 1.0], (5, 1)))
    previous = chunk_of(ids)
    stamp, arrival = STAMP + NS // 10, STAMP + 3 * NS // 10
    full = join(Plan(previous, 0.1, arrival), stamp, at(previous, 0.1), PIPER, CODEC)
    assert full.forced == 2
    rising = chunk_of(CODEC.encode(np.tile([0.5, 0, 0.2, 0, 0, 0, 1.0], (5, 1))))
    place = at(rising, 0.1)
    below = Pose(place.position - np.array([0.0, 0.0, 0.019]), place.quaternion)
    joined = join(Plan(rising, 0.1, arrival), stamp, below, PIPER, CODEC)
    assert joined.forced == 0
    assert "step 1 is 1.15 units away" in joined.reason
    assert len(joined.ids) == 28  # the guess stays, clipped


def test_an_arm_that_lags_goes_the_same_way_later() -> None:
    """After the first chunk, whose late steps were dropped, a quick model's arm never caught up, and nothing was forced."""
    previous = chunk_of(CODEC.encode(np.tile([0.8, 0, 0, 0, 0, 0, 1.0], (5, 1))))
    arm = at(previous, 0.05)
    joined = join(Plan(previous, 0.1, STAMP + int(0.35 * NS)), STAMP + int(0.2 * NS), arm, PIPER, CODEC)
    assert joined.forced == 2 and joined.reason == ""
    positions, _, _ = poses_of(joined, arm)
    wanted, _ = Underway(previous).targets([0.15, 0.25])
    np.testing.assert_allclose(positions[:2], wanted, atol=0.02 * HALF_BIN * 1.001)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stamp": STAMP + 6 * NS // 10}, "the previous chunk is over"),
        ({"stamp": STAMP - 1}, "an older one"),
        ({"off": 0.03}, "0.030 m, 0.00 rad off the previous chunk"),
        ({"turn": 0.2}, "0.20 rad off"),
        ({"arrival": 0.8}, "would be over when it arrives"),
        ({"stamp": STAMP + 4 * NS // 10, "arrival": 0.7}, "the previous chunk covers 1 of 3 committed steps"),
    ],
)
def test_what_cannot_be_joined_is_not_forced(change: dict, said: str) -> None:
    previous = chunk_of(random_ids(3, 0.2))
    stamp = change.get("stamp", STAMP + 2 * NS // 10)
    place = at(previous, (stamp - STAMP) / NS)
    turned = (Rotation.from_rotvec([0, 0, change.get("turn", 0.0)]) * Rotation.from_quat(place.quaternion)).as_quat()
    # Away from the way in a direction it does not go.
    arm = Pose(place.position, turned)
    if "off" in change:
        flat = chunk_of(CODEC.encode(np.tile([0.2, 0, 0, 0, 0, 0, 1.0], (5, 1))))
        previous, place = flat, at(flat, 0.2)
        arm = Pose(place.position + np.array([0, 0, change["off"]]), place.quaternion)
    joined = join(Plan(previous, 0.1, STAMP + int(change.get("arrival", 0.35) * NS)), stamp, arm, PIPER, CODEC)
    assert said in joined.reason
    assert joined.forced == (1 if "covers" in said else 0)


def test_switched_off_everything_is_a_guess() -> None:
    previous = chunk_of(random_ids(4))
    plan = Plan(previous, 0.1, STAMP + 4 * NS // 10)
    joined = join(plan, STAMP + NS // 10, at(previous, 0.1), PIPER, CODEC, force=False)
    assert joined.forced == 0 and joined.prefix == ()
    assert joined.draft == previous.token_ids[7:]


def test_the_gripper_keeps_the_token_of_the_model() -> None:
    ids = random_ids(5)
    ids[:, 6] = CODEC.encode(np.array([0.1, -0.7, 0.3, -0.2, 0.9]))
    previous = chunk_of(ids)
    joined = join(Plan(previous, 0.1, STAMP), STAMP + NS // 10, at(previous, 0.1), PIPER, CODEC)
    assert joined.draft[6::7] == tuple(int(i) for i in ids[1:, 6])
    # A chunk without tokens, or cut anew so that they mean other steps, gives the plain ones.
    bare = replace(previous, token_ids=(), gripper=previous.gripper[::-1].copy())
    joined = join(Plan(bare, 0.1, STAMP), STAMP + NS // 10, at(previous, 0.1), PIPER, CODEC)
    assert joined.draft[6::7] == tuple(int(i) for i in CODEC.encode([-1.0, 1.0, -1.0, 1.0]))
