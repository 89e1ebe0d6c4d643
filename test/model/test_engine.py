"""The engine: every mechanism gives the tokens of plain greedy decoding."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from reconvla_ros.errors import ConfigError, SetupError, TokenGateError
from reconvla_ros.model.decode import HEADS, greedy
from reconvla_ros.model.engine import DRAFTS, Engine, Mechanisms
from reconvla_ros.model.engine_graphs import Recorded, RecordedImage, Work
from reconvla_ros.model.images import pixels
from reconvla_ros.model.language import Cache
from reconvla_ros.model.model import Loaded, ReconVla
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


def drafts_of(answer: list[int], codec: ActionCodec) -> dict[str, list[int]]:
    """Guesses of every kind, as a caller may come by them."""
    rng = np.random.default_rng(5)
    wrong = [codec.low + (i - codec.low + 1) % codec.bins for i in answer]
    mixed = [a if rng.random() < 0.7 else w for a, w in zip(answer, wrong, strict=True)]
    return {
        "none": [],
        "true": answer,
        "wrong": wrong,
        "mixed": mixed,
        "late": wrong[:9] + answer[9:],
        "last wrong": answer[:-1] + wrong[-1:],
        "short": answer[:6],
        "long": [*answer, *answer],
        "no action in it": [*answer[:4], 1000, *answer[5:]],
    }


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("draft", DRAFTS)
def test_no_draft_changes_a_token(
    draft: str, head: str, random_model: Loaded, codec: ActionCodec, questions: list[Question], answers: list[list[int]]
) -> None:
    at_work = engine(random_model, codec, draft=draft, head=head)
    answer = answers[0]
    for name, guess in drafts_of(answer, codec).items():
        assert list(at_work.answer(*questions[0], draft=guess).ids) == answer, name
    for name in ("true", "mixed"):
        guess = drafts_of(answer, codec)[name]
        assert list(at_work.answer(*questions[0], prefix=answer[:7], draft=guess[7:]).ids) == answer, name


@pytest.mark.parametrize(
    ("name", "most"),
    [("true", 0), ("wrong", 34), ("last wrong", 0), ("late", 28), ("short", 28), ("long", 0), ("no action in it", 30)],
)
def test_a_good_draft_saves_passes_and_a_bad_one_costs_none(
    name: str,
    most: int,
    random_model: Loaded,
    codec: ActionCodec,
    questions: list[Question],
    answers: list[list[int]],
) -> None:
    guess = drafts_of(answers[0], codec)[name]
    assert engine(random_model, codec).answer(*questions[0], draft=guess).passes <= most


def test_jacobi_from_its_own_answer_needs_no_pass(
    random_model: Loaded, codec: ActionCodec, questions: list[Question], answers: list[list[int]]
) -> None:
    at_work = engine(random_model, codec, draft="jacobi")
    assert at_work.answer(*questions[0], draft=answers[0]).passes == 0
    assert 0 < at_work.answer(*questions[0]).passes < COUNT


@pytest.mark.parametrize("draft", DRAFTS)
def test_the_end_is_checked_behind_every_draft(
    draft: str, random_model: Loaded, codec: ActionCodec, questions: list[Question], answers: list[list[int]]
) -> None:
    with torch.inference_mode():
        end = greedy(random_model.model, random_model.model.embed(*questions[0]), COUNT + 1)[0][-1]
    for name in ("none", "true", "last wrong"):
        guess = drafts_of(answers[0], codec)[name]
        for wanted in (end, end + 1):
            at_work = Engine(random_model.model, codec, COUNT, Mechanisms(draft=draft), end_id=wanted)
            for prefix in (answers[0][:3], answers[0]):
                if wanted == end:
                    assert list(at_work.answer(*questions[0], prefix, guess[len(prefix) :]).ids) == answers[0]
                    continue
                with pytest.raises(TokenGateError, match=f"must end with {wanted}, got {end}"):
                    at_work.answer(*questions[0], prefix, guess[len(prefix) :])


@pytest.mark.parametrize("draft", DRAFTS)
def test_a_word_that_wins_behind_a_draft_refuses_the_chunk(
    draft: str,
    random_model: Loaded,
    codec: ActionCodec,
    questions: list[Question],
    answers: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, place = random_model.model, 12
    with torch.inference_mode():
        cache, _ = model.prefill(model.embed(*questions[0]), COUNT)
        state = model.extend(answers[0][:place], cache)[-1]
    weight = model.lm_head.weight.detach().clone()
    weight[1000] = state * 10.0  # an ordinary word now wins there; the action rows are as they were
    monkeypatch.setitem(model.lm_head._parameters, "weight", torch.nn.Parameter(weight, requires_grad=False))
    with torch.inference_mode():
        first = greedy(model, model.embed(*questions[0]), COUNT)[0].index(1000)
    assert first <= place
    for head in HEADS:
        with pytest.raises(TokenGateError, match=rf"token {first} of 35 must be an action id .*, got 1000"):
            engine(random_model, codec, draft=draft, head=head).answer(*questions[0], draft=answers[0])


@pytest.mark.parametrize("draft", DRAFTS)
def test_recorded_passes_answer_the_same_and_recover_from_a_refusal(
    draft: str,
    random_model: Loaded,
    codec: ActionCodec,
    questions: list[Question],
    answers: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The engine's way on a GPU, with the identity as recorder."""

    def identity(work: Work) -> Work:
        work()
        return work

    def steps(model: ReconVla, cache: Cache, low: int, high: int, most: int, compiled: bool) -> Recorded:
        return Recorded(model, cache, low, high, most, record=identity)

    monkeypatch.setattr(Engine, "_on_gpu", True)
    monkeypatch.setattr("reconvla_ros.model.engine.record_steps", steps)
    monkeypatch.setattr("reconvla_ros.model.engine.record_image", lambda model: RecordedImage(model, identity))
    at_work = engine(random_model, codec, draft=draft)
    for name in ("none", "true", "wrong", "mixed"):
        guess = drafts_of(answers[0], codec)[name]
        assert list(at_work.answer(*questions[0], draft=guess).ids) == answers[0], name
    assert list(at_work.answer(*questions[0], prefix=answers[0][:7], draft=guess[7:]).ids) == answers[0]
    with pytest.raises(TokenGateError, match="not finite"):
        at_work.answer(questions[0][0], torch.full_like(questions[0][1], float("nan")))
    assert list(at_work.answer(*questions[1]).ids) == answers[1]
    pixels = torch.rand(1, 3, 384, 384)
    with torch.inference_mode():
        assert torch.equal(at_work.encode_image(pixels), random_model.model.encode_image(pixels))


def test_an_image_that_is_not_finite_is_refused_and_leaves_nothing_behind(
    random_model: Loaded, codec: ActionCodec, questions: list[Question], answers: list[list[int]]
) -> None:
    at_work = engine(random_model, codec)
    ids, image = questions[0]
    with pytest.raises(TokenGateError, match="logits of token 0 are not finite"):
        at_work.answer(ids, torch.full_like(image, float("nan")), draft=answers[0])
    assert at_work._cache is not None and bool(torch.isfinite(at_work._cache.keys).all())
    assert list(at_work.answer(ids, image).ids) == answers[0]


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_memory_that_runs_out_names_what_would_fit(
    error: Exception,
    random_model: Loaded,
    codec: ActionCodec,
    questions: list[Question],
    answers: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_work = engine(random_model, codec)

    def exhausted(*_: object) -> Tensor:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(random_model.model, "prefill", exhausted)
        with pytest.raises(
            SetupError, match=r"8\d\d positions .* what would fit: dtype bfloat16.*weights int8.*device cpu"
        ):
            at_work.answer(*questions[0])
    assert list(at_work.answer(*questions[0]).ids) == answers[0]  # and goes on when there is room again


@pytest.mark.parametrize("name", ["head", "draft", "graphs", "weights"])
def test_an_unknown_mechanism_is_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"mechanisms: {name} 'prevous'.*valid"):
        Mechanisms(**{name: "prevous"})


def test_the_valid_mechanisms() -> None:
    assert Mechanisms().head == HEADS[0] and Mechanisms().draft in DRAFTS
