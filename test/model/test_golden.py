"""Parity with the original's text, numbers and pictures: ids exact, prompts byte for byte, pixels bit for bit.

Every case, key and size comes from the files in the folder, so that vectors made the same way from other seeds, sizes or
cases are tested as they are. Each key of golden.json is named below or in `OF_TRAINING`.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from reconvla_ros.errors import ReconVlaError, ShapeError
from reconvla_ros.model import layout
from reconvla_ros.model.checkpoint import TRAINING_ONLY
from reconvla_ros.model.images import AS_SERVED, normalise, resize_canvas, stitch
from reconvla_ros.model.model import Loaded
from reconvla_ros.model.prompt import encode_prompt, prompt_ids, prompt_text, splice_state
from reconvla_ros.model.square import pad_to_square
from reconvla_ros.model.tokenizer import write_tokenizer
from reconvla_ros.model.tokens import ActionCodec
from reconvla_ros.model.vocabulary import qwen_vocabulary
from reconvla_ros.policy.actions import to_targets
from reconvla_ros.policy.contract import Contract, choose_contract
from reconvla_ros.types import Pose

pytestmark = pytest.mark.golden

OF_TRAINING = {
    *("finetune_from_checkpoint", "train_config_json", "calvin_json_items", "train_batch", "train_forward"),
    *("quirk_vm_mask", "quirk_reconstruct_image_num_2", "vae_decode", "diffusion", "pretrain_samples"),
}
"""Keys about losses, labels and the reconstruction branch."""
OF_INFERENCE = {
    *("versions", "cases_doc", "serve_load", "serve", "serve_alt_generation_config", "pad_to_square"),
    *("quirk_35560_in_instruction", "act_grid_text", "act", "act_token_strings", "act_tokens_not_roundtripping"),
    *("encode_actions", "robot_obs", "tokenizer_strings", "obs_retokenization_histogram_1500_gaussian"),
    *("obs_retokenization_identical_of_1500", "train_composite_sha", "train_samples", "real_state_dict_groups"),
}


@pytest.fixture(scope="module")
def codec(original: Loaded) -> ActionCodec:
    return ActionCodec(original.tokenizer.base_size)


def form(case: dict[str, Any]) -> str:
    return "double" if case["double"] else "single"


def served_canvas(case: dict[str, Any], cases: ModuleType) -> np.ndarray:
    return stitch(cases.make(tuple(case["static"])), cases.make(tuple(case["gripper"])), AS_SERVED)


def matches(values: np.ndarray, stats: dict[str, float]) -> None:
    """`values` has the mean, deviation (of a sample), extremes and mean size that the original had."""
    x = np.asarray(values, dtype=np.float64)
    got = {"mean": x.mean(), "std": x.std(ddof=1), "min": x.min(), "max": x.max(), "absmean": np.abs(x).mean()}
    for key, value in stats.items():
        assert got[key] == pytest.approx(value, rel=1e-5, abs=1e-6), key


def test_every_key_is_accounted_for(golden: dict[str, Any]) -> None:
    assert set(golden) - OF_TRAINING - OF_INFERENCE == set()


def test_tokenizer_gives_the_original_ids(golden: dict[str, Any], original: Loaded) -> None:
    for case in golden["tokenizer_strings"]:
        assert original.tokenizer.encode(case["text"]) == case["ids"], case["text"]
        assert encode_prompt(original.tokenizer, case["text"]) == case["with_image_placeholder"], case["text"]


def test_tokenizer_is_the_one_the_original_loaded(golden: dict[str, Any], original: Loaded) -> None:
    told, ours = golden["serve_load"]["tokenizer"], original.tokenizer
    assert (ours.base_size, ours.size) == (told["vocab_size"], told["len"])
    assert told["eos"] == told["pad"] == ours.added["<|endoftext|>"]
    assert told["bos"] is None and told["unk"] is None and ours.encode("") == []
    assert golden["serve_load"]["lm_head"][0] == golden["serve_load"]["embed"][0] == ours.size


def test_action_token_strings(golden: dict[str, Any], original: Loaded, codec: ActionCodec) -> None:
    strings = golden["act_token_strings"]
    assert sorted(map(int, strings)) == list(range(codec.low, codec.high + 1))
    broken = golden["act_tokens_not_roundtripping"]
    for token, text in strings.items():
        assert original.tokenizer.decode([int(token)]) == text
        assert (original.tokenizer.encode(text) != [int(token)]) == (token in broken)
    for token, (text, ids) in broken.items():
        assert original.tokenizer.decode([int(token)]) == text
        assert original.tokenizer.encode(text) == ids


def test_prompts_byte_for_byte_and_ids_with_the_splice(golden: dict[str, Any], original: Loaded) -> None:
    tokenizer = original.tokenizer
    for case in golden["serve"]:
        state = case["obs_token_ids"]
        text = prompt_text(case["instruction"], case["obs_text"], form(case))
        assert text == case["prompt"]
        assert tokenizer.decode(state) == case["obs_text"]
        assert len(tokenizer.encode(case["obs_text"])) == case["retokenized_obs_len"]
        raw = encode_prompt(tokenizer, text)
        assert raw == case["raw_ids_before_splice"]
        ids = splice_state(raw, state, tokenizer.splice_id)
        assert ids == case["input_ids"] == prompt_ids(tokenizer, case["instruction"], state, form(case))
        assert ids.index(-200) == case["image_pos"]
        assert len(ids) - 1 + original.model.config.vision.tokens == case["seq_len_after_image"]
        inside = any(ids[k : k + len(state)] == state for k in range(len(ids)))
        assert inside == case["obs_ids_exact_in_final"]


def test_quirk_splice_goes_to_the_first_assistant(golden: dict[str, Any], original: Loaded) -> None:
    tokenizer = original.tokenizer
    for case in golden["quirk_35560_in_instruction"]:
        told, found = case["input_ids"], []
        for state in golden["robot_obs"].values():
            text = prompt_text(case["instruction"], state["text"], "single")
            if splice_state(encode_prompt(tokenizer, text), state["ids"], tokenizer.splice_id) == told:
                found.append(state["ids"])
        assert found, case["instruction"]
        assert [tokenizer.decode([i]) if i >= 0 else "<image>" for i in told] == case["decoded"]
        if -200 not in told:  # The splice ate the image. The original then runs blind; here it is refused.
            with pytest.raises(ReconVlaError, match="found 0 times"):
                prompt_ids(tokenizer, case["instruction"], found[0], "single")


def test_state_codec_with_the_shipped_statistics(golden: dict[str, Any], original: Loaded, codec: ActionCodec) -> None:
    calvin = choose_contract("calvin")
    for name, case in golden["robot_obs"].items():
        ids = codec.encode_state(np.array(case["obs"], float), calvin.state_mean, calvin.state_std)
        assert ids.tolist() == case["ids"], name
        assert original.tokenizer.decode(case["ids"]) == case["text"], name


def test_how_often_a_state_is_encoded_to_another_length(
    golden: dict[str, Any], original: Loaded, codec: ActionCodec
) -> None:
    """The quirk behind the splice, counted over 1500 Gaussian states."""
    calvin, lengths, same = choose_contract("calvin"), Counter[int](), 0
    mean, std = np.array(calvin.state_mean), np.array(calvin.state_std)
    for state in np.random.RandomState(0).normal(mean, std, (1500, len(mean))):
        ids = codec.encode_state(state, mean, std).tolist()
        back = original.tokenizer.encode(original.tokenizer.decode(ids))
        lengths[len(back)] += 1
        same += back == ids
    told = {int(k): n for k, n in golden["obs_retokenization_histogram_1500_gaussian"].items()}
    if dict(lengths) == told:  # the vectors' own 1500 states
        assert same == golden["obs_retokenization_identical_of_1500"]
        return
    for length in told.keys() | lengths.keys():  # other states: equal within five deviations of a count
        a, b = told.get(length, 0), lengths[length]
        assert abs(a - b) <= 5 * np.sqrt(a + b + 1), length
    assert abs(same - golden["obs_retokenization_identical_of_1500"]) <= 5 * np.sqrt(2 * 1500 / 4)


def test_action_codec(
    golden: dict[str, Any], vectors: dict[str, np.ndarray], original: Loaded, codec: ActionCodec
) -> None:
    facts = golden["act"]
    assert (codec.base, len(codec.edges), len(codec.centers), codec.high) == (
        facts["vocab_size"],
        facts["n_bins"],
        facts["n_centers"],
        facts["first_id_for_minus1"],
    )
    np.testing.assert_array_equal(codec.edges, vectors["act/bins"])
    np.testing.assert_array_equal(codec.centers, vectors["act/bin_centers"])
    grid, wanted = vectors["act/grid"], vectors["act/grid_ids"]
    numbers = np.isfinite(grid)
    np.testing.assert_array_equal(codec.encode(grid[numbers]), wanted[numbers])
    assert original.tokenizer.decode(wanted.tolist()) == golden["act_grid_text"]
    for value in grid[~numbers]:  # The original writes NaN as +1, the whole way; here it is refused.
        with pytest.raises(ShapeError, match="must be finite"):
            codec.encode(value)
    np.testing.assert_array_equal(codec.decode(vectors["act/decode_ids"]), vectors["act/decode_vals"])
    np.testing.assert_array_equal(codec.decode(vectors["act/decode_ids"]), vectors["act/decode_vals_vectorised"])


def test_relative_actions(
    golden: dict[str, Any], vectors: dict[str, np.ndarray], original: Loaded, codec: ActionCodec
) -> None:
    told = golden["encode_actions"]
    assert codec.encode([float(v) for v in told["rel_sentence"].split()]).tolist() == told["rel_ids"]
    assert original.tokenizer.decode(told["rel_ids"]) == told["rel_text"]
    np.testing.assert_array_equal(codec.decode(told["rel_ids"]), vectors["act/rel_decoded"])


def bounds(vectors: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) of the seven axes, solved from what the original made of two rows of 14 values."""
    x, y = vectors["act/denorm_in_14"].reshape(2, 7), vectors["act/denorm_out_14"].reshape(2, 7)
    slope = (y[1] - y[0]) / (x[1] - x[0])
    low = y[0] - slope * (x[0] + 1)
    return low, low + 2 * slope


def test_absolute_actions(golden: dict[str, Any], vectors: dict[str, np.ndarray], codec: ActionCodec) -> None:
    low, high = bounds(vectors)
    calvin = choose_contract("calvin")
    np.testing.assert_allclose(low[:6], calvin.absolute_low, atol=1e-9)
    np.testing.assert_allclose(high[:6], calvin.absolute_high, atol=1e-9)
    told = golden["encode_actions"]
    values = np.array([float(v) for v in told["abs_sentence"].split()]).reshape(-1, 7)
    ids = codec.encode((values - low) / (high - low) * 2 - 1)
    assert ids.flatten().tolist() == told["abs_ids"]
    np.testing.assert_array_equal(codec.decode(told["abs_ids"]), vectors["act/abs_decoded_norm"])
    contract = Contract(
        action_form="absolute", absolute_low=tuple(low[:6].tolist()), absolute_high=tuple(high[:6].tolist())
    )
    anchor = Pose(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]))
    pairs = [("act/abs_decoded_norm", "act/abs_denormalized")]
    pairs += [(name, name.replace("_in_", "_out_")) for name in vectors if name.startswith("act/denorm_in_")]
    for source, target in pairs:
        actions, wanted = vectors[source].reshape(-1, 7), vectors[target].reshape(-1, 7)
        inside = (np.abs(actions) <= 1).all(axis=1)
        positions, quaternions, _ = to_targets(actions[inside], anchor, contract)
        np.testing.assert_allclose(positions, wanted[inside, :3], atol=1e-9)
        turns = Rotation.from_euler("xyz", wanted[inside, 3:6]) * Rotation.from_quat(quaternions).inv()
        assert turns.magnitude() == pytest.approx(0.0, abs=1e-7)


def test_images_bit_for_bit(golden: dict[str, Any], vectors: dict[str, np.ndarray], cases: ModuleType) -> None:
    for case in golden["serve"]:
        assert cases.sha(cases.make(tuple(case["static"]))) == case["static_sha"]
        assert cases.sha(cases.make(tuple(case["gripper"]))) == case["gripper_sha"]
        canvas = served_canvas(case, cases)
        assert cases.sha(canvas) == case["composite_sha"]
        np.testing.assert_array_equal(canvas, vectors[f"serve/{case['case']}/composite_u8"])
        small = resize_canvas(canvas)
        assert cases.sha(small.transpose(2, 0, 1)[None]) == case["pixel_u8_sha"]
        pixels = normalise(small)
        assert cases.sha(pixels) == case["pixel_sha"]
        assert list(pixels.shape) == case["pixel_shape"] and case["pixel_dtype"] == f"torch.{pixels.dtype}"
        np.testing.assert_array_equal(pixels.ravel()[:16], np.float32(case["pixel_first16"]))
        matches(pixels, case["pixel_stats"])
        if f"serve/{case['case']}/pixel_values" in vectors:
            np.testing.assert_array_equal(pixels, vectors[f"serve/{case['case']}/pixel_values"])


def test_the_image_processor_is_the_one_the_original_loaded(golden: dict[str, Any]) -> None:
    told = golden["serve_load"]["image_processor"]
    side = told["size"]["height"]
    black, white = np.zeros((9, 9, 3), np.uint8), np.full((9, 9, 3), 255, np.uint8)
    assert resize_canvas(black).shape == (side, told["size"]["width"], 3)
    assert told["resample"] == Image.Resampling.BICUBIC and told["rescale_factor"] == 1 / 255
    for value, picture in ((0.0, black), (1.0, white)):
        wanted = (value - np.array(told["image_mean"])) / np.array(told["image_std"])
        np.testing.assert_array_equal(normalise(resize_canvas(picture))[0, :, 0, 0], wanted)


def test_pictures_padded_to_a_square(golden: dict[str, Any], cases: ModuleType) -> None:
    for case in golden["pad_to_square"]:
        padded = pad_to_square(cases.make(tuple(case["spec"])))
        assert [padded.shape[1], padded.shape[0]] == case["padded_size"]
        assert padded[0, 0].tolist() == case["corner"]
        assert cases.sha(padded) == case["padded_sha"]
        small = resize_canvas(padded)
        assert cases.sha(small.transpose(2, 0, 1)[None]) == case["u8_sha"]
        assert cases.sha(normalise(small)) == case["pixel_sha"]
        matches(normalise(small), case["pixel_stats"])


def test_training_pictures(golden: dict[str, Any], vectors: dict[str, np.ndarray], cases: ModuleType) -> None:
    """Training data travels as JPEG of Pillow's default quality; afterwards it is treated as when serving."""
    samples = {s["index"]: s for s in golden["train_samples"]}
    found = 0
    for name in (n for n in vectors if n.startswith("train/composite/")):
        canvas, short = vectors[name], name.rpartition("/")[2]
        assert cases.sha(canvas) == golden["train_composite_sha"][short]
        kind, _, index = short.rpartition("_")
        sample = samples.get(int(index))
        if sample is None:
            continue
        file = io.BytesIO()
        Image.fromarray(canvas).save(file, "JPEG")
        with Image.open(file) as picture:
            read_back = np.asarray(picture.convert("RGB"))
        wanted = sample["target_sha" if kind == "image_target" else "image_sha"]
        assert cases.sha(normalise(resize_canvas(read_back))) == wanted, name
        found += 1
    assert found


def test_random_checkpoints_have_the_real_names_and_shapes(golden_folder: Path, golden: dict[str, Any]) -> None:
    real = json.loads((golden_folder / "real_state_dict.json").read_text(encoding="utf-8"))["tensors"]
    wanted = {n: tuple(s) for n, s in real.items() if not n.startswith(TRAINING_ONLY)}
    ours = layout.full_layout(layout.SIZES["full"])
    assert ours == wanted
    told = golden["real_state_dict_groups"]
    for group, pattern in (
        ("llm", r"lm_head|model\.(embed|layers|norm)"),
        ("vision_tower", r"model\.vision_tower"),
        ("mm_projector", r"model\.mm_projector"),
    ):
        sizes = [int(np.prod(s)) for n, s in ours.items() if re.match(pattern, n)]
        assert {"tensors": len(sizes), "params": sum(sizes)} == told[group]


def test_vocabulary_files_are_byte_equal(golden_folder: Path, tmp_path: Path) -> None:
    write_tokenizer(tmp_path, *qwen_vocabulary())
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (golden_folder / "tiny_checkpoint" / path.name).read_bytes(), path.name
