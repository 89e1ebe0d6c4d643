"""Recorded passes, with the identity as recorder: the same arithmetic as on a GPU."""

from __future__ import annotations

import pytest
import torch

from reconvla_ros.model.config import LanguageConfig
from reconvla_ros.model.decode import Head, Plain, Steps, decode
from reconvla_ros.model.draft import GPU_COST, Draft
from reconvla_ros.model.engine_graphs import BLOCK_SIZES, Recorded, RecordedImage, Work, record_steps
from reconvla_ros.model.language import Block, Cache, Decoder
from reconvla_ros.model.model import Loaded, ReconVla
from reconvla_ros.model.tokens import ActionCodec

COUNT = 35


@pytest.fixture(scope="module")
def codec(random_model: Loaded) -> ActionCodec:
    return ActionCodec(random_model.tokenizer.base_size)


@pytest.fixture(scope="module")
def prompt(random_model: Loaded) -> torch.Tensor:
    """(P, hidden) words that mean nothing."""
    return random_model.model.words(list(range(400, 460))).clone()


def started(model: ReconVla, prompt: torch.Tensor, capacity: int) -> tuple[Cache, torch.Tensor]:
    with torch.inference_mode():
        return model.prefill(prompt, 0, cache=model.decoder.new_cache(capacity))


def identity(work: Work) -> Work:
    work()  # a recorder runs the work once or more before anything is asked of it
    return work


def recorded(model: ReconVla, cache: Cache, codec: ActionCodec) -> Recorded:
    with torch.inference_mode():
        return Recorded(model, cache, codec.low, codec.high, COUNT, record=identity)


@pytest.mark.parametrize("count", [1, 2, 4, 5, 12, 30, 36, 40])
def test_a_pass_of_fixed_shape_equals_the_plain_one(
    count: int, random_model: Loaded, codec: ActionCodec, prompt: torch.Tensor
) -> None:
    model = random_model.model
    ours, wanted = (started(model, prompt, 200)[0] for _ in range(2))
    steps, plain = recorded(model, ours, codec), Plain(model, wanted)
    with torch.inference_mode():
        for ids in (list(range(500, 500 + count)), [7], list(range(600, 600 + count))):
            torch.testing.assert_close(steps.extend(ids), plain.extend(ids), rtol=0, atol=2e-5)
            assert ours.length == wanted.length
        steps.forget(count)
        plain.forget(count)
        torch.testing.assert_close(steps.extend([9]), plain.extend([9]), rtol=0, atol=2e-5)
    filled = slice(0, ours.length)
    torch.testing.assert_close(ours.keys[:, :, filled], wanted.keys[:, :, filled], rtol=0, atol=2e-5)


def test_a_stretch_is_what_single_steps_would_have_chosen(
    random_model: Loaded, codec: ActionCodec, prompt: torch.Tensor
) -> None:
    model = random_model.model
    cache, _ = started(model, prompt, 200)
    steps = recorded(model, cache, codec)
    with torch.inference_mode():
        states, chosen = steps.roll(codec.low + 5, 9)
        other = Plain(model, started(model, prompt, 200)[0])
        wanted = [other.extend([codec.low + 5])]
        rows = model.lm_head.weight[codec.low : codec.high + 1]
        for token in chosen:
            assert token == codec.low + int((wanted[-1] @ rows.T).argmax())
            wanted.append(other.extend([token]))
    assert len(chosen) == 8 and cache.length == len(prompt) + 9
    torch.testing.assert_close(states, torch.cat(wanted), rtol=0, atol=2e-5)


@pytest.mark.parametrize("renew", [False, True])
@pytest.mark.parametrize("right", [0, 3, 20, 34])
def test_answers_equal_those_of_plain_steps(
    right: int, renew: bool, random_model: Loaded, codec: ActionCodec, prompt: torch.Tensor
) -> None:
    model = random_model.model

    def answer(steps: Steps, state: torch.Tensor, guess: list[int]) -> tuple[list[int], int]:
        head = Head(model, codec, COUNT, "certified")
        with torch.inference_mode():
            passes = decode(steps, head, state, (), Draft(guess, GPU_COST, renew))
        return head.ids, passes

    cache, state = started(model, prompt, 200)
    wanted, _ = answer(Plain(model, cache), state, [])
    guess = wanted[:right] + [codec.low + (i - codec.low + 1) % codec.bins for i in wanted[right:]]
    cache, state = started(model, prompt, 200)
    found, passes = answer(recorded(model, cache, codec), state, guess)
    assert found == wanted
    assert passes <= COUNT


def test_what_lies_behind_the_sequence_is_not_seen(
    random_model: Loaded, codec: ActionCodec, prompt: torch.Tensor
) -> None:
    model = random_model.model
    clean, dirty = (started(model, prompt, 200)[0] for _ in range(2))
    with torch.inference_mode():
        dirty.keys[:, :, len(prompt) + 1 :] = 1e4
        dirty.values[:, :, len(prompt) + 1 :] = -1e4
        start = torch.tensor([len(prompt)])
        word = model.words([77])
        a, b = (model.decoder.fixed(word, cache, start) for cache in (clean, dirty))
    assert torch.equal(a, b)


def test_the_image_as_a_recorded_pass(random_model: Loaded) -> None:
    model = random_model.model
    pixels = torch.rand(1, 3, 384, 384) * 2 - 1
    with torch.inference_mode():
        encode = RecordedImage(model, identity)
        encode(-pixels)
        assert torch.equal(encode(pixels), model.encode_image(pixels))


def test_a_block_compiles_once_for_all_layers() -> None:
    """Whatever differs between layers must come as a tensor; a guard on it would compile every layer anew."""
    config = LanguageConfig(32, 48, 4, 4, 2, 1e6, 1e-6, 50)
    torch.manual_seed(0)
    decoder = Decoder(config).eval()
    compilations: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> torch.fx.GraphModule:
        compilations.append(len(inputs))
        return graph

    compiled = torch.compile(Block.fixed, dynamic=False, fullgraph=True, backend=backend)
    start = torch.tensor([3])
    for size in (1, *BLOCK_SIZES):
        with torch.inference_mode():
            x = torch.randn(size, 32)
            plain = decoder.fixed(x, decoder.new_cache(64), start)
            found = decoder.fixed(x, decoder.new_cache(64), start, compiled)
        torch.testing.assert_close(found, plain, rtol=0, atol=1e-6)
    assert len(compilations) == 1 + len(BLOCK_SIZES)


def test_where_nothing_can_be_recorded_there_are_no_recorded_steps(
    random_model: Loaded, codec: ActionCodec, prompt: torch.Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine can record")
    cache, _ = started(random_model.model, prompt, 200)
    assert record_steps(random_model.model, cache, codec.low, codec.high, COUNT, compiled=False) is None
    assert "recording failed" in caplog.text
