"""ReconVLA samples: the original's text, the model's own picture, actions that lead back to where the TCP was sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import made_episode as made
import numpy as np
import pytest
from PIL import Image

from reconvla_ros.dataset.bag import BagSource
from reconvla_ros.dataset.convert import convert
from reconvla_ros.dataset.frame import Frame, Request
from reconvla_ros.dataset.options import Options, Place
from reconvla_ros.dataset.samples import conversation, figures, with_statistics
from reconvla_ros.errors import DatasetError
from reconvla_ros.model.images import stitch
from reconvla_ros.model.tokens import ActionCodec
from reconvla_ros.policy.actions import to_targets
from reconvla_ros.policy.contract import Contract, load_contract

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden" / "golden.json"


@pytest.mark.golden
@pytest.mark.skipif(not GOLDEN.is_file(), reason="no golden vectors beside the checkout")
def test_the_text_is_the_originals() -> None:
    for item in json.loads(GOLDEN.read_text())["calvin_json_items"]:
        human, gpt = (turn["value"] for turn in item["conversations"])
        instruction = human.split("\n")[0]
        state, actions = ([float(v) for v in text.split()] for text in (human.split("\n")[-1], gpt))
        assert conversation(instruction, state, actions) == item["conversations"]


def converted(tmp_path: Path, gaze: dict[str, Any] | None = None, **options: Any) -> tuple[Path, list[dict[str, Any]]]:
    store, name = made.write(tmp_path / "episodes")
    if gaze is not None:
        (store.root / name / "gaze.json").write_text(json.dumps(gaze))
    out = tmp_path / "out"
    convert(Place("bag", store.root), out, Options(**options))
    return out, json.loads((out / "samples.json").read_text())


def frames(tmp_path: Path) -> dict[int, Frame]:
    source = BagSource(tmp_path / "episodes")
    found = source.frames(source.infos()[0].name, Request())
    return {f.tick: f for f in found if isinstance(f, Frame)}


def test_actions_lead_back_to_where_the_tcp_was_sent(tmp_path: Path) -> None:
    _, samples = converted(tmp_path)
    known = frames(tmp_path)
    assert len(samples) == len(known) > 10
    for sample in samples:
        frame = known[sample["frame"]]
        positions, quaternions, gripper = to_targets(sample["actions"], frame.tcp, Contract())
        np.testing.assert_allclose(positions, frame.positions, atol=1e-8)
        np.testing.assert_allclose(np.abs((quaternions * frame.quaternions).sum(axis=1)), 1.0, atol=1e-9)
        assert (gripper > 0.035).tolist() == frame.opens.tolist()
        assert sample["conversations"][0]["value"].split("\n")[-1] == " ".join(map(str, sample["state"]))
        assert sample["conversations"][1]["value"] == " ".join(str(v) for row in sample["actions"] for v in row)


def test_ids_are_those_of_the_contract_beside_them(tmp_path: Path) -> None:
    out, samples = converted(tmp_path)
    contract = load_contract(out)
    codec = ActionCodec(contract.vocab_base, contract.bins)
    states = np.array([sample["state"] for sample in samples])
    np.testing.assert_allclose(contract.state_mean, states.mean(axis=0), atol=1e-7)
    assert contract.state_std[0] == pytest.approx(states[:, 0].std(), abs=1e-7)
    assert contract.state_std[7] == 1.0  # joint1 never moved
    for sample in samples:
        assert len(sample["action_ids"]) == 35
        codec.gate(sample["action_ids"], 35)
        np.testing.assert_allclose(codec.decode(sample["action_ids"]), np.ravel(sample["actions"]), atol=0.0079)
        assert sample["state_ids"] == codec.encode_state(
            sample["state"], contract.state_mean, contract.state_std).tolist()  # fmt: skip


def test_a_contract_that_is_given_keeps_its_statistics(tmp_path: Path) -> None:
    from reconvla_ros.policy.contract import to_yaml

    given = Contract(rate=5.0, chunk_steps=3)
    out, samples = converted(tmp_path, contract=to_yaml(given))
    assert load_contract(out) == given
    assert np.shape(samples[0]["actions"]) == (3, 7)
    assert len(samples) < 12


def test_the_picture_is_what_the_model_is_shown(tmp_path: Path) -> None:
    out, samples = converted(tmp_path, quality=0)
    known = frames(tmp_path)
    for sample in samples[::5]:
        frame = known[sample["frame"]]
        assert frame.wrist is not None
        with Image.open(out / sample["image"]) as picture:
            np.testing.assert_array_equal(np.asarray(picture), stitch(frame.base, frame.wrist, (173, 161)))


def test_a_gaze_region_becomes_the_target(tmp_path: Path) -> None:
    entries = [{"stamp_ns": made.T0 + k * 100_000_000, "box": [2, 1, 6, 5] if k % 2 else None} for k in range(20)]
    gaze = {"version": 1, "camera": "camera_base", "width": 8, "height": 6, "frames": entries}
    out, samples = converted(tmp_path, gaze, quality=0)
    with_target = [s for s in samples if "image_target" in s]
    assert {s["gaze"] is None for s in samples if "image_target" not in s} == {True}
    assert len(with_target) == json.loads((out / "report.json").read_text())["frames"] - json.loads(
        (out / "report.json").read_text())["without_gaze"] > 5  # fmt: skip
    frame = frames(tmp_path)[with_target[0]["frame"]]
    assert frame.wrist is not None
    with Image.open(out / with_target[0]["image_target"]) as picture:
        np.testing.assert_array_equal(np.asarray(picture), stitch(frame.base[1:5, 2:6], frame.wrist, (173, 161)))


def test_without_gaze_no_target_is_made_up(tmp_path: Path) -> None:
    out, samples = converted(tmp_path)
    assert not (out / "targets").exists()
    assert not any("image_target" in s for s in samples)
    assert json.loads((out / "report.json").read_text())["without_gaze"] == len(samples)


def test_a_contract_with_joints_needs_joints(tmp_path: Path) -> None:
    import dataclasses

    converted(tmp_path)
    frame = next(iter(frames(tmp_path).values()))
    with pytest.raises(DatasetError, match="this data has no joints"):
        figures(dataclasses.replace(frame, joints=None), Contract())


def test_a_slot_that_hardly_moves_is_not_blown_up() -> None:
    states = np.zeros((10, 15))
    states[:, 1] = np.linspace(0, 1e-4, 10)
    states[:, 2] = np.linspace(0, 1, 10)
    std = with_statistics(Contract(), states).state_std
    assert std[1] == 1.0
    assert std[2] == pytest.approx(states[:, 2].std(), abs=1e-8)
