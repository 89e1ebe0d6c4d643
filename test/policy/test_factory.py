"""From parameters to a policy, and what is refused on the way."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_checkpoint import edit_json

from reconvla_ros.config import load
from reconvla_ros.errors import Cancelled, CheckpointError, ConfigError, ContractError
from reconvla_ros.model.checkpoint import Hooks, Loading
from reconvla_ros.policy import factory
from reconvla_ros.policy.contract import FILE_NAME, Contract, to_yaml
from reconvla_ros.policy.factory import demo_folder, describe, open_policy
from reconvla_ros.policy.overlay import paint
from reconvla_ros.policy.reconvla import ReconVlaPolicy
from reconvla_ros.policy.scripted import ScriptedPolicy
from reconvla_ros.policy.settings import PolicyConfig


def test_the_shipped_parameters_are_the_defaults(root: Path) -> None:
    assert load(PolicyConfig, root / "config" / "policy.yaml", "/**/policy") == PolicyConfig()


def test_demo_checkpoint_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONVLA_HOME", str(tmp_path))
    said: list[str] = []
    policy = open_policy(PolicyConfig(device="cpu"), said.append)
    assert isinstance(policy, ReconVlaPolicy)
    about = describe(policy)
    assert about["kind"] == "random" and about["device"] == "cpu" and about["checkpoint"] == str(demo_folder(0))
    assert len(said) == 1 and demo_folder(0).is_relative_to(tmp_path)
    open_policy(PolicyConfig(device="cpu"), said.append)
    assert len(said) == 1


def test_scripted_needs_no_weights() -> None:
    policy = open_policy(PolicyConfig(policy="scripted", checkpoint="/nowhere"))
    assert isinstance(policy, ScriptedPolicy) and describe(policy)["checkpoint"] == "scripted"


def test_missing_folder_and_missing_contract(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        open_policy(PolicyConfig(checkpoint=str(tmp_path / "x"), device="cpu"))
    folder = tmp_path / "copy"
    shutil.copytree(checkpoint, folder)
    (folder / FILE_NAME).unlink()
    with pytest.raises(ContractError, match=r"contract\.yaml does not exist.*\n(.*\n)*embodiment: piper"):
        open_policy(PolicyConfig(checkpoint=str(folder), device="cpu"))


def test_gpu_that_is_not_there(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="valid here: auto, cpu"):
        open_policy(PolicyConfig(checkpoint=str(checkpoint), device="cuda"))


def test_another_embodiment_runs_in_sim_only(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(checkpoint, folder)
    (folder / FILE_NAME).write_text(to_yaml(Contract(embodiment="calvin_franka")), encoding="utf-8")
    config = PolicyConfig(checkpoint=str(folder), device="cpu")
    with pytest.raises(ContractError, match=r"'calvin_franka', this arm is 'piper'.*sim only"):
        open_policy(config)
    assert open_policy(PolicyConfig(checkpoint=str(folder), device="cpu", simulated=True))


@pytest.mark.parametrize("values", [{"radius": 0.5}, {"period": 0.0}, {"steps": 0}, {"step_dt": float("nan")}])
def test_scripted_bounds(values: dict) -> None:
    with pytest.raises(ConfigError, match="scripted policy"):
        ScriptedPolicy(**values)


def test_overlay_is_red_where_it_looks() -> None:
    attention = np.zeros((27, 27), np.float32)
    attention[2, 3] = 0.4
    picture = paint(np.full((334, 334, 3), 100, np.uint8), attention)
    y, x, _ = np.unravel_index(np.argmax(picture[..., :1].astype(int)), (334, 334, 1))
    assert abs(y - 2.5 * 334 / 27) < 7 and abs(x - 3.5 * 334 / 27) < 7
    assert (picture[200:] == 100).all()
    assert (paint(picture, np.zeros((27, 27), np.float32)) == picture).all()


def test_the_public_checkpoint_runs_in_sim_only_by_a_contract_that_was_chosen(copy: Path) -> None:
    (copy / FILE_NAME).unlink()
    edit_json(
        copy / "siglip-so400m-patch14-384" / "config.json", lambda d: d["vision_config"].update(num_attention_heads=16)
    )
    with pytest.raises(ContractError, match=r"'franka_calvin', this arm is 'piper'"):
        open_policy(PolicyConfig(checkpoint=str(copy), device="cpu", contract="calvin"))
    policy = open_policy(
        PolicyConfig(checkpoint=str(copy), device="cpu", contract="calvin", stitch="as_served", simulated=True)
    )
    assert isinstance(policy, ReconVlaPolicy)
    assert policy.contract.heights == (167, 167) and policy.contract.rate == 30.0


def test_a_contract_against_the_towers_head_count(copy: Path) -> None:
    (copy / FILE_NAME).write_text(to_yaml(Contract(vision_heads=6)), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"the contract says 6, .* says 4"):
        open_policy(PolicyConfig(checkpoint=str(copy), device="cpu"))


def test_loading_in_a_thread_can_be_called_off(checkpoint: Path) -> None:
    told: list[Loading] = []
    hooks = Hooks(report=told.append, cancel=lambda: len(told) >= 3)
    with pytest.raises(Cancelled, match="called off after 3 of"):
        open_policy(PolicyConfig(checkpoint=str(checkpoint), device="cpu"), hooks=hooks)
    assert len(told) == 3


def test_two_that_want_the_demo_at_once_make_it_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A load that is given back goes on making the checkpoint; the next load met a folder half there and failed."""
    made: list[Path] = []

    def slowly(folder: Path, size: str, seed: int) -> None:
        made.append(folder)
        time.sleep(0.2)  # long enough for the other to find no folder
        folder.mkdir()

    monkeypatch.setenv(factory.HOME_VARIABLE, str(tmp_path))
    monkeypatch.setattr(factory, "make_checkpoint", slowly)
    with ThreadPoolExecutor(2) as both:
        found = [f.result() for f in [both.submit(factory.resolve_checkpoint, "demo", 3) for _ in range(2)]]
    assert made == [factory.demo_folder(3)] and found == made * 2
