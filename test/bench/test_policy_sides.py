"""The benches of the policy on a tiny network: that each side does its work, and that what would flatter us is seen."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch

from reconvla_ros.bench import (
    policy_async,
    policy_bench,
    policy_chunk,
    policy_decode,
    policy_draft,
    policy_fidelity,
    policy_profile,
    policy_workload,
)
from reconvla_ros.bench.policy_bench import Settings
from reconvla_ros.bench.policy_timing import Bound
from reconvla_ros.bench.policy_workload import TOKENS, Workload, workload
from reconvla_ros.model.decode import greedy
from reconvla_ros.model.prompt import IMAGE_ID

SETTINGS = Settings(rounds=3, size="tiny", device="cpu", dtype="float32")


def silent(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def load() -> Workload:
    return workload(SETTINGS)


def test_the_network_answers_actions_that_differ_and_inputs_are_the_size_they_say(load: Workload) -> None:
    answers = [load.engine().answer(i.ids, load.image(i)).ids for i in load.inputs]
    assert len({*answers}) == len(load.inputs)  # the answer depends on what is asked
    assert all(len(set(ids)) > 5 for ids in answers)
    assert all(load.codec.low <= i <= load.codec.high for ids in answers for i in ids)
    for inputs in load.inputs:
        assert len(inputs.ids) - 1 + load.shape.vision.tokens == load.shape.prompt
        assert inputs.ids.count(IMAGE_ID) == 1 and inputs.base.shape == (480, 640, 3)


def test_weights_are_the_same_for_the_same_seed_and_every_size_is_complete(load: Workload) -> None:
    again = policy_workload.random_model(load.shape, 0, torch.device("cpu"), torch.float32)
    other = policy_workload.random_model(load.shape, 1, torch.device("cpu"), torch.float32)
    pairs = list(zip(load.model.parameters(), again.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert not all(torch.equal(a, c) for a, _, c in pairs)
    assert set(policy_workload.SHAPES) == set(policy_bench.SIZES)
    small = policy_workload.SHAPES["small"]
    assert small.vision.tokens == 81 and policy_workload.SHAPES["full"].vision.tokens == 729


def test_both_sides_of_b1_give_the_same_tokens(load: Workload) -> None:
    result = policy_chunk.chunk(SETTINGS, silent)
    assert set(result["parts"]) == {"a"}  # in float32 the race at equal dtype is the same race
    assert result["parts"]["a"]["tokens_equal"] > 0.9  # the image is rounded to float16 on one side only
    assert result["ours_ms"] > 0 and result["other_ms"] > 0 and result["rounds"] == 3


def test_b1_has_a_race_at_equal_dtype_where_ours_is_not_float32() -> None:
    settings = Settings(rounds=1, size="tiny", device="cpu", dtype="bfloat16")
    result = policy_chunk.chunk(settings, silent)
    assert set(result["parts"]) == {"a", "b"}
    assert "bfloat16" in result["parts"]["b"]["other"] and "float32" in result["parts"]["a"]["other"]


def test_agreement_counts_tokens_of_shared_inputs_only() -> None:
    assert policy_chunk.agreement({0: [1, 2], 1: [3, 4]}, {0: [1, 9], 2: [5, 5]}) == 0.5


def test_a_step_reads_its_layers_rows_past_and_its_share_of_the_certificate(load: Workload) -> None:
    c = load.shape.language
    layer = c.hidden * (2 * c.hidden + 2 * c.kv_heads * c.head_dim + 3 * c.intermediate)
    layer += c.hidden + 2 * c.kv_heads * c.head_dim + 2 * c.hidden  # biases and norms
    past = 2 * c.layers * c.kv_heads * c.head_dim * (load.shape.prompt + 17)
    wanted = 4 * (c.layers * layer + c.hidden + 256 * c.hidden + past + c.vocab_rows * c.hidden / 34)
    assert policy_decode.step_bytes(load) == pytest.approx(wanted, rel=1e-6)


def test_the_weights_of_the_small_size_lie_beyond_the_cache() -> None:
    with torch.device("meta"):
        shape = policy_workload.SHAPES["small"]
        model = policy_workload.ReconVla(policy_workload.ModelConfig(shape.language, shape.vision))
    assert policy_workload.weight_bytes(model.decoder.layers) >= 4 * 32e6


@pytest.mark.parametrize(
    "measure",
    [policy_decode.prefill_efficiency, policy_decode.verify_cost, policy_decode.head_cost],
    ids=["B3", "B4a", "B6"],
)
def test_decode_and_prefill_are_measured_beside_the_bare_thing(measure: Any, load: Workload) -> None:
    result = measure(SETTINGS, silent)
    assert result["ratio"] > 0 and result["rounds"] == 3 and result["other"]


def test_b2_says_what_was_read_and_how_fast(load: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_decode, "READ_BYTES", 4_000_000)
    result = policy_decode.decode_efficiency(SETTINGS, silent)
    assert result["memory_gb_s"] > 0.1
    reached = result["step_bytes"] / (result["ours_ms"] / 1e3) / 1e9
    assert result["reached_gb_s"] == pytest.approx(reached, rel=0.02, abs=0.01)


def test_bare_products_are_those_of_every_layer(load: Workload) -> None:
    assert len(policy_decode.products(load)) == 7 * load.shape.language.layers


def test_an_oracle_is_right_as_often_as_it_says_and_wrong_ids_are_actions() -> None:
    answer, random = list(range(100, 356)) * 40, np.random.default_rng(0)
    assert policy_draft.oracle(answer, 1.0, 100, 355, random) == answer
    none = policy_draft.oracle(answer, 0.0, 100, 355, random)
    assert not any(a == b for a, b in zip(answer, none, strict=True)) and set(none) <= set(range(100, 356))
    half = policy_draft.oracle(answer, 0.5, 100, 355, random)
    assert np.mean([a == b for a, b in zip(answer, half, strict=True)]) == pytest.approx(0.5, abs=0.03)


def test_drafts_change_no_answer_and_fewer_of_them_right_mean_more_passes(load: Workload) -> None:
    result = policy_draft.draft_curve(SETTINGS, silent)
    assert result["answers_changed"] == 0
    passes = [result["parts"][name]["passes"] for name in ("p=1", "p=0.9", "p=0.5", "p=0")]
    assert passes == sorted(passes) and result["limit"] > 1.0


def test_a_draft_that_changes_the_answer_is_a_failure(load: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_draft, "bounds", lambda gpu: {})
    drafts = policy_draft.Drafts(load, 0)
    drafts.answers[0] = [load.codec.low] * TOKENS
    drafts.with_draft(0.5)(0)
    assert drafts.wrong == 1


def test_in_float32_every_mechanism_gives_the_reference_tokens(load: Workload) -> None:
    result = policy_fidelity.fidelity(SETTINGS, silent)
    assert result["ratio"] == 1.0 and result["kept"] is True
    assert len(result["parts"]) == 2 * 3 + 2
    assert all(part["free_running"] == 1.0 and part["refused"] == 0 for part in result["parts"].values())
    assert result["tokens"] == 3 * TOKENS or result["worst"].startswith("prefix")


def test_bfloat16_is_compared_after_the_reference_tokens_and_misses_are_named() -> None:
    settings = Settings(rounds=1, size="tiny", device="cpu", dtype="bfloat16")
    result = policy_fidelity.fidelity(settings, silent)
    part = result["parts"]["certified head, draft none"]
    assert part["tokens"] == TOKENS  # all places, whatever was missed
    assert len(part["missed_margins"]) == round((1.0 - part["ratio"]) * part["tokens"])
    assert part["ratio"] > 0.8


def test_a_wrong_token_is_seen_and_excused_only_near_a_tie(load: Workload) -> None:
    inputs = load.inputs[0]
    truth = policy_fidelity.reference(load.model, inputs, load)
    ids, logits = greedy(load.model, load.model.embed(inputs.ids, load.image(inputs)), TOKENS)
    assert list(truth.ids) == ids
    top = logits.topk(2).values
    assert truth.margin[3] == pytest.approx(float(top[3, 0] - top[3, 1]))
    for margin, kept in ((0.05, True), (0.5, False)):
        bent = policy_fidelity.Reference(
            (*truth.ids[:34], truth.ids[34] - 1 if truth.ids[34] > load.codec.low else truth.ids[34] + 1),
            (*truth.margin[:34], margin),
        )
        count = policy_fidelity.Count()
        policy_fidelity.follow(load.engine(), inputs, load, bent, (), count)
        assert (count.equal, count.places, count.misses) == (34, 35, [margin])
        assert count.result(Bound(">=", 0.9))["kept"] is kept
        assert count.result(Bound("==", 1.0))["kept"] is False


def test_a_refused_answer_counts_as_missed(load: Workload) -> None:
    truth = policy_fidelity.Reference((0, *range(34)), (1.0,) * 35)  # word ids as prefix: the gate refuses
    count = policy_fidelity.Count()
    policy_fidelity.follow(load.engine(), load.inputs[0], load, truth, (), count)
    assert count.refused == 1 and count.places == TOKENS
    assert count.result(Bound(">=", 0.0))["kept"] is False


def test_while_the_arm_moves_more_steps_are_executed(load: Workload) -> None:
    result = policy_async.gain(Settings(rounds=1, size="tiny", device="cpu", dtype="float32"), silent)
    assert set(result["parts"]) == {"newest chunk", "aligned"}
    assert result["limit"] == 2.0 and result["ratio"] > 1.0
    assert not [t for t in threading.enumerate() if t.name == "policy"]  # the worker is gone


def test_an_inbox_keeps_the_newest_and_gives_up_in_time() -> None:
    inbox, policy_load = policy_async.Inbox(), workload(SETTINGS)
    policy = policy_async.NetworkPolicy(policy_load, 0.1)
    first, second = (policy.infer(policy_async.observe(k, "go", "t")) for k in (1, 2))
    inbox.put(first)
    inbox.put(second)
    assert inbox.take(0.1) is second and inbox.replaced == 1
    with pytest.raises(TimeoutError):
        inbox.take(0.01)


def test_a_profile_names_every_stage_beside_its_floor(load: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_decode, "READ_BYTES", 4_000_000)
    result = policy_profile.profile(SETTINGS, silent)
    assert list(result["stages_ms"]) == ["preprocess", "vision", "prefill", "decode"]
    for name, times in result["stages_ms"].items():
        assert times["p50"] > 0 and (name == "preprocess") == (times["floor"] is None)
    assert result["ours_ms"] == pytest.approx(result["parts"]["p50 [ms]"]["ratio"])
    assert "kept" not in result  # the bounds are those of a GPU


def test_floors_of_the_full_size_are_those_of_the_roofline() -> None:
    """docs: vision 642 + 24.7 GFLOP, prefill 10.57 TFLOP, a step 13.1 GB in bfloat16 with the rows of the action ids."""
    shape = policy_workload.SHAPES["full"]
    with torch.device("meta"):
        model = policy_workload.ReconVla(policy_workload.ModelConfig(shape.language, shape.vision)).bfloat16()
    codec = policy_workload.ActionCodec(shape.language.vocab_rows - 3)
    load = Workload(model, codec, shape, ())
    assert policy_profile.vision_work(load) == pytest.approx(667e9, rel=0.01)
    found = policy_profile.floors(load, rate=790e12, bandwidth=4.3e12)
    assert found["prefill"] == pytest.approx(13.4e-3, rel=0.01)
    certificate = model.lm_head.weight.numel() * 2
    assert policy_decode.step_bytes(load) - certificate / 34 == pytest.approx(13.10e9, rel=0.005)
    assert found["decode"] == pytest.approx(34 * 3.05e-3, rel=0.02)
