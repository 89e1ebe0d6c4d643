"""Parity of the trainer with the original: ids, labels, batch, loss, gradients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reconvla_ros.model.gaze_latents import load_autoencoder
from reconvla_ros.model.model import Loaded
from reconvla_ros.model.reconstruction import Draw
from reconvla_ros.model.tokens import ActionCodec
from reconvla_ros.policy.contract import choose_contract
from reconvla_ros.training.data import Batch, collate, training_ids
from reconvla_ros.training.recipe import Recipe
from reconvla_ros.training.samples import Sample
from reconvla_ros.training.weights import Start, load_start, stored_name

pytestmark = pytest.mark.golden

RECIPE = Recipe(dtype="float32", checkpointing=False)


def sample_of(entry: dict[str, Any]) -> Sample:
    human, gpt = (turn["value"] for turn in entry["conversations"])
    text, _, state = human.rpartition("\n")
    numbers = [tuple(float(word) for word in line.split()) for line in (state, gpt)]
    return Sample(entry["id"], text, numbers[0], numbers[1], Path("x"), None, "e")


@pytest.fixture(scope="module")
def rows(golden: dict[str, Any], original: Loaded) -> dict[int, tuple[list[int], list[int]]]:
    calvin = choose_contract("calvin")
    codec = ActionCodec(original.tokenizer.base_size)
    return {s["index"]: training_ids(sample_of(s), original.tokenizer, codec, calvin) for s in golden["train_samples"]}


@pytest.fixture(scope="module")
def batch(golden: dict[str, Any], golden_folder: Path) -> Batch:
    with np.load(golden_folder / "golden.npz") as file:
        held = {k: torch.from_numpy(file[f"train/batch/{k}"]) for k in golden["train_batch"]["keys"]}
    # The original pads with an id that is a word; here the place of the padding is what counts.
    return Batch(
        held["input_ids"], held["labels"], held["images"], torch.ones(2, dtype=torch.bool), held["target_images"]
    )


@pytest.fixture(scope="module")
def start(golden_folder: Path) -> Start:
    torch.set_num_threads(1)
    return load_start(golden_folder / "tiny_checkpoint", RECIPE, 0, 64)


def test_ids_and_labels_are_the_originals(golden: dict[str, Any], rows: dict[int, tuple[list[int], list[int]]]) -> None:
    assert rows
    for sample in golden["train_samples"]:
        ids, labels = rows[sample["index"]]
        assert ids == sample["input_ids"], sample["index"]
        assert labels == sample["labels"], sample["index"]


def test_a_batch_is_padded_on_the_right(batch: Batch, rows: dict[int, tuple[list[int], list[int]]]) -> None:
    """Cut at their padding, the original's rows padded by us are the original's batch again."""
    cut = []
    for row, labels in zip(batch.ids.tolist(), batch.labels.tolist(), strict=True):
        end = 1 + max(k for k, label in enumerate(labels) if label != -100)
        cut.append((row[:end], labels[:end]))
    known = [ids for ids, _ in rows.values()]
    assert any(ids in known for ids, _ in cut)
    ours = collate(cut, batch.images, [True, True])
    assert torch.equal(ours.labels, batch.labels)
    assert ours.ids.shape == batch.ids.shape


def drawn_of(golden_folder: Path) -> Draw:
    with np.load(golden_folder / "golden.npz") as file:
        return Draw(*(torch.from_numpy(file[f"vm/{name}"]) for name in ("t", "noise", "vae_noise")))


def test_losses_and_gradients_are_the_originals(
    golden: dict[str, Any], golden_folder: Path, batch: Batch, start: Start
) -> None:
    told, drawn = golden["train_forward"], drawn_of(golden_folder)
    vae = load_autoencoder(golden_folder / "pretrained_vae")
    assert batch.targets is not None
    cells = vae.scaled(vae.encode(batch.targets, start.network.config.vision.side).draw(drawn.latent))
    assert start.restored  # the original makes its denoiser anew each time it starts
    losses = start.network(batch, cells, drawn)
    assert losses.gaze is not None
    assert losses.action.item() == pytest.approx(told["lm_loss"], abs=1e-5)
    assert losses.gaze.item() == pytest.approx(told["vm_loss"], abs=1e-5)
    assert losses.total.item() == pytest.approx(told["loss"], abs=2e-5)
    losses.total.backward()
    compared = 0
    for name, parameter in start.network.named_parameters():
        wanted = told["grad"].get(stored_name(name))
        if wanted is not None and parameter.grad is not None:
            assert float(parameter.grad.double().norm()) == pytest.approx(wanted["norm"], rel=1e-3, abs=1e-7), name
            compared += 1
    assert compared >= 0.9 * len([g for g in told["grad"].values() if g is not None])
    start.network.zero_grad()


def test_logprobs_of_the_labels(golden_folder: Path, batch: Batch, start: Start) -> None:
    with np.load(golden_folder / "golden.npz") as file:
        wanted = torch.from_numpy(file["train/label_logprobs"])
        expanded = torch.from_numpy(file["train/labels_after_image_expansion"])
    with torch.no_grad():
        hidden, places = start.network.hidden(batch)
        logits = start.network.lm_head(hidden)[:, :-1].float().log_softmax(-1)
    labels = expanded[:, 1:]
    got = logits.gather(-1, labels.clamp(min=0)[..., None])[..., 0][labels != -100]
    torch.testing.assert_close(got.double(), wanted, atol=2e-5, rtol=1e-5)
    with torch.no_grad():
        action, _ = start.network.action_loss(hidden, batch.labels, places)
    assert float(action) == pytest.approx(-float(wanted.mean()), abs=1e-5)


def test_what_the_original_trains_is_what_is_trained(golden: dict[str, Any], start: Start) -> None:
    told = golden["finetune_from_checkpoint"]["trainable"]
    ours: dict[str, set[str]] = {}
    for name, parameter in start.network.named_parameters():
        full = stored_name(name)
        group = next(g for g in told if full.startswith(g))
        ours.setdefault(group, set()).add(str(parameter.requires_grad))
    for group, flags in told.items():
        if group != "model.pixel_decoder":  # not part of the network here; always frozen
            assert ours[group] == set(flags), group


def test_the_config_says_what_the_original_says(golden: dict[str, Any], golden_folder: Path, start: Start) -> None:
    data = json.loads((golden_folder / "tiny_checkpoint" / "config.json").read_text())
    side = start.network.config.vision.side
    assert data["image_embed_len"] == side**2 and data["decode_image_size"] == side * 16
