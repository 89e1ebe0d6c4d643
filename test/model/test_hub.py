"""Checkpoints of the hub, with a hub of our own making."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from reconvla_ros.errors import CheckpointError, ContractError
from reconvla_ros.model.hub import fetch, is_hub_id
from reconvla_ros.policy.contract import FILE_NAME
from reconvla_ros.policy.factory import open_policy
from reconvla_ros.policy.reconvla import ReconVlaPolicy
from reconvla_ros.policy.settings import PolicyConfig


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, copy: Path) -> dict[str, Any]:
    """A hub that has `some/one`, without a contract, and remembers what it was asked for."""
    asked: dict[str, Any] = {}
    (copy / FILE_NAME).unlink()

    def snapshot_download(repo_id: str, **options: Any) -> str:
        asked.update(options, repo_id=repo_id)
        if repo_id != "some/one":
            raise LocalEntryNotFoundError("no connection and nothing in the cache")
        return str(copy)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


@pytest.mark.parametrize("name", ["zzyzyzy/ReconVLA", "a/b@main", "a-1/b.c_d@refs/pr/1", "a/b@0123abcd"])
def test_ids_of_the_hub(name: str) -> None:
    assert is_hub_id(name)


@pytest.mark.parametrize("name", ["demo", "/data/x", "./a/b", "../a/b", "~/a/b", "a/b/c", "a/", "/a", "", "a/b@"])
def test_everything_else_is_a_folder(name: str) -> None:
    assert not is_hub_id(name)


def test_a_folder_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_hub_id("a/b")
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert not is_hub_id("a/b")


def test_only_safe_files_of_the_revision_are_asked_for(hub: dict[str, Any], copy: Path) -> None:
    said: list[str] = []
    assert fetch("some/one@v2", said.append) == copy
    assert hub["repo_id"] == "some/one" and hub["revision"] == "v2"
    assert set(hub["allow_patterns"]) == {"*.safetensors", "*.json", "*.txt", "contract.yaml"}
    assert len(said) == 1 and "some/one@v2" in said[0]
    fetch("some/one")
    assert hub["revision"] is None


def test_no_network_says_what_to_do(hub: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=r"other/one cannot be had .*LocalEntryNotFoundError.*give the folder"):
        fetch("other/one")
    with pytest.raises(CheckpointError, match="no id of the hub"):
        fetch("just-a-name")


def test_a_checkpoint_of_the_hub_needs_a_contract_that_is_chosen(
    hub: dict[str, Any], checkpoint: Path, tmp_path: Path
) -> None:
    config = PolicyConfig(checkpoint="some/one", device="cpu")
    with pytest.raises(ContractError, match=r"does not exist.*by the parameter 'contract' \(calvin\)"):
        open_policy(config)
    shutil.copyfile(checkpoint / FILE_NAME, tmp_path / "mine.yaml")
    chosen = PolicyConfig(checkpoint="some/one", device="cpu", contract=str(tmp_path / "mine.yaml"))
    assert isinstance(open_policy(chosen), ReconVlaPolicy)
