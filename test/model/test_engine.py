"""The engine: every mechanism gives the tokens of plain greedy decoding."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from reconvla_ros.errors import ConfigError, TokenGateError
from reconvla_ros.model.decode import HEADS, greedy
from reconvla_ros.model.engine import DRAFTS, Engine, Mechanisms
from reconvla_ros.model.images import pixels
from reconvla_ros.model.model import Loaded
from reconvla_ros.model.prompt import prompt_ids
from reconvla_ros.model.tokens import ActionCodec

COUNT = 35
Question = tuple[list[int], Tensor]


@pytest.fixture(scope="module")
def codec(random_model: Loaded) -> ActionCodec:
    return ActionCodec(random_model.tokenizer.base_size)


@pytest.fixture(scope="module")
def questions(random_model: Loaded, codec: ActionCodec) -> list[Question]:
    """Three prompts with their images."""
    found = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        views = rng.integers(0, 256, (2, 60, 80, 3), dtype=np.uint8)
        state = [int(i) for i in codec.encode(rng.uniform(-1, 1, 15))]
        with torch.inference_mode():
            image = random_model.model.encode_image(torch.from_numpy(pixels(*views)))
        found.append((prompt_ids(random_model.tokenizer, "put fruit in bowl", state), image))
    return found


@pytest.fixture(scope="module")
def answers(random_model: Loaded, questions: list[Question]) -> list[list[int]]:
    """Their answers by open greedy decoding over the whole vocabulary."""
    with torch.inference_mode():
        return [greedy(random_model.model, random_model.model.embed(*q), COUNT)[0] for q in questions]


def engine(loaded: Loaded, codec: ActionCodec, **mechanisms: str) -> Engine:
    return Engine(loaded.model, codec, COUNT, Mechanisms(**mechanisms), watch_layer=1)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("length", [0, 1, 7, 34, 35])
def test_a_true_prefix_changes_nothing(
    length: int,
    head: str,
    random_model: Loaded,
    codec: ActionCodec,
    questions: list[Question],
    answers: list[list[int]],
) -> None:
    at_work = engine(random_model, codec, head=head)
    for question, answer in zip(questions, answers, strict=True):
        decoded = at_work.answer(*question, prefix=answer[:length])
        assert list(decoded.ids) == answer
        assert decoded.forced == length
        assert decoded.passes == max(0, COUNT - length - 1)


def test_forced_tokens_are_kept_whatever_the_model_wants(
    random_model: Loaded, codec: ActionCodec, questions: list[Question], answers: list[list[int]]
) -> None:
    prefix = [codec.low + (i - codec.low + 100) % codec.bins for i in answers[0][:9]]
    decoded = engine(random_model, codec).answer(*questions[0], prefix=prefix)
    ids, image = questions[0]
    with torch.inference_mode():
        embeds = torch.cat((random_model.model.embed(ids, image), random_model.model.words(prefix)))
        wanted, _ = greedy(random_model.model, embeds, COUNT - 9)
    assert list(decoded.ids) == prefix + wanted
    assert wanted != answers[0][9:]  # the prefix is seen
    np.testing.assert_array_equal(decoded.probability[:9], 1.0)
    np.testing.assert_array_equal(decoded.entropy[:9], 0.0)
    assert np.isposinf(decoded.margin[:9]).all() and np.isfinite(decoded.margin[9:]).all()


@pytest.mark.parametrize("prefix", [[151500, 1000], [151643]])
def test_a_prefix_that_is_no_action_is_refused(
    prefix: Sequence[int], random_model: Loaded, codec: ActionCodec, questions: list[Question]
) -> None:
    with pytest.raises(
        TokenGateError, match=rf"token {len(prefix) - 1} of 35 must be an action id .* got {prefix[-1]}"
    ):
        engine(random_model, codec).answer(*questions[0], prefix=prefix)


def test_a_prefix_longer_than_the_answer_is_refused(
    random_model: Loaded, codec: ActionCodec, questions: list[Question]
) -> None:
    with pytest.raises(TokenGateError, match="36 tokens, the answer has 35"):
        engine(random_model, codec).answer(*questions[0], prefix=[151500] * 36)


def test_confidence_is_that_of_the_logits(
    random_model: Loaded, codec: ActionCodec, questions: list[Question], answers: list[list[int]]
) -> None:
    decoded = engine(random_model, codec).answer(*questions[0])
    with torch.inference_mode():
        _, logits = greedy(random_model.model, random_model.model.embed(*questions[0]), COUNT)
    rows = logits[:, codec.low : codec.high + 1].double().numpy()
    probability = np.exp(rows - rows.max(1, keepdims=True))
    probability /= probability.sum(1, keepdims=True)
    ordered = np.sort(rows, axis=1)
    np.testing.assert_allclose(decoded.probability, probability.max(1), atol=1e-4)
    np.testing.assert_allclose(decoded.margin, ordered[:, -1] - ordered[:, -2], atol=1e-3)
    np.testing.assert_allclose(decoded.entropy, -(probability * np.log(probability)).sum(1), atol=1e-3)
    assert 0 < decoded.entropy.min() <= decoded.entropy.max() < math.log(codec.bins)


def test_attention_is_that_of_the_last_prompt_position_whatever_lies_behind_it(
    random_model: Loaded, codec: ActionCodec, questions: list[Question], answers: list[list[int]]
) -> None:
    at_work = engine(random_model, codec)
    plain = at_work.answer(*questions[0]).attention
    assert plain is not None and plain.shape == (len(questions[0][0]) + 728,)
    assert float(plain.sum()) == pytest.approx(1.0, abs=1e-5)
    fused = at_work.answer(*questions[0], prefix=answers[0][:8], draft=answers[0][8:]).attention
    assert fused is not None
    torch.testing.assert_close(fused, plain, rtol=0, atol=1e-6)


def test_one_engine_answers_again_and_again(
    random_model: Loaded, codec: ActionCodec, questions: list[Question], answers: list[list[int]]
) -> None:
    at_work = engine(random_model, codec)
    short = (questions[1][0][5:], questions[1][1])  # another length in between
    for _ in range(2):
        for question, answer in zip(questions, answers, strict=True):
            assert list(at_work.answer(*question).ids) == answer
            at_work.answer(*short)


@pytest.mark.parametrize("name", ["head", "draft", "graphs", "weights"])
def test_an_unknown_mechanism_is_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"mechanisms: {name} 'prevous'.*valid"):
        Mechanisms(**{name: "prevous"})


def test_the_valid_mechanisms() -> None:
    assert Mechanisms().head == HEADS[0] and Mechanisms().draft in DRAFTS
