"""Whole runs of a very small model: resume, interruption, refusals, what a checkpoint holds, the corrected faults."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from synthetic_samples import make_samples

from reconvla_ros.errors import CheckpointError, SetupError, TrainingError
from reconvla_ros.model.checkpoint import list_tensors
from reconvla_ros.model.denoiser import PREFIX
from reconvla_ros.model.export import export
from reconvla_ros.model.gaze_latents import read_tensors
from reconvla_ros.model.model import load_model
from reconvla_ros.policy.contract import load_contract
from reconvla_ros.training import finetune as story
from reconvla_ros.training import saving
from reconvla_ros.training.data import TrainingData
from reconvla_ros.training.recipe import Recipe
from reconvla_ros.training.resume import read_exact
from reconvla_ros.training.samples import read_dataset
from reconvla_ros.training.saving import MOMENTS
from reconvla_ros.training.weights import load_start

CPU = torch.device("cpu")


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def cut_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run gets SIGTERM while it makes step `step`."""
    real = story.one_step

    def one_step(run: Any, batches: Any, number: int, total: int) -> dict[str, float]:
        if number == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(run, batches, number, total)

    monkeypatch.setattr(story, "one_step", one_step)


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_a_run_that_is_cut_short_goes_on_to_the_same_numbers(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Bit for bit: losses of every step, weights and moments; adapters draw dropout, too."""
    changes: dict[str, Any] = {}
    if mode == "lora":
        changes = {
            "mode": "lora",
            "train_tower": False,
            "lora_rank": 4,
            "checkpoint": train("base", steps=1).checkpoint,
        }
    whole = train("whole", accumulate=2, **changes)
    with monkeypatch.context() as patch:
        cut_after(3, patch)
        first = train("cut", accumulate=2, **changes)
    assert first.interrupted and first.progress.step == 4
    second = train("cut", resume=True, accumulate=2, **changes)
    assert {**first.losses, **second.losses} == whole.losses
    assert len(whole.losses) == 6 and len(second.losses) == 2
    told, again = (read_exact(tmp_path / name / "step-000006" / MOMENTS) for name in ("whole", "cut"))
    assert told.keys() == again.keys() and all(torch.equal(told[n], again[n]) for n in told)
    assert [r["loss"] for r in rows(tmp_path / "whole")] == [r["loss"] for r in rows(tmp_path / "cut")]
    assert (tmp_path / "whole/step-000006/model.safetensors").read_bytes() == (
        tmp_path / "cut/step-000006/model.safetensors"
    ).read_bytes()


def test_going_on_with_another_recipe_or_other_data_is_refused(train: Any, tmp_path: Path) -> None:
    train(steps=2)
    with pytest.raises(CheckpointError, match=r"lr 0\.001 \(was 0\.003\)"):
        train(resume=True, steps=2, lr=1e-3)
    other = make_samples(tmp_path / "other", seed=5)
    with pytest.raises(CheckpointError, match="other data"):
        train(resume=True, steps=2, data=((other, 0.0),))
    for name in ("one", "two"):
        train(name, steps=1, seed=len(name) + (name == "two"))
    based: dict[str, Any] = {"mode": "lora", "train_tower": False, "steps": 1}
    train("based", checkpoint=tmp_path / "one" / "step-000001", **based)
    with pytest.raises(CheckpointError, match="began with another checkpoint"):
        train("based", True, tmp_path / "two" / "step-000001", **based)
    with pytest.raises(TrainingError, match="--resume"):
        train(steps=2)
    with pytest.raises(TrainingError, match="no complete checkpoint"):
        train("nothing", resume=True)


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = story.gaze_of

    def broken(run: Any, batch: Any, chance: Any) -> Any:
        cells, drawn = real(run, batch, chance)
        spoil = float("nan") if run.saver.all() else 1.0
        return None if cells is None else cells * spoil, drawn

    monkeypatch.setattr(story, "gaze_of", broken)
    with pytest.raises(TrainingError, match=r"step 4: loss nan .*step-000003 is the last good one"):
        train(validate_every=100)
    left = tmp_path / "run" / "step-000003"
    assert all(bool(torch.isfinite(t).all()) for t in read_exact(left / MOMENTS).values())
    load_model(left, CPU, torch.float32)


def test_a_full_disk_while_saving_keeps_the_previous_checkpoint(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written = saving.write_file, []

    def full(path: Path, *words: Any) -> int:
        written.append(path)
        if len(written) == 4:  # the trainer's state of the second checkpoint
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, *words)

    monkeypatch.setattr(saving, "write_file", full)
    with pytest.raises(SetupError, match=r"No space left .*step-000003 is the last good one"):
        train(validate_every=100)
    assert [p.name for p in sorted((tmp_path / "run").glob("*step*"))] == ["step-000003"]
    monkeypatch.setattr(saving, "write_file", real)
    assert train(resume=True, validate_every=100).progress.step == 6


def test_a_checkpoint_says_what_it_is_and_runs(train: Any, tmp_path: Path, samples: Path) -> None:
    result = train()
    folder = result.checkpoint
    assert folder == tmp_path / "run" / "step-000006"
    told = json.loads((folder / "training.json").read_text())
    assert told["step"] == told["total"] == 6 and len(told["data"][0]["digest"]) == 64
    assert told["revision"]["torch"] == torch.__version__ and (folder / "recipe.yaml").is_file()
    contract = load_contract(folder)
    assert contract.checkpoint_kind == "trained" and told["contract"] == contract.digest
    loaded = load_model(folder, CPU, torch.float32)
    assert loaded.model.config.vision.image_size == 56
    assert contract.vocab_base == loaded.tokenizer.base_size < 1000
    assert len(loaded.tokenizer.encode(" ASSISTANT:")) == 2
    done = export(folder, tmp_path / "small")
    assert sum(g.count for g in done.dropped) > 0
    assert load_model(tmp_path / "small", CPU, torch.float32).ignored == tuple(
        n for n in loaded.ignored if not n.startswith("model.mm_inv")
    )


def test_what_is_trained_is_what_runs(train: Any, samples: Path) -> None:
    """The state that predicts the first action token: in the trainer's network and in the policy's, of one checkpoint."""
    folder = train(steps=2).checkpoint
    start = load_start(folder, Recipe(dtype="float32", checkpointing=False), 0, 16)
    dataset = read_dataset(samples)
    data = TrainingData(
        [dataset.samples], start.survey.tokenizer, load_contract(folder), image_side=56, reconstruction=False
    )
    batch = data[[(0, 1), (0, 2)]]
    loaded = load_model(folder, CPU, torch.float32)
    with torch.no_grad():
        hidden, _ = start.network.hidden(batch)
        for row in range(2):
            prompt = batch.ids[row, : int((batch.labels[row] != -100).int().argmax())].tolist()
            embeds = loaded.model.embed(prompt, loaded.model.encode_image(batch.images[row : row + 1]))
            _, state = loaded.model.prefill(embeds, room=1)
            torch.testing.assert_close(state[0], hidden[row, len(embeds) - 1], atol=1e-5, rtol=1e-5)


def test_the_loss_falls_and_validation_is_of_whole_episodes(train: Any, tmp_path: Path) -> None:
    result = train(steps=30, lr=5e-3, validate_every=10, save_every=20)
    losses = list(result.losses.values())
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    table = rows(tmp_path / "run")
    assert [r["step"] for r in table if r["val_action"]] == ["9", "19", "29"]
    assert result.progress.best_step > 0 and (tmp_path / "run" / f"step-{result.progress.best_step:06d}").is_dir()


# ---- faults of the original that are corrected ----------------------------------------


def test_the_denoiser_is_restored_when_training_starts_from_a_checkpoint(train: Any) -> None:
    """The original makes it anew after loading: its head was zero again (finetune_from_checkpoint in the vectors)."""
    first = train("first").checkpoint
    again = train("again", checkpoint=first, steps=1, lr=0.0).checkpoint

    def denoiser(folder: Path) -> dict[str, torch.Tensor]:
        return read_tensors({n: t for n, t in list_tensors(folder).items() if n.startswith(PREFIX)})

    before, after = denoiser(first), denoiser(again)
    assert before.keys() == after.keys() and all(torch.equal(before[n], after[n]) for n in before)
    assert float(after[f"{PREFIX}final_layer.linear.weight"].abs().max()) > 0


def test_samples_without_a_gaze_region_train_the_actions_alone(train: Any, tmp_path: Path) -> None:
    """In the original such rows enter the branch with an empty condition and count in its mean."""
    blind = make_samples(tmp_path / "blind", image_target=None)
    result = train(data=((blind, 0.0),), steps=2)
    assert all(not r["gaze"] and r["action"] for r in rows(tmp_path / "run")) and result.checkpoint
    with pytest.raises(TrainingError, match=r"samples.json\[0\]: no image_target"):
        train("strict", data=((blind, 0.0),), require_gaze=True)


def test_the_baseline_has_no_branch(train: Any, tmp_path: Path) -> None:
    folder = train(reconstruction=False, steps=2).checkpoint
    assert not [n for n in list_tensors(folder) if n.startswith(PREFIX)]
    assert json.loads((folder / "config.json").read_text())["recon_enable"] is False
    assert all(not r["gaze"] for r in rows(tmp_path / "run"))


def test_cached_latents_give_the_same_run(train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = train("plain", steps=3)
    cached = train("cached", steps=3, cache_targets=True)
    assert list(cached.losses.values()) == pytest.approx(list(plain.losses.values()), abs=1e-6)
    assert len(list((tmp_path / "latents").glob("latents-*.npy"))) == 1
    # With everything in the cache neither diffusers nor the weights are needed.
    monkeypatch.setattr(
        "reconvla_ros.model.gaze_latents._autoencoder_kl", lambda: pytest.fail("the autoencoder was loaded")
    )
    again = train("again", steps=3, cache_targets=True)
    assert again.losses == cached.losses


def test_checkpointed_activations_give_the_same_losses(train: Any) -> None:
    plain, saved = train("plain", steps=3), train("saved", steps=3, checkpointing=True)
    assert list(saved.losses.values()) == pytest.approx(list(plain.losses.values()), abs=1e-5)


def test_minutes_become_steps(train: Any) -> None:
    result = train(steps=0, minutes=0.02, validate_every=1000, save_every=1000)
    assert result.progress.step == result.progress.total >= 1
