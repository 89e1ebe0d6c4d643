"""Every way a checkpoint folder can be wrong is named before memory is spent; a right one loads whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_checkpoint import SHARD_1, SHARD_2, edit_json, rewrite

from reconvla_ros.errors import CheckpointError, ConfigError
from reconvla_ros.model.checkpoint import INDEX, list_tensors
from reconvla_ros.model.model import Loaded, load_model, pick_device, pick_dtype
from reconvla_ros.model.random_init import TOWER_FOLDER
from reconvla_ros.model.safetensor import Reader, Stored, read_header

CPU = torch.device("cpu")
FIRST = "model.vision_tower.vision_tower.vision_model.encoder.layers.0"


def edit_shard(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the tensors of the second shard and the index with them."""
    before = load_file(folder / SHARD_2)
    after = dict(before)
    change(after)
    (folder / SHARD_2).unlink()
    save_file(after, folder / SHARD_2)

    def index(data: dict) -> None:
        for name in before.keys() - after.keys():
            del data["weight_map"][name]
        data["weight_map"] |= dict.fromkeys(after, SHARD_2)

    edit_json(folder / INDEX, index)


def load(folder: Path, heads: int = 0) -> Loaded:
    return load_model(folder, CPU, torch.float32, heads)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"folder .*nowhere does not exist.*make-checkpoint"):
        load(tmp_path / "nowhere")


def test_wrong_layout_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(CheckpointError, match=r"neither model.safetensors nor .*notes.txt"):
        load(tmp_path)


def test_pickled_weights_are_refused_and_never_opened(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(CheckpointError, match=r"pickled weights \(pytorch_model.bin\)"):
        load(tmp_path)


def test_trainer_pickles_beside_safetensors_are_ignored(copy: Path) -> None:
    (copy / "training_args.bin").write_bytes(b"not a pickle")
    assert list_tensors(copy)


@pytest.mark.parametrize("keep", [4, 100, -1])
def test_truncated_shard(copy: Path, keep: int) -> None:
    data = (copy / SHARD_2).read_bytes()
    (copy / SHARD_2).unlink()
    (copy / SHARD_2).write_bytes(data[:keep])
    with pytest.raises(CheckpointError, match=rf"{SHARD_2}.*cut short"):
        load(copy)


def test_missing_shard(copy: Path) -> None:
    (copy / SHARD_1).unlink()
    with pytest.raises(CheckpointError, match=rf"{SHARD_1}: shard is missing"):
        load(copy)


def test_index_that_leaves_the_folder(copy: Path) -> None:
    edit_json(copy / INDEX, lambda d: d["weight_map"].update({"lm_head.weight": "../x.safetensors"}))
    with pytest.raises(CheckpointError, match="plain file names"):
        load(copy)


def test_missing_extra_and_misshaped_tensors_are_all_named(copy: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        del tensors[f"{FIRST}.layer_norm1.weight"]
        tensors["model.norm.bias"] = torch.zeros(64)
        tensors["model.mm_projector.0.weight"] = torch.zeros(64, 47)

    edit_shard(copy, change)
    with pytest.raises(CheckpointError) as caught:
        load(copy)
    text = str(caught.value)
    assert f"missing: {FIRST}.layer_norm1.weight".replace("vision_model.", "") in text
    assert "unexpected: model.norm.bias" in text
    assert "wrong shape: model.mm_projector.0.weight [64, 47] (expected [64, 48])" in text


def test_wrong_dtype(copy: Path) -> None:
    edit_shard(copy, lambda t: t.update({"model.norm.weight": torch.zeros(64, dtype=torch.int32)}))
    with pytest.raises(CheckpointError, match=r"wrong dtype: model\.norm\.weight I32"):
        load(copy)


def test_training_only_tensors_are_listed_and_never_read(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"model.pixel_decoder.pixel_decoder.x": torch.zeros(3), "model.mm_inv_projector.net.y": torch.zeros(3)}
    edit_shard(copy, lambda t: t.update(extra))
    read: list[str] = []
    inner = Reader.into

    def spy(self: Reader, tensor: Stored, out: torch.Tensor) -> None:
        read.append(tensor.name)
        inner(self, tensor, out)

    monkeypatch.setattr(Reader, "into", spy)
    loaded = load(copy)
    assert set(extra) <= set(loaded.ignored)
    assert read and not set(extra) & set(read)


def test_single_file_and_newer_tower_names_give_the_same_model(copy: Path, random_model: Loaded) -> None:
    tensors = {**load_file(copy / SHARD_1), **load_file(copy / SHARD_2)}
    for name in (SHARD_1, SHARD_2, INDEX):
        (copy / name).unlink()
    save_file({n.replace("vision_model.", ""): t for n, t in tensors.items()}, copy / "model.safetensors")
    again = load(copy)
    for (name, a), (_, b) in zip(again.model.named_parameters(), random_model.model.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_tower_from_its_own_folder(copy: Path, random_model: Loaded) -> None:
    def drop(tensors: dict[str, torch.Tensor]) -> None:
        for name in [n for n in tensors if n.startswith("model.vision_tower.")]:
            del tensors[name]

    edit_shard(copy, drop)
    again = load(copy)
    weight = "embeddings.patch_embedding.weight"
    assert torch.equal(again.model.tower.get_parameter(weight), random_model.model.tower.get_parameter(weight))
    (copy / TOWER_FOLDER / "config.json").unlink()
    with pytest.raises(CheckpointError, match="lacks the vision tower"):
        load(copy)


def test_head_count_without_a_tower_folder(copy: Path) -> None:
    shutil.rmtree(copy / TOWER_FOLDER)
    with pytest.raises(CheckpointError, match=r"vision heads: no rule for a tower of width 48.*vision_heads"):
        load(copy)
    assert load(copy, heads=4).model.config.vision.heads == 4


def test_head_count_that_contradicts_the_tower_folder(copy: Path) -> None:
    with pytest.raises(CheckpointError, match=r"the contract says 6, .* says 4"):
        load(copy, heads=6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "llama"}, r"model_type 'llama'"),
        ({"hidden_size": 0}, "hidden_size must be a positive whole number, got 0"),
        ({"num_attention_heads": 5}, "do not divide"),
        ({"use_sliding_window": True}, "use_sliding_window true is not supported"),
        ({"mm_projector_type": "linear"}, "mm_projector_type 'linear'"),
        ({"mm_hidden_size": 1152}, "mm_hidden_size 1152 contradicts the tower's width 48"),
        ({"vocab_size": 1000}, "vocab_size 1000 is smaller than the tokenizer"),
        ({"num_hidden_layers": 4}, "missing: model.layers.3"),
    ],
)
def test_config_that_contradicts(copy: Path, change: dict, said: str) -> None:
    edit_json(copy / "config.json", lambda d: d.update(change))
    with pytest.raises(CheckpointError, match=said):
        load(copy)


def test_tokenizer_of_another_vocabulary(copy: Path) -> None:
    rewrite(copy / "vocab.json", json.dumps({"a": 0, "b": 1}))
    rewrite(copy / "merges.txt", "#version: 0.2\n")
    with pytest.raises(CheckpointError, match=r"added tokens must be 2\.\.4"):
        load(copy)
    names = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    rewrite(copy / "added_tokens.json", json.dumps({n: i for i, n in enumerate(names, start=2)}))
    with pytest.raises(CheckpointError, match="another vocabulary"):
        load(copy)


def test_merges_of_another_vocabulary(copy: Path) -> None:
    rewrite(copy / "merges.txt", "#version: 0.2\nqqqq zzzz\n")
    with pytest.raises(CheckpointError, match="do not belong together"):
        load(copy)


def test_garbage_header(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes((20).to_bytes(8, "little") + b"{" * 20 + b"x" * 50)
    with pytest.raises(CheckpointError, match="header cannot be read"):
        read_header(path)


def test_device_and_dtype_name_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == CPU
    with pytest.raises(ConfigError, match=r"'cuda' asked for, but no CUDA GPU.*valid here: auto, cpu"):
        pick_device("cuda")
    with pytest.raises(ConfigError, match=r"device: 'gpu' \(.*valid: auto, cpu, cuda"):
        pick_device("gpu")
    with pytest.raises(ConfigError, match=r"dtype: 'half' \(.*bfloat16"):
        pick_dtype("half", CPU)
    assert pick_dtype("auto", CPU) == torch.float32
