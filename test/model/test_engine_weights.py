"""Fused and 8-bit weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from reconvla_ros.errors import ConfigError
from reconvla_ros.model.engine import Engine, Mechanisms
from reconvla_ros.model.engine_weights import agreement, narrowed, prepare, weight_bytes
from reconvla_ros.model.language import Block
from reconvla_ros.model.layers import ONEDNN_WEIGHTS, Matrix, linear, project
from reconvla_ros.model.model import Loaded, load_model
from reconvla_ros.model.prompt import prompt_ids
from reconvla_ros.model.tokens import ActionCodec


@pytest.fixture
def fresh(random_folder: Path) -> Loaded:
    return load_model(random_folder, torch.device("cpu"), torch.float32)


def test_fusing_keeps_one_copy_and_the_answer(fresh: Loaded) -> None:
    decoder = fresh.model.decoder
    x = fresh.model.words([5, 6, 7, 8])
    with torch.inference_mode():
        before = decoder(x, decoder.new_cache(8))
        size = weight_bytes(decoder)
        state = {n: p.clone() for n, p in decoder.named_parameters()}
        prepare(decoder)
        prepare(decoder)
        after = decoder(x, decoder.new_cache(8))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)
    block = decoder.layers[0]
    assert isinstance(block, Block) and block.self_attn.qkv is not None
    attention = block.self_attn
    parts = (attention.qkv, attention.q_proj, attention.k_proj, attention.v_proj)
    assert len({p.weight.untyped_storage().data_ptr() for p in parts if p is not None}) == 1
    assert weight_bytes(decoder) == size
    assert all(torch.equal(p, state[n]) for n, p in decoder.named_parameters())


@pytest.mark.parametrize(("kind", "error"), [("int8", 0.5 / 127), ("fp8", 2.0**-4)])
def test_eight_bits_stay_within_their_rounding(kind: str, error: float) -> None:
    generator = torch.Generator().manual_seed(0)
    wide = torch.randn(16, 64, generator=generator) * torch.logspace(-3, 3, 16)[:, None]
    bias = torch.randn(16, generator=generator)
    matrix = narrowed(Matrix(wide, bias), kind)
    assert matrix.scale is not None and matrix.weight.element_size() == 1
    back = matrix.weight.float() * matrix.scale[:, None]
    bound = (
        wide.abs().amax(1, keepdim=True) if kind == "int8" else wide.abs().clamp_min(1e-2 * wide.abs().amax(1, True))
    )
    assert bool(((back - wide).abs() <= error * bound * 1.001).all())
    x = torch.randn(3, 64, generator=generator)
    torch.testing.assert_close(project(x, matrix), x @ back.T + bias, rtol=1e-4, atol=1e-4 * float(wide.abs().max()))


def test_a_row_of_zeros_stays_zero() -> None:
    for kind in ("int8", "fp8"):
        matrix = narrowed(Matrix(torch.zeros(2, 4)), kind)
        assert not project(torch.ones(1, 4), matrix).any()


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_an_engine_with_eight_bits_answers_and_frees_the_plain_weights(kind: str, fresh: Loaded) -> None:
    codec = ActionCodec(fresh.tokenizer.base_size)
    ids = prompt_ids(fresh.tokenizer, "put fruit in bowl", [151500] * 15)
    with torch.inference_mode():
        image = fresh.model.encode_image(torch.rand(1, 3, 384, 384) * 2 - 1)
        plain = Engine(fresh.model, codec, 5).answer(ids, image)
    with pytest.raises(ConfigError, match=f"weights '{kind}' asked of a network whose weights are 'plain'"):
        Engine(fresh.model, codec, 5, Mechanisms(weights=kind))
    other = load_model(fresh.folder, torch.device("cpu"), torch.float32)
    before = weight_bytes(other.model.decoder.layers)
    narrow = Engine(other.model, codec, 5, Mechanisms(weights=kind))
    decoded = narrow.answer(ids, image)
    assert decoded.ids == narrow.answer(ids, image, draft=decoded.ids).ids
    assert weight_bytes(other.model.decoder.layers) < 0.3 * before
    share = agreement([decoded.ids], [plain.ids])
    assert 0.0 <= share["tokens"] <= 1.0


def test_agreement_counts_tokens_chunks_and_bins() -> None:
    found = agreement([[1, 2, 3, 4], [5, 6, 7, 8]], [[1, 2, 3, 4], [5, 6, 9, 8]])
    assert found == {"tokens": 7 / 8, "chunks": 0.5, "bins": 0.25}
    with pytest.raises(ValueError, match="cannot be compared"):
        agreement([[1, 2]], [[1, 2, 3]])


@pytest.mark.parametrize("rows", [1, 2, 3, 17])
def test_a_large_product_is_the_same_whichever_library_makes_it(rows: int) -> None:
    rng = np.random.default_rng(0)
    out = ONEDNN_WEIGHTS // 256
    weight, x, bias = (rng.standard_normal(s).astype(np.float32) for s in ((out, 256), (rows, 256), (out,)))
    with torch.inference_mode():
        found = linear(*(torch.from_numpy(a) for a in (x, weight, bias)))
    np.testing.assert_allclose(found.numpy(), x @ weight.T + bias, rtol=0, atol=2e-4)


def test_training_goes_through_a_product_with_a_gradient() -> None:
    weight = torch.randn(ONEDNN_WEIGHTS // 128, 128, requires_grad=True)
    linear(torch.ones(2, 128), weight).sum().backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, torch.full_like(weight, 2.0))
