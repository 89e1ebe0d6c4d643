"""Parity with the original ReconVLA code: tokens exact, pixels bit for bit, features and logits to float rounding."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from reconvla_ros.errors import ReconVlaError, TokenGateError
from reconvla_ros.model import layout
from reconvla_ros.model.checkpoint import TRAINING_ONLY, list_tensors
from reconvla_ros.model.decode import decode_chunk, greedy
from reconvla_ros.model.images import AS_SERVED, normalise, resize_canvas, stitch
from reconvla_ros.model.model import Loaded
from reconvla_ros.model.prompt import encode_prompt, prompt_ids, prompt_text, splice_state
from reconvla_ros.model.tokenizer import write_tokenizer
from reconvla_ros.model.tokens import ActionCodec
from reconvla_ros.model.vocabulary import qwen_vocabulary

pytestmark = pytest.mark.golden

LOGITS = 2e-4  # what the format's description suggests; seen: 4.5e-5
FEATURES = 1e-4  # fp32 tower and projector; seen: 2e-5
ROWS = [0, 1, 27, 364, 727, 728]
# Statistics of the public CALVIN data (task_ABC_D statistics.yaml, robot_obs); the vectors' obs ids come from them.
CALVIN_MEAN = (
    *(0.039233, -0.118554, 0.507826, 1.079174, -0.083069, 1.579753, 0.054622),
    *(-0.736859, 1.017769, 1.792879, -2.099604, -0.993738, 1.790842, 0.586534, 0.095367),
)
CALVIN_STD = (
    *(0.150769, 0.1104, 0.06253, 2.883517, 0.126405, 0.377196, 0.030152),
    *(0.334392, 0.172714, 0.240513, 0.3842, 0.198596, 0.158712, 0.346865, 0.995442),
)


@pytest.fixture(scope="module")
def codec(original: Loaded) -> ActionCodec:
    return ActionCodec(original.tokenizer.base_size)


def served(golden: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = golden["serve"]
    return found


def form(case: dict[str, Any]) -> str:
    return "double" if case["double"] else "single"


def pixels_of(case: dict[str, Any], cases: ModuleType) -> torch.Tensor:
    _, static, gripper, *_ = cases.CASE[case["case"]]
    canvas = stitch(cases.synth_image(*static), cases.synth_image(*gripper), AS_SERVED)
    return torch.from_numpy(normalise(resize_canvas(canvas)))


def embeds_of(case: dict[str, Any], cases: ModuleType, original: Loaded, mode: str) -> torch.Tensor:
    with torch.inference_mode():
        image = original.model.encode_image(pixels_of(case, cases), half_image=mode == "fp16img")
        return original.model.embed(case["input_ids"], image)


def test_tokenizer_gives_the_original_ids(golden: dict[str, Any], original: Loaded) -> None:
    for case in golden["tokenizer_strings"]:
        assert original.tokenizer.encode(case["text"]) == case["ids"], case["text"]
        assert encode_prompt(original.tokenizer, case["text"]) == case["with_image_placeholder"], case["text"]
    facts = golden["serve_load"]["tokenizer"]
    assert (original.tokenizer.base_size, original.tokenizer.size) == (facts["vocab_size"], facts["len"])


def test_action_token_strings(golden: dict[str, Any], original: Loaded, codec: ActionCodec) -> None:
    strings = golden["act_token_strings"]
    assert sorted(map(int, strings)) == list(range(codec.low, codec.high + 1))
    for token, text in strings.items():
        assert original.tokenizer.decode([int(token)]) == text
    for token, (text, ids) in golden["act_tokens_not_roundtripping"].items():
        assert original.tokenizer.decode([int(token)]) == text
        assert original.tokenizer.encode(text) == ids


def test_prompts_byte_for_byte_and_ids_with_the_splice(golden: dict[str, Any], original: Loaded) -> None:
    assert any(
        len(c["raw_ids_before_splice"]) != len(c["input_ids"]) or c["retokenized_obs_len"] != 15 for c in served(golden)
    )
    for case in served(golden):
        text = prompt_text(case["instruction"], case["obs_text"], form(case))
        assert text == case["prompt"]
        assert original.tokenizer.decode(case["obs_token_ids"]) == case["obs_text"]
        raw = encode_prompt(original.tokenizer, text)
        assert raw == case["raw_ids_before_splice"]
        assert splice_state(raw, case["obs_token_ids"], original.tokenizer.splice_id) == case["input_ids"]
        assert (
            prompt_ids(original.tokenizer, case["instruction"], case["obs_token_ids"], form(case)) == case["input_ids"]
        )


def test_quirk_splice_goes_to_the_first_assistant(golden: dict[str, Any], original: Loaded) -> None:
    state = golden["robot_obs"]["calvin"]
    for case in golden["quirk_35560_in_instruction"]:
        text = prompt_text(case["instruction"], state["text"], "single")
        ids = splice_state(encode_prompt(original.tokenizer, text), state["ids"], original.tokenizer.splice_id)
        assert ids == case["input_ids"]
        # The splice ate the image. The original then runs blind; here such an instruction is refused.
        with pytest.raises(ReconVlaError, match="found 0 times"):
            prompt_ids(original.tokenizer, case["instruction"], state["ids"], "single")


def test_state_codec(golden: dict[str, Any], original: Loaded, codec: ActionCodec) -> None:
    for name, case in golden["robot_obs"].items():
        ids = codec.encode_state(np.array(case["obs"], float), CALVIN_MEAN, CALVIN_STD)
        assert ids.tolist() == case["ids"], name
        assert original.tokenizer.decode(case["ids"]) == case["text"], name


def test_action_codec(golden: dict[str, Any], vectors: dict[str, np.ndarray], codec: ActionCodec) -> None:
    np.testing.assert_array_equal(codec.edges, vectors["act/bins"])
    np.testing.assert_array_equal(codec.centers, vectors["act/bin_centers"])
    grid, wanted = vectors["act/grid"], vectors["act/grid_ids"]
    finite = np.isfinite(grid)
    np.testing.assert_array_equal(codec.encode(grid[finite]), wanted[finite])
    np.testing.assert_array_equal(codec.decode(vectors["act/decode_ids"]), vectors["act/decode_vals"])
    relative = golden["encode_actions"]
    assert codec.encode([float(v) for v in relative["rel_sentence"].split()]).tolist() == relative["rel_ids"]
    np.testing.assert_array_equal(codec.decode(relative["rel_ids"]), vectors["act/rel_decoded"])


def test_images_bit_for_bit(golden: dict[str, Any], vectors: dict[str, np.ndarray], cases: ModuleType) -> None:
    for case in served(golden):
        _, static, gripper, *_ = cases.CASE[case["case"]]
        canvas = stitch(cases.synth_image(*static), cases.synth_image(*gripper), AS_SERVED)
        assert cases.sha(canvas) == case["composite_sha"]
        small = resize_canvas(canvas)
        assert cases.sha(small.transpose(2, 0, 1)[None]) == case["pixel_u8_sha"]
        assert cases.sha(normalise(small)) == case["pixel_sha"]
    np.testing.assert_array_equal(pixels_of(served(golden)[0], cases).numpy(), vectors["serve/c0/pixel_values"])


def test_training_pictures(golden: dict[str, Any], vectors: dict[str, np.ndarray], cases: ModuleType) -> None:
    for name, key in (("image_0", "image_sha"), ("image_target_0", "target_sha")):
        canvas = vectors[f"train/composite/{name}"]
        assert cases.sha(canvas) == golden["train_composite_sha"][name]
        file = io.BytesIO()
        Image.fromarray(canvas).save(file, "JPEG")  # training data travels as JPEG of Pillow's default quality
        with Image.open(file) as picture:
            read_back = np.asarray(picture.convert("RGB"))
        assert cases.sha(normalise(resize_canvas(read_back))) == golden["train_samples"][0][key]


@pytest.mark.parametrize("mode", ["fp32img", "fp16img"])
def test_tower_and_projector(
    mode: str, golden: dict[str, Any], vectors: dict[str, np.ndarray], cases: ModuleType, original: Loaded
) -> None:
    for case in served(golden)[::2]:
        pixels = pixels_of(case, cases)
        with torch.inference_mode():
            projected = original.model.encode_image(pixels, half_image=mode == "fp16img").numpy()
            tower = original.model.tower(pixels)[0].numpy()
        key = f"serve/{case['case']}"
        np.testing.assert_allclose(projected[ROWS], vectors[f"{key}/{mode}/proj_rows"], rtol=0, atol=FEATURES)
        if mode == "fp32img":
            np.testing.assert_allclose(tower[ROWS], vectors[f"{key}/{mode}/tower_rows"], rtol=0, atol=FEATURES)
            if f"{key}/tower_full" in vectors:
                np.testing.assert_allclose(tower, vectors[f"{key}/tower_full"], rtol=0, atol=FEATURES)
                np.testing.assert_allclose(projected, vectors[f"{key}/proj_full"], rtol=0, atol=FEATURES)


@pytest.mark.parametrize("mode", ["fp32img", "fp16img"])
def test_generated_ids_and_first_logits(
    mode: str,
    golden: dict[str, Any],
    vectors: dict[str, np.ndarray],
    cases: ModuleType,
    original: Loaded,
    codec: ActionCodec,
) -> None:
    for case in served(golden):
        ids, logits = greedy(original.model, embeds_of(case, cases, original, mode), 128, original.model.config.eos_ids)
        run = case["runs"][mode]
        assert ids == run["generated_ids"]
        first = logits[0].numpy()
        key = f"serve/{case['case']}/{form(case)}/{mode}/first_logits"
        assert len(first) == golden["serve_load"]["lm_head"][0]
        np.testing.assert_allclose(first[:64], vectors[f"{key}_head"], rtol=0, atol=LOGITS)
        np.testing.assert_allclose(first[151300:151646], vectors[f"{key}_tail"], rtol=0, atol=LOGITS)
        np.testing.assert_array_equal(codec.decode(ids[:-1]), run["actions"])
        top = logits.topk(2).values
        margins = (top[:, 0] - top[:, 1]).numpy()
        np.testing.assert_allclose(margins, run["step_margins"][: len(ids)], rtol=0, atol=5e-4)


@pytest.mark.parametrize("head", ["certified", "full"])
def test_chunks_of_35_behind_the_gate(
    head: str, golden: dict[str, Any], cases: ModuleType, original: Loaded, codec: ActionCodec
) -> None:
    accepted = 0
    for case in served(golden):
        embeds = embeds_of(case, cases, original, "fp32img")
        cache, hidden = original.model.prefill(embeds, 36)
        wanted = case["runs"]["fp32img"]["generated_ids"]
        if len(wanted) != 36:
            with pytest.raises(TokenGateError, match="must end with 151645"):
                decode_chunk(original.model, cache, hidden, codec, 35, head, original.tokenizer.end_id)
            continue
        decoded = decode_chunk(original.model, cache, hidden, codec, 35, head, original.tokenizer.end_id)
        assert list(decoded.ids) == wanted[:35]
        assert decoded.probability.min() > 0.9  # the fitted answers are certain
        accepted += 1
    assert accepted == 12


def test_other_generation_configs(golden: dict[str, Any], cases: ModuleType, original: Loaded) -> None:
    by_name = {c["case"]: c for c in served(golden) if c["double"]}
    for case in golden["serve_alt_generation_config"]:
        embeds = embeds_of(by_name[case["case"]], cases, original, "fp16img")
        only_end = case["config"] == "eos_endoftext_only"
        eos = (151643,) if only_end else original.model.config.eos_ids
        ids, _ = greedy(original.model, embeds, 128, eos, 1.0 if only_end else 1.05)
        assert ids == case["generated_ids"], case["config"]


def test_only_the_training_parts_and_the_towers_end_are_ignored(golden_folder: Path, original: Loaded) -> None:
    outside = [n for n in original.ignored if not n.startswith(TRAINING_ONLY)]
    assert all(".encoder.layers.2." in n or ".post_layernorm." in n or ".head." in n for n in outside)
    stored = list_tensors(golden_folder / "tiny_checkpoint")
    assert {n for n in stored if n.startswith(TRAINING_ONLY)} <= set(original.ignored)
    assert len(original.ignored) < len(stored)


def test_random_checkpoints_have_the_real_names_and_shapes(golden_folder: Path) -> None:
    real = json.loads((golden_folder / "real_state_dict.json").read_text(encoding="utf-8"))["tensors"]
    shapes = {n: tuple(s) for n, s in real.items()}
    wanted = {n: s for n, s in shapes.items() if not n.startswith(TRAINING_ONLY)}
    assert layout.full_layout(layout.SIZES["full"]) == wanted


def test_vocabulary_files_are_byte_equal(golden_folder: Path, tmp_path: Path) -> None:
    write_tokenizer(tmp_path, *qwen_vocabulary())
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (golden_folder / "tiny_checkpoint" / path.name).read_bytes(), path.name
