"""The model behind the policy: it joins the chunk before, and says how sure it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from reconvla_ros.errors import TokenGateError
from reconvla_ros.model.engine import Mechanisms
from reconvla_ros.model.model import Loaded
from reconvla_ros.policy.contract import load_contract
from reconvla_ros.policy.protocol import Plan
from reconvla_ros.policy.reconvla import Options, ReconVlaPolicy, options_of
from reconvla_ros.policy.settings import PolicyConfig
from reconvla_ros.policy.underway import Underway
from reconvla_ros.types import ActionChunk, Observation, Pose

Observe = Callable[..., Observation]
NS = 1_000_000_000


def policy_of(loaded: Loaded, **options: object) -> ReconVlaPolicy:
    return ReconVlaPolicy(loaded, load_contract(loaded.folder), Options(**options))  # type: ignore[arg-type]


def moved_on(observation: Observation, chunk: ActionChunk, seconds: float) -> Observation:
    """The same sight, later, from where the chunk has led the arm."""
    positions, quaternions = Underway(chunk).targets([seconds])
    stamp = chunk.stamp_ns + int(seconds * NS)
    return replace(observation, stamp_ns=stamp, tcp=Pose(positions[0], quaternions[0]))


@pytest.mark.parametrize("draft", ["none", "previous"])
def test_a_chunk_joins_the_one_under_way(loaded: Loaded, observe: Observe, draft: str) -> None:
    policy = policy_of(loaded, mechanisms=Mechanisms(draft=draft))
    before = replace(policy.infer(observe()), step_dt=0.2)
    later = moved_on(observe(), before, 0.2)
    chunk = policy.infer(later, Plan(before, 0.2, later.stamp_ns + NS // 4))
    assert policy.joined.reason == "" and chunk.prefix_steps == 2
    assert chunk.step_dt == 0.2
    # At the hand-over the target is the one that is in force already, to half a bin.
    np.testing.assert_allclose(chunk.positions[:2], before.positions[1:3], atol=0.02 / 255 * 1.001)
    assert chunk.gripper[:2].tolist() == before.gripper[1:3].tolist()
    assert chunk.token_ids[:14] == policy.joined.prefix and len(chunk.token_ids) == 35
    sure = policy.certainty
    assert sure is not None
    assert sure.probability[:2].tolist() == [1.0, 1.0] and np.isinf(sure.margin[:2]).all()
    assert sure.entropy[:2].tolist() == [0.0, 0.0]
    assert np.all((sure.entropy[2:] > 0.0) & (sure.entropy[2:] <= np.log(256)))
    np.testing.assert_array_equal(chunk.confidence, sure.probability)


def test_the_free_steps_are_those_of_the_model_given_the_prefix(loaded: Loaded, observe: Observe) -> None:
    """Forcing what the model would have said anyway changes nothing."""
    policy = policy_of(loaded)
    plain = policy.infer(observe())
    ids, image = _prompt(policy, observe())
    forced = policy.engine.answer(ids, image, prefix=plain.token_ids[:14])
    assert forced.ids == plain.token_ids and forced.forced == 14


def _prompt(policy: ReconVlaPolicy, observation: Observation) -> tuple:
    import torch

    from reconvla_ros.model.images import normalise, resize_canvas, stitch
    from reconvla_ros.model.prompt import prompt_ids

    c = policy.contract
    canvas = resize_canvas(stitch(observation.base, observation.wrist, c.heights))
    policy.reset()
    ids = prompt_ids(policy.loaded.tokenizer, observation.instruction, policy.state_ids(observation), c.prompt)
    with torch.inference_mode():
        return ids, policy.loaded.model.encode_image(torch.from_numpy(normalise(canvas)))


def test_switched_off_nothing_is_forced_and_a_draft_changes_no_answer(loaded: Loaded, observe: Observe) -> None:
    answers = []
    for options in ({"mechanisms": Mechanisms(draft="none")}, {"mechanisms": Mechanisms(draft="previous")}):
        policy = policy_of(loaded, prefix="off", **options)
        before = policy.infer(observe())
        later = moved_on(observe(), before, 0.2)
        chunk = policy.infer(later, Plan(before, 0.2, later.stamp_ns + NS // 4))
        assert chunk.prefix_steps == 0 and policy.joined.draft and not policy.joined.prefix
        assert chunk.step_dt == 0.1  # nominal: nothing was planned
        answers.append(chunk.token_ids)
    assert answers[0] == answers[1]


def test_a_plan_of_another_task_is_not_joined(loaded: Loaded, observe: Observe) -> None:
    policy = policy_of(loaded)
    before = policy.infer(observe())
    later = replace(moved_on(observe(), before, 0.1), task_id="task-2")
    chunk = policy.infer(later, Plan(before, 0.1, later.stamp_ns + NS // 10))
    assert chunk.prefix_steps == 0 and policy.joined.ids == ()


def test_an_arm_that_does_not_follow_is_not_joined(loaded: Loaded, observe: Observe) -> None:
    policy = policy_of(loaded)
    before = policy.infer(observe())
    later = moved_on(observe(), before, 0.1)
    away = replace(later, tcp=Pose(later.tcp.position + np.array([0.0, 0.0, 0.08]), later.tcp.quaternion))
    chunk = policy.infer(away, Plan(before, 0.1, later.stamp_ns + NS // 10))
    assert chunk.prefix_steps == 0 and "off the previous chunk" in policy.joined.reason
    assert np.array_equal(chunk.anchor.position, away.tcp.position)


def test_a_gpu_is_warmed_up_with_every_number_of_forced_steps(loaded: Loaded, observe: Observe) -> None:
    policy = policy_of(loaded)
    assert [len(j.ids) for j in policy.rehearsals(False)] == [0]
    assert [(len(j.prefix), len(j.draft)) for j in policy.rehearsals(True)] == [
        (0, 0), (0, 35), (7, 28), (14, 21), (21, 14), (28, 7)
    ]  # fmt: skip


def test_what_a_model_says_to_a_black_picture_does_not_matter(
    loaded: Loaded, observe: Observe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trained model may answer nonsense with words; then it could not be loaded."""
    policy = policy_of(loaded)
    asked: list[int] = []

    def words(*args: object) -> None:
        asked.append(1)
        raise TokenGateError("token gate: token 0 of 35 must be an action id, got 25")

    monkeypatch.setattr(policy.engine, "answer", words)
    policy.warm_up()
    assert asked == [1]
    with pytest.raises(TokenGateError):
        policy.infer(observe())


def test_options_follow_the_parameters() -> None:
    config = PolicyConfig(head="full", draft="jacobi", graphs="off", weights="int8", prefix="off", attention=False)
    assert options_of(config) == Options(Mechanisms("full", "jacobi", "off", "int8"), "off", False, False, -1)


@pytest.mark.parametrize("attention", [True, False])
def test_attention_is_of_the_image_alone(loaded: Loaded, observe: Observe, attention: bool) -> None:
    policy = policy_of(loaded, attention=attention)
    assert policy.overlay() is None
    policy.infer(observe())
    found, picture = policy.attention, policy.overlay()
    if not attention:
        assert found is None and picture is None
        return
    assert found is not None and picture is not None
    assert found.shape == (27, 27) and found.sum() == pytest.approx(1.0, abs=1e-5) and found.min() >= 0.0
    assert picture.shape == (334, 334, 3) and picture.dtype == np.uint8
