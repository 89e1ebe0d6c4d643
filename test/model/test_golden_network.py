"""Parity with the original's network: greedy tokens exact, features and logits to float rounding."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reconvla_ros.errors import TokenGateError
from reconvla_ros.model.checkpoint import TRAINING_ONLY, list_tensors
from reconvla_ros.model.decode import decode_chunk, greedy
from reconvla_ros.model.export import export
from reconvla_ros.model.images import AS_SERVED, normalise, resize_canvas, stitch
from reconvla_ros.model.model import Loaded, load_model
from reconvla_ros.model.tokens import ActionCodec
from reconvla_ros.policy.contract import choose_contract

pytestmark = pytest.mark.golden

MODES = ("fp32img", "fp16img")
LOGITS = 2e-4  # what the format's description suggests; seen: 4.5e-5
MARGINS = 5e-4
FEATURES = 1e-4  # fp32 tower and projector; seen: 2e-5
HALF = 2**-10  # a tower feature is rounded to float16: one unit in the last place, relative
ROWS = [0, 1, 27, 364, 727, 728]  # of the format's description: serve/*/proj_rows, tower_rows
MAX_NEW = 128  # the original's max_new_tokens
HEAD, TAIL = 64, 151300  # first_logits_head = ids below 64, first_logits_tail = ids from 151300 on


@pytest.fixture(scope="module")
def codec(original: Loaded) -> ActionCodec:
    return ActionCodec(original.tokenizer.base_size)


def pixels_of(case: dict[str, Any], cases: ModuleType) -> Tensor:
    canvas = stitch(cases.make(tuple(case["static"])), cases.make(tuple(case["gripper"])), AS_SERVED)
    return torch.from_numpy(normalise(resize_canvas(canvas)))


def embeds_of(case: dict[str, Any], cases: ModuleType, loaded: Loaded, mode: str) -> Tensor:
    with torch.inference_mode():
        image = loaded.model.encode_image(pixels_of(case, cases), half_image=mode == "fp16img")
        return loaded.model.embed(case["input_ids"], image)


def matches(values: Tensor, stats: dict[str, float], tolerance: float) -> None:
    """`values` has the mean, deviation (of a sample), extremes and mean size that the original had."""
    x = values.double()
    got = {"mean": x.mean(), "std": x.std(), "min": x.min(), "max": x.max(), "absmean": x.abs().mean()}
    for key, value in stats.items():
        assert float(got[key]) == pytest.approx(value, rel=1e-4, abs=tolerance), key


def test_the_network_is_the_one_the_original_loaded(golden: dict[str, Any], original: Loaded) -> None:
    told, model = golden["serve_load"], original.model
    assert list(model.lm_head.weight.shape) == told["lm_head"]
    assert list(model.decoder.embed_tokens.weight.shape) == told["embed"]
    assert str(model.dtype) == told["dtype"] and str(next(model.tower.parameters()).dtype) == told["vision_dtype"]
    assert list(model.config.eos_ids) == told["eos"]
    assert not told["has_inv"] and not told["has_pix"]


def test_only_the_training_parts_and_the_towers_end_are_left_out(golden_folder: Path, original: Loaded) -> None:
    last = f".encoder.layers.{original.model.config.vision.layers - 1}."
    outside = [n for n in original.ignored if not n.startswith(TRAINING_ONLY)]
    assert all(last in n or ".post_layernorm." in n or ".head." in n for n in outside)
    stored = list_tensors(golden_folder / "tiny_checkpoint")
    assert {n for n in stored if n.startswith(TRAINING_ONLY)} <= set(original.ignored)
    assert len(original.ignored) < len(stored)


@pytest.mark.parametrize("mode", MODES)
def test_tower_and_projector(
    mode: str, golden: dict[str, Any], vectors: dict[str, np.ndarray], cases: ModuleType, original: Loaded
) -> None:
    half = mode == "fp16img"
    for case in {c["case"]: c for c in golden["serve"]}.values():
        key, run, pixels = f"serve/{case['case']}", case["runs"][mode], pixels_of(case, cases)
        with torch.inference_mode():
            projected = original.model.encode_image(pixels, half_image=half)
            tower = original.model.tower(pixels.half().float() if half else pixels)[0]
        tower = tower.half().float() if half else tower
        assert run["tower_dtype"] == ("torch.float16" if half else "torch.float32")
        assert run["proj_dtype"] == str(projected.dtype)
        rounding = HALF if half else 0.0
        np.testing.assert_allclose(tower[ROWS], vectors[f"{key}/{mode}/tower_rows"], rtol=rounding, atol=FEATURES)
        np.testing.assert_allclose(
            projected[ROWS], vectors[f"{key}/{mode}/proj_rows"], rtol=0, atol=FEATURES + rounding
        )
        matches(tower, run["tower_stats"], FEATURES)
        matches(projected, run["proj_stats"], FEATURES)
        if not half and f"{key}/tower_full" in vectors:
            np.testing.assert_allclose(tower, vectors[f"{key}/tower_full"], rtol=0, atol=FEATURES)
            np.testing.assert_allclose(projected, vectors[f"{key}/proj_full"], rtol=0, atol=FEATURES)


def last_positions(loaded: Loaded, embeds: Tensor) -> Tensor:
    """The last position's embedding, its state after every block but the last, and after the final norm."""
    rows = [embeds[-1]]
    blocks = loaded.model.decoder.layers[:-1]
    handles = [b.register_forward_hook(lambda module, given, out: rows.append(out[-1])) for b in blocks]
    try:
        with torch.inference_mode():
            _, final = loaded.model.prefill(embeds, 0)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack([*rows, final[-1]])


def test_hidden_state_of_the_last_position_after_every_layer(
    golden: dict[str, Any], vectors: dict[str, np.ndarray], cases: ModuleType, original: Loaded
) -> None:
    compared = 0
    for name in vectors:
        found = re.fullmatch(r"serve/(\w+)/(\w+)/last_pos_hidden_per_layer", name)
        if not found:
            continue
        case = next(c for c in golden["serve"] if c["case"] == found[1] and c["double"])
        embeds = embeds_of(case, cases, original, found[2])
        np.testing.assert_allclose(last_positions(original, embeds), vectors[name], rtol=0, atol=LOGITS)
        compared += 1
    assert compared


@pytest.mark.parametrize("mode", MODES)
def test_generated_ids_and_logits(
    mode: str,
    golden: dict[str, Any],
    vectors: dict[str, np.ndarray],
    cases: ModuleType,
    original: Loaded,
    codec: ActionCodec,
) -> None:
    for case in golden["serve"]:
        embeds = embeds_of(case, cases, original, mode)
        ids, logits = greedy(original.model, embeds, MAX_NEW, original.model.config.eos_ids)
        run = case["runs"][mode]
        assert ids == run["generated_ids"] and len(ids) == run["n_generated"]
        np.testing.assert_array_equal(codec.decode(ids[:-1]), run["actions"])
        assert run["n_actions"] == len(ids) - 1
        first = logits[0]
        key = f"serve/{case['case']}/{'double' if case['double'] else 'single'}/{mode}/first_logits"
        head, tail = vectors[f"{key}_head"], vectors[f"{key}_tail"]
        np.testing.assert_allclose(first[:HEAD], head, rtol=0, atol=LOGITS)
        np.testing.assert_allclose(first[TAIL : TAIL + len(tail)], tail, rtol=0, atol=LOGITS)
        top_ids, top_values = run["first_logits_top10"]
        np.testing.assert_allclose(first[top_ids], top_values, rtol=0, atol=LOGITS)
        np.testing.assert_allclose(first.topk(len(top_ids)).values, top_values, rtol=0, atol=LOGITS)
        matches(first, run["first_logits_stats"], LOGITS)
        top = logits.topk(2).values
        margins = (top[:, 0] - top[:, 1]).numpy()
        np.testing.assert_allclose(margins, run["step_margins"][: len(ids)], rtol=0, atol=MARGINS)
        assert margins.min() == pytest.approx(run["step_margin_min"], abs=MARGINS)


@pytest.mark.parametrize("head", ["certified", "full"])
def test_chunks_behind_the_gate(
    head: str, golden: dict[str, Any], cases: ModuleType, original: Loaded, codec: ActionCodec
) -> None:
    """What the original answers with exactly a chunk is answered alike; every other answer of it is refused."""
    count, end = choose_contract("calvin").tokens, original.tokenizer.end_id
    for case in golden["serve"]:
        cache, hidden = original.model.prefill(embeds_of(case, cases, original, "fp32img"), count + 1)
        run = case["runs"]["fp32img"]
        wanted = run["generated_ids"]
        ends = wanted[-1] == end and len(wanted) == count + 1
        if not ends or any(not codec.low <= i <= codec.high for i in wanted[:count]):
            with pytest.raises(TokenGateError, match="token gate"):
                decode_chunk(original.model, cache, hidden, codec, count, head, end)
            continue
        decoded = decode_chunk(original.model, cache, hidden, codec, count, head, end)
        assert list(decoded.ids) == wanted[:count]
        assert (decoded.margin >= np.array(run["step_margins"][:count]) - MARGINS).all()


def test_other_generation_configs(
    golden: dict[str, Any], cases: ModuleType, original: Loaded, codec: ActionCodec
) -> None:
    by_name = {c["case"]: c for c in golden["serve"] if c["double"]}
    text_end = original.tokenizer.added["<|endoftext|>"]
    for case in golden["serve_alt_generation_config"]:
        penalty = re.fullmatch(r"repetition_penalty_([\d.]+)", case["config"])
        assert penalty or case["config"] == "eos_endoftext_only", f"unknown generation config {case['config']}"
        eos = original.model.config.eos_ids if penalty else (text_end,)
        embeds = embeds_of(by_name[case["case"]], cases, original, "fp16img")
        ids, _ = greedy(original.model, embeds, MAX_NEW, eos, float(penalty[1]) if penalty else 1.0)
        assert ids == case["generated_ids"], case["config"]
        np.testing.assert_array_equal(codec.decode(ids[:-1]), case["actions"])
        assert case["n_actions"] == len(ids) - 1


def test_an_export_drops_exactly_the_training_tensors_and_answers_the_same(
    golden_folder: Path, golden: dict[str, Any], cases: ModuleType, original: Loaded, tmp_path: Path
) -> None:
    folder = golden_folder / "tiny_checkpoint"
    before, out = list_tensors(folder), tmp_path / "exported"
    done = export(folder, out, shard_bytes=20_000_000)
    after = list_tensors(out)
    assert before.keys() - after.keys() == {n for n in before if n.startswith(TRAINING_ONLY)}
    assert after.keys() <= before.keys() and done.shards > 1
    assert {g.name for g in done.dropped} == {n.removesuffix(".") for n in TRAINING_ONLY}
    assert sum(g.count for g in done.dropped) == len(before) - len(after)
    again = load_model(out, torch.device("cpu"), torch.float32)
    for (name, a), (_, b) in zip(again.model.named_parameters(), original.model.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    case = golden["serve"][0]
    ids, _ = greedy(again.model, embeds_of(case, cases, again, "fp32img"), MAX_NEW, again.model.config.eos_ids)
    assert ids == case["runs"]["fp32img"]["generated_ids"]
