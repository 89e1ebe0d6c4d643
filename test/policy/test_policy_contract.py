"""What every policy must do, over every implementation. A new one is added to `policy` below."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from reconvla_ros.model.model import Loaded
from reconvla_ros.policy.contract import load_contract
from reconvla_ros.policy.protocol import Plan, Policy
from reconvla_ros.policy.reconvla import ReconVlaPolicy
from reconvla_ros.policy.scripted import ScriptedPolicy
from reconvla_ros.types import ActionChunk, Observation

Observe = Callable[..., Observation]


@pytest.fixture(params=["reconvla", "scripted"])
def policy(request: pytest.FixtureRequest) -> Policy:
    if request.param == "scripted":
        return ScriptedPolicy()
    loaded: Loaded = request.getfixturevalue("loaded")
    return ReconVlaPolicy(loaded, load_contract(loaded.folder))


def same(a: ActionChunk, b: ActionChunk) -> bool:
    arrays = ("positions", "quaternions", "gripper", "confidence")
    return a.token_ids == b.token_ids and all(np.array_equal(getattr(a, n), getattr(b, n)) for n in arrays)


def test_it_is_a_policy(policy: Policy) -> None:
    assert isinstance(policy, Policy)


def test_a_chunk_belongs_to_its_observation(policy: Policy, observe: Observe) -> None:
    observation = observe(stamp_ns=5_000_000_000, task_id="task-9")
    chunk = policy.infer(observation)
    assert chunk.stamp_ns == 5_000_000_000
    assert chunk.task_id == "task-9"
    assert np.array_equal(chunk.anchor.position, observation.tcp.position)
    assert chunk.prefix_steps == 0


def test_the_first_step_starts_near_the_anchor_and_no_step_jumps(policy: Policy, observe: Observe) -> None:
    chunk = policy.infer(observe())
    path = np.vstack((chunk.anchor.position, chunk.positions))
    assert np.linalg.norm(np.diff(path, axis=0), axis=1).max() <= 0.02 * np.sqrt(3) + 1e-9
    assert chunk.gripper.min() >= 0.0 and chunk.gripper.max() <= 0.10


def test_it_says_how_sure_it_was_of_each_step(policy: Policy, observe: Observe) -> None:
    assert policy.certainty is None and policy.passes == 0
    chunk = policy.infer(observe())
    sure = policy.certainty
    assert sure is not None
    assert sure.probability.shape == sure.margin.shape == sure.entropy.shape == (chunk.steps,)
    assert np.array_equal(sure.probability, chunk.confidence)
    assert np.all(sure.margin >= 0.0) and np.all(sure.entropy >= 0.0) and policy.passes >= 0


def test_told_what_is_under_way_it_says_how_much_it_took_over(policy: Policy, observe: Observe) -> None:
    first = policy.infer(observe())
    later = observe(stamp_ns=first.stamp_ns + 100_000_000)
    chunk = policy.infer(later, Plan(first, 0.3, later.stamp_ns + 100_000_000))
    assert 0 <= chunk.prefix_steps < chunk.steps
    assert chunk.step_dt == (0.3 if chunk.prefix_steps else first.step_dt)
    over = policy.infer(observe(stamp_ns=first.stamp_ns + 900_000_000_000), Plan(first, 0.3, 0))
    assert over.prefix_steps == 0


def test_confidence_is_a_share(policy: Policy, observe: Observe) -> None:
    confidence = policy.infer(observe()).confidence
    assert np.all((confidence >= 0.0) & (confidence <= 1.0))


def test_sequence_counts_from_zero_and_warming_up_does_not_count(policy: Policy, observe: Observe) -> None:
    policy.warm_up()
    assert [policy.infer(observe(stamp_ns=n)).sequence for n in (1, 2, 3)] == [0, 1, 2]


def test_the_same_observation_after_reset_gives_the_same_chunk(policy: Policy, observe: Observe) -> None:
    first = policy.infer(observe())
    policy.infer(observe(stamp_ns=2_000_000_000, shade=7, gripper=0.06))
    policy.reset()
    policy.reset()
    assert same(policy.infer(observe()), first)


def test_warming_up_changes_no_answer(policy: Policy, observe: Observe) -> None:
    first = policy.infer(observe())
    policy.reset()
    policy.warm_up()
    assert same(policy.infer(observe()), first)


def test_stages_are_named_and_not_negative(policy: Policy, observe: Observe) -> None:
    policy.infer(observe())
    assert policy.timings
    assert all(seconds >= 0.0 for seconds in policy.timings.values())
    policy.timings.clear()
    assert policy.timings  # a copy is handed out


def test_inputs_are_not_written_to(policy: Policy, observe: Observe) -> None:
    observation = observe()
    before = observation.base.copy(), observation.wrist.copy()
    policy.infer(observation)
    assert np.array_equal(observation.base, before[0]) and np.array_equal(observation.wrist, before[1])
