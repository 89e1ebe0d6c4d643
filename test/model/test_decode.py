"""The gate, its two heads, and what the random checkpoint promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reconvla_ros.errors import TokenGateError
from reconvla_ros.model.decode import HEADS, decode_chunk, greedy
from reconvla_ros.model.images import pixels
from reconvla_ros.model.model import Loaded
from reconvla_ros.model.prompt import prompt_ids
from reconvla_ros.model.tokens import ActionCodec

COUNT = 35


@pytest.fixture(scope="module")
def codec(random_model: Loaded) -> ActionCodec:
    return ActionCodec(random_model.tokenizer.base_size)


def embeds(loaded: Loaded, codec: ActionCodec, seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    views = rng.integers(0, 256, (2, 60, 80, 3), dtype=np.uint8)
    state = [int(i) for i in codec.encode(rng.uniform(-1, 1, 15))]
    ids = prompt_ids(loaded.tokenizer, "put fruit in bowl", state)
    with torch.inference_mode():
        return loaded.model.embed(ids, loaded.model.encode_image(torch.from_numpy(pixels(*views))))


def chunk(loaded: Loaded, codec: ActionCodec, prompt: torch.Tensor, head: str = "certified") -> tuple[int, ...]:
    with torch.inference_mode():
        cache, hidden = loaded.model.prefill(prompt, COUNT + 1)
    return decode_chunk(loaded.model, cache, hidden, codec, COUNT, head).ids


def test_random_answers_pass_the_gate_and_both_heads_equal_open_greedy(
    random_model: Loaded, codec: ActionCodec
) -> None:
    answers = set()
    for seed in range(3):
        prompt = embeds(random_model, codec, seed)
        wanted, _ = greedy(random_model.model, prompt, COUNT)
        assert {chunk(random_model, codec, prompt, head) for head in HEADS} == {tuple(wanted)}
        answers.add(tuple(wanted))
    assert len(answers) == 3  # the answer depends on what is seen
    assert all(len(set(ids)) > 5 for ids in answers)  # and is no endless repetition


def other_wins(
    loaded: Loaded, codec: ActionCodec, prompt: torch.Tensor, place: int, monkeypatch: pytest.MonkeyPatch
) -> int:
    """Make an ordinary word win at `place` (and wherever the state is alike), without touching the action rows."""
    with torch.inference_mode():
        cache, hidden = loaded.model.prefill(prompt, COUNT)
        for token in chunk(loaded, codec, prompt)[:place]:
            hidden = loaded.model.step(token, cache)
    weight = loaded.model.lm_head.weight.detach().clone()
    weight[1000] = hidden[0] * 10.0
    monkeypatch.setitem(loaded.model.lm_head._parameters, "weight", torch.nn.Parameter(weight, requires_grad=False))
    return 1000


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("place", [0, 7, 34])
def test_a_word_that_wins_anywhere_refuses_the_chunk(
    place: int, head: str, random_model: Loaded, codec: ActionCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = embeds(random_model, codec, 1)
    word = other_wins(random_model, codec, prompt, place, monkeypatch)
    wanted, _ = greedy(random_model.model, prompt, COUNT)
    first = wanted.index(word)
    assert first <= place
    with pytest.raises(TokenGateError, match=rf"token {first} of 35 must be an action id 151387..151642, got 1000"):
        chunk(random_model, codec, prompt, head)


@pytest.mark.parametrize("head", HEADS)
def test_nan_logits_refuse_the_chunk(head: str, random_model: Loaded, codec: ActionCodec) -> None:
    prompt = embeds(random_model, codec, 1).clone()
    prompt[-1, 0] = float("nan")
    with pytest.raises(TokenGateError, match="logits of token 0 are not finite"):
        chunk(random_model, codec, prompt, head)


def test_an_answer_that_goes_on_is_refused_on_request(random_model: Loaded, codec: ActionCodec) -> None:
    with torch.inference_mode():
        cache, hidden = random_model.model.prefill(embeds(random_model, codec, 2), COUNT + 1)
    with pytest.raises(TokenGateError, match="must end with 151645"):
        decode_chunk(random_model.model, cache, hidden, codec, COUNT, end_id=random_model.tokenizer.end_id)


def test_cache_cut_back_gives_the_same_state(random_model: Loaded, codec: ActionCodec) -> None:
    model, prompt = random_model.model, embeds(random_model, codec, 3)
    ids = list(chunk(random_model, codec, prompt))
    with torch.inference_mode():
        cache, _ = model.prefill(prompt, COUNT)
        start = cache.length
        one_by_one = torch.cat([model.step(i, cache) for i in ids[:4]])
        cache.length = start
        together = model.decoder(model.decoder.embed_tokens.weight[ids[:4]], cache)
    torch.testing.assert_close(one_by_one, together, rtol=0, atol=1e-4)


def test_cache_that_is_full_says_so(random_model: Loaded, codec: ActionCodec) -> None:
    with torch.inference_mode():
        cache, _ = random_model.model.prefill(embeds(random_model, codec, 3), 0)
        with pytest.raises(ValueError, match="cannot take 1 more"):
            random_model.model.step(5, cache)


def test_attention_of_the_last_position_is_a_distribution(random_model: Loaded, codec: ActionCodec) -> None:
    with torch.inference_mode():
        cache, _ = random_model.model.prefill(embeds(random_model, codec, 4), 0, watch_layer=1)
    assert cache.watched is not None
    assert cache.watched.shape == (cache.length,)
    assert float(cache.watched.sum()) == pytest.approx(1.0, abs=1e-5)
