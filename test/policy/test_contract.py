"""A contract is complete, checked and refuses what it does not know."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import yaml

from reconvla_ros.errors import ContractError
from reconvla_ros.model.model import Loaded
from reconvla_ros.policy.contract import (
    FILE_NAME,
    Contract,
    choose_contract,
    from_mapping,
    load_contract,
    shipped,
    template,
    to_yaml,
)
from reconvla_ros.policy.reconvla import ReconVlaPolicy


def test_defaults_are_the_piper_of_the_design() -> None:
    c = Contract()
    assert (c.embodiment, c.chunk_steps, c.action_form, c.frame, c.rate) == ("piper", 5, "relative", "base_link", 10.0)
    assert (c.xyz_scale, c.rotation_scale, c.rotation_form) == (0.02, 0.05, "extrinsic_xyz")
    assert c.heights == (173, 161) and c.tokens == 35 and len(c.state_slots) == 15
    assert c.state_slots[-2:] == ("zero", "gripper_action")


def test_yaml_round_trip_and_digest() -> None:
    c = Contract(checkpoint_kind="trained", rate=5.0)
    again = from_mapping(yaml.safe_load(to_yaml(c)))
    assert again == c and again.digest == c.digest and len(c.digest) == 12
    assert c.digest != Contract().digest


def test_missing_contract_prints_a_template_that_loads(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="does not exist") as caught:
        load_contract(tmp_path)
    assert template() in str(caught.value)
    (tmp_path / FILE_NAME).write_text(template(), encoding="utf-8")
    assert load_contract(tmp_path) == Contract()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ratee": 5.0}, r"unknown parameter contract.yaml.'ratee' \(did you mean 'rate'"),
        ({"rate": "fast"}, "rate: must be a number"),
        ({"rate": float("nan")}, "rate: must be finite"),
        ({"xyz_scale": 5.0}, r"xyz_scale: must be in 0.0001..0.2 m, got 5"),
        ({"action_form": "delta"}, r"action_form: 'delta' \(.*valid: relative, absolute"),
        ({"frame": "world"}, "frame: 'world'"),
        ({"state_mean": [0.0]}, "state_mean must have 15 entries"),
        ({"state_std": [0.0] * 15}, "state_std must be positive"),
        ({"state_slots": ["tcp_q"] * 15}, "state_slots 'tcp_q'"),
        ({"stitch_base": 180}, r"stitch_base \+ stitch_wrist must be 334 px, got 180 \+ 161"),
        ({"gripper_sign": 0}, "gripper_sign must be 1 or -1"),
        ({"gripper_open": 0.0}, "gripper_open 0.0 m must exceed"),
        ({"absolute_low": [2.0] * 6}, "absolute_low must be below"),
        ({"version": 2}, "version: must be in 1..1"),
    ],
)
def test_what_is_refused(change: dict, said: str) -> None:
    with pytest.raises(ContractError, match=said):
        from_mapping(change)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("vocab_base: 151643", r"contradicts the model: vocab_base is 150000, the tokenizer says 151643"),
        ("splice_id: 35560", r"contradicts the model: splice_id is 150000, the tokenizer says 35560"),
    ],
)
def test_contract_that_contradicts_the_model(checkpoint: Path, tmp_path: Path, line: str, said: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(checkpoint, folder)
    text = (folder / FILE_NAME).read_text(encoding="utf-8")
    (folder / FILE_NAME).write_text(text.replace(line, f"{line.split(':')[0]}: 150000"), encoding="utf-8")
    with pytest.raises(ContractError, match=said):
        ReconVlaPolicy.from_checkpoint(folder, "cpu")


def test_random_checkpoints_say_so(checkpoint: Path) -> None:
    assert load_contract(checkpoint).checkpoint_kind == "random"


def test_not_yaml(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("a: [1", encoding="utf-8")
    with pytest.raises(ContractError, match="cannot be read"):
        load_contract(tmp_path)


def test_the_shipped_contract_of_calvin() -> None:
    c = choose_contract("calvin")
    assert shipped() == ("calvin",)
    assert (c.embodiment, c.action_form, c.frame, c.rate) == ("franka_calvin", "relative", "world", 30.0)
    assert (c.xyz_scale, c.rotation_scale, c.gripper_sign) == (0.02, 0.05, 1)
    assert c.tokens == 35 and c.heights == (173, 161) and c.vision_heads == 16
    assert len(c.state_slots) == len(c.state_mean) == len(c.state_std) == 15
    assert c.state_slots[7:14] == tuple(f"joint{i}" for i in range(1, 8))


def test_stitch_heights_are_selectable() -> None:
    c = Contract()
    assert c.stitched("contract") is c
    assert c.stitched("as_served").heights == (167, 167) and c.stitched("as_trained").heights == (173, 161)
    assert c.stitched("as_served").digest != c.digest
    with pytest.raises(ContractError, match=r"stitch: 'served' \(.*valid: contract, as_trained, as_served"):
        c.stitched("served")


def test_a_contract_is_chosen_by_name_or_by_file_and_only_when_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"does not exist.*by the parameter 'contract' \(calvin\)"):
        load_contract(tmp_path)
    assert load_contract(tmp_path, "calvin").embodiment == "franka_calvin"
    (tmp_path / "mine.yaml").write_text(to_yaml(Contract(rate=5.0)), encoding="utf-8")
    assert load_contract(tmp_path, str(tmp_path / "mine.yaml")).rate == 5.0
    with pytest.raises(ContractError, match=r"'calvon' \(did you mean 'calvin'.*path of a file"):
        load_contract(tmp_path, "calvon")


def test_a_choice_against_the_contract_beside_the_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(to_yaml(Contract(rate=5.0)), encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(to_yaml(Contract(rate=6.0)), encoding="utf-8")
    with pytest.raises(ContractError, match=r"mine\.yaml' was chosen, but .*contract\.yaml says otherwise about rate;"):
        load_contract(tmp_path, str(tmp_path / "mine.yaml"))
    (tmp_path / "mine.yaml").write_text(to_yaml(Contract(rate=5.0)), encoding="utf-8")
    assert load_contract(tmp_path, str(tmp_path / "mine.yaml")).rate == 5.0


def test_another_arms_frame_is_another_arms() -> None:
    assert from_mapping({"embodiment": "franka_calvin", "frame": "world"}).frame == "world"
    with pytest.raises(ContractError, match=r"frame: 'world' is another arm's; a piper has 'base_link'"):
        from_mapping({"frame": "world"})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bins": 4096, "splice_id": 150000}, "splice_id is 150000, the tokenizer says 35560"),
        ({"vocab_base": 152000}, "vocab_base is 152000, the tokenizer says 151643"),
    ],
)
def test_tokenizer_facts_that_contradict(change: dict, said: str, loaded: Loaded) -> None:
    with pytest.raises(ContractError, match=said):
        dataclasses.replace(Contract(), **change).check_tokenizer(loaded.tokenizer)


def test_bins_that_reach_the_splice_id_or_do_not_fit() -> None:
    """A small tokenizer whose ' ASSISTANT' is 900 of 1000: 256 bins would make it an action."""

    class Small:
        base_size, splice_id = 1000, 900

    Contract(vocab_base=1000, splice_id=900, bins=64).check_tokenizer(Small())  # type: ignore[arg-type]
    with pytest.raises(ContractError, match=r"splice_id 900 lies among the action ids 744\.\.999 of 256 bins"):
        Contract(vocab_base=1000, splice_id=900).check_tokenizer(Small())  # type: ignore[arg-type]
    with pytest.raises(ContractError, match="1000 bins do not fit below id 1000"):
        Contract(vocab_base=1000, splice_id=900, bins=1000).check_tokenizer(Small())  # type: ignore[arg-type]


def test_a_contract_that_contradicts_the_network(loaded: Loaded) -> None:
    config = loaded.model.config
    Contract(vision_heads=config.vision.heads).check_model(config)
    with pytest.raises(ContractError, match=r"vision_heads is 16, the tower has 4"):
        Contract(vision_heads=16).check_model(config)
    with pytest.raises(ContractError, match=r"vocab_base is 160000, the tables have 151646 rows"):
        Contract(vocab_base=160000).check_model(config)
