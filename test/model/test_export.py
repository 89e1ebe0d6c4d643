"""Export: what goes, what stays, and that the rest is complete; on a checkpoint of the project's own making."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_checkpoint import SHARD_2, edit_json

from reconvla_ros.cli.export import main, size_of, table
from reconvla_ros.errors import CheckpointError, ConfigError, SetupError
from reconvla_ros.model import folder as folders
from reconvla_ros.model.checkpoint import INDEX, SINGLE, TOWER, list_tensors
from reconvla_ros.model.export import RECONSTRUCTION_KEYS, Group, export
from reconvla_ros.model.model import Loaded, load_model
from reconvla_ros.model.random_init import TOWER_FOLDER
from reconvla_ros.policy.contract import FILE_NAME

CPU = torch.device("cpu")
EXTRA = {
    "model.mm_inv_projector.net.x_embedder.proj.weight": torch.zeros(4, 4),
    "model.pixel_decoder.pixel_decoder.encoder.conv_in.bias": torch.zeros(8),
    "model.pixel_decoder.pixel_decoder.decoder.conv_in.bias": torch.zeros(8),
}


@pytest.fixture
def trained(copy: Path) -> Path:
    """The random checkpoint as training would leave it: with a reconstruction branch and the trainer's files."""
    tensors = load_file(copy / SHARD_2)
    (copy / SHARD_2).unlink()
    save_file({**tensors, **EXTRA}, copy / SHARD_2)
    edit_json(copy / INDEX, lambda d: d["weight_map"].update(dict.fromkeys(EXTRA, SHARD_2)))
    edit_json(copy / "config.json", lambda d: d.update(recon_enable=True, **dict.fromkeys(RECONSTRUCTION_KEYS, "x")))
    (copy / "training_args.bin").write_bytes(b"pickle")
    (copy / "trainer_state.json").write_text("{}")
    return copy


def same(a: Loaded, b: Loaded) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.model.parameters(), b.model.parameters(), strict=True))


def test_the_reconstruction_branch_goes_and_everything_else_stays(
    trained: Path, loaded: Loaded, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    lines: list[str] = []
    done = export(trained, out, shard_bytes=15_000_000, say=lines.append)
    assert list_tensors(trained).keys() - list_tensors(out).keys() == EXTRA.keys()
    assert done.dropped == (Group("model.mm_inv_projector", 1, 64), Group("model.pixel_decoder", 2, 64))
    assert len(lines) == done.shards == len(list(out.glob("model-*.safetensors"))) > 1
    names = {p.name for p in out.iterdir()}
    assert {FILE_NAME, "vocab.json", "merges.txt", "added_tokens.json", "generation_config.json", TOWER_FOLDER} <= names
    assert not names & {"training_args.bin", "trainer_state.json"}
    config = json.loads((out / "config.json").read_text())
    assert not config.keys() & set(RECONSTRUCTION_KEYS)
    assert (config["recon_enable"], config["use_mm_inv_proj"]) == (False, False)
    assert same(load_model(out, CPU, torch.float32), loaded)


def test_the_result_stands_alone(trained: Path, loaded: Loaded, tmp_path: Path) -> None:
    """A tower beside the checkpoint, and only there, comes along: heads and weights."""
    shutil.move(trained / TOWER_FOLDER, trained.parent / TOWER_FOLDER)
    tensors = load_file(trained / SHARD_2)
    tower = [n for n in tensors if n.startswith(TOWER)]
    (trained / SHARD_2).unlink()
    save_file({n: t for n, t in tensors.items() if n not in tower}, trained / SHARD_2)
    edit_json(trained / INDEX, lambda d: [d["weight_map"].pop(n) for n in tower])
    out = tmp_path / "elsewhere" / "out"
    export(trained, out)
    shutil.rmtree(trained.parent / TOWER_FOLDER)
    again = load_model(out, CPU, torch.float32)
    assert again.model.config.vision.heads == loaded.model.config.vision.heads and same(again, loaded)
    inside = load_file(out / TOWER_FOLDER / SINGLE)
    assert {f"{TOWER}{n}" for n in inside} == set(tower)


def test_a_tower_that_nobody_described_is_described(trained: Path, loaded: Loaded, tmp_path: Path) -> None:
    shutil.rmtree(trained / TOWER_FOLDER)
    export(trained, tmp_path / "out", heads=4)
    assert same(load_model(tmp_path / "out", CPU, torch.float32), loaded)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_another_type(dtype: torch.dtype, trained: Path, loaded: Loaded, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = export(trained, out, dtype)
    assert {t.dtype for t in list_tensors(out).values()} == {"F16" if dtype == torch.float16 else "F32"}
    assert done.size == sum(t.size for t in list_tensors(out).values())
    assert json.loads((out / "config.json").read_text())["torch_dtype"] == str(dtype)[6:]
    wanted = [p.to(dtype).float() for p in loaded.model.parameters()]
    again = load_model(out, CPU, torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), wanted, strict=True))


def test_nothing_is_overwritten_and_nothing_is_left_behind(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").write_text("x")
    with pytest.raises(ConfigError, match="not an empty folder"):
        export(trained, full)
    assert [p.name for p in full.iterdir()] == ["mine"]
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    with pytest.raises(SetupError, match=r"out needs 0\.\d+ GB of disk, 0\.00 GB are free"):
        export(trained, place / "out")
    assert list(place.iterdir()) == []


def test_a_broken_checkpoint_is_not_exported(trained: Path, tmp_path: Path) -> None:
    data = (trained / SHARD_2).read_bytes()
    (trained / SHARD_2).write_bytes(data[:-1])
    with pytest.raises(CheckpointError, match=f"{SHARD_2}.*cut short"):
        export(trained, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_that_are_not_numbers_are_not_exported(trained: Path, tmp_path: Path) -> None:
    name = f"{TOWER}vision_model.post_layernorm.weight"
    tensors = load_file(trained / SHARD_2)
    tensors[name][3] = float("nan")
    (trained / SHARD_2).unlink()
    save_file(tensors, trained / SHARD_2)
    with pytest.raises(CheckpointError, match=r"post_layernorm\.weight must be finite"):
        export(trained, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("text", "size"), [("5GB", 5e9), ("200 mb", 2e8), ("1.5GB", 1.5e9), ("7", 7), ("3KB", 3000)])
def test_sizes(text: str, size: float) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "5PB", "5GiB"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="must be a positive number"):
        size_of(text)


def test_the_command_says_what_went(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (trained / FILE_NAME).unlink()
    assert main([str(trained), str(tmp_path / "out"), "--dtype", "fp16", "--max-shard-size", "15MB"]) == 0
    said = capsys.readouterr().out
    assert "dropped: 3 tensors, 0.0 MB" in said and "model.pixel_decoder " in said
    assert "kept: " in said and "as fp16" not in said and "no contract.yaml went along" in said
    assert {t.dtype for t in list_tensors(tmp_path / "out").values()} == {"F16"}
    with pytest.raises(ConfigError, match=r"dtype: 'half' \("):
        main([str(trained), str(tmp_path / "other"), "--dtype", "half"])


def test_the_table_adds_up() -> None:
    text = table("kept", (Group("model.layers", 2, 3_000_000), Group("lm_head", 1, 500_000)))
    assert text.splitlines()[0] == "kept: 3 tensors, 3.5 MB"
    assert "model.layers" in text and "2 tensors" in text
