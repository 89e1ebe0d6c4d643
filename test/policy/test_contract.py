"""A contract is complete, checked and refuses what it does not know."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from reconvla_ros.errors import ContractError
from reconvla_ros.policy.contract import FILE_NAME, Contract, from_mapping, load_contract, template, to_yaml
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
