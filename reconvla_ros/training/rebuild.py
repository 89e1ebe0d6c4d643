"""What a checkpoint's image tokens say about gaze regions, as pictures: original, target and rebuilt side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from reconvla_ros.errors import CheckpointError, TrainingError
from reconvla_ros.model.config import read_json
from reconvla_ros.model.gaze_latents import GazeAutoencoder, find_autoencoder, load_autoencoder, vae_pixels
from reconvla_ros.model.model import pick_device
from reconvla_ros.policy.contract import FILE_NAME, load_contract
from reconvla_ros.training.data import TrainingData
from reconvla_ros.training.prepare import fit_contract
from reconvla_ros.training.recipe import Recipe
from reconvla_ros.training.samples import Sample, read_dataset
from reconvla_ros.training.weights import Start, load_start

GAP, CAPTION = 6, 16  # [px]
TITLES = ("sees", "gaze region", "autoencoder alone", "rebuilt")


@dataclass(frozen=True)
class Rebuilt:
    """One sample: pictures (S, S, 3) uint8, and the error of the rebuilt latents relative to that of knowing nothing.

    `error` is the mean square of rebuilt minus true latents over the variance of the true ones: 0 = perfect, 1 = the mean.
    """

    id: str
    pictures: tuple[NDArray[np.uint8], ...]
    error: float


def to_picture(image: Tensor) -> NDArray[np.uint8]:
    """(3, S, S) in [-1, 1] -> (S, S, 3) uint8."""
    return ((image.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()


def choose(samples: Sequence[Sample], count: int) -> list[int]:
    """Indices of `count` samples with a gaze region, evenly spread.

    Raises:
        TrainingError: there are none.
    """
    seen = [k for k, s in enumerate(samples) if s.target is not None]
    if not seen:
        raise TrainingError("reconstruct: no sample has a gaze region (image_target); 'reconvla gaze' makes them")
    count = min(count, len(seen))
    return [seen[k * len(seen) // count] for k in range(count)]


def open_all(checkpoint: Path, vae: Path | None) -> tuple[Start, GazeAutoencoder]:
    """The network with its branch, and the autoencoder.

    Raises:
        CheckpointError: a checkpoint without denoiser, or nobody says where the autoencoder is.
    """
    place = vae or find_autoencoder(checkpoint, read_json(checkpoint / "config.json"))
    if place is None:
        raise CheckpointError(
            f"reconstruct: {checkpoint} names no autoencoder that is here; give its folder with --vae"
        )
    opened = load_autoencoder(place)
    heads = load_contract(checkpoint).vision_heads if (checkpoint / FILE_NAME).is_file() else 0
    start = load_start(checkpoint, Recipe(dtype="float32", checkpointing=False), heads, opened.cell_channels)
    if not start.restored:
        raise CheckpointError(
            f"reconstruct: {checkpoint} has no denoiser (model.mm_inv_projector.*); a checkpoint of 'reconvla finetune' has "
            "one unless reconstruction was off, an exported one never has"
        )
    return start, opened


@torch.no_grad()
def rebuild(
    checkpoint: Path, data: Path, count: int = 4, steps: int = 100, vae: Path | None = None, device: str = "auto",
    seed: int = 0, contract: str = "", say: Callable[[str], None] = lambda line: None,
) -> list[Rebuilt]:  # fmt: skip
    """Rebuild the gaze regions of some samples from what the network makes of the pictures and words.

    Args:
        steps: of the sampling; the original takes 1000, 100 look the same.
        contract: of data that has none beside it.

    Raises:
        CheckpointError, TrainingError: what is missing.
    """
    start, autoencoder = open_all(checkpoint, vae)
    dataset, place = read_dataset(data, contract=contract), pick_device(device)
    vision = start.survey.config.vision
    meaning = load_contract(checkpoint) if (checkpoint / FILE_NAME).is_file() else dataset.contract
    meaning = fit_contract(replace(dataset.contract, state_mean=meaning.state_mean, state_std=meaning.state_std), start)
    reader = TrainingData([dataset.samples], start.survey.tokenizer, meaning, image_side=vision.image_size)
    network, found = start.network.to(place).eval(), []
    assert network.branch is not None
    for index in choose(dataset.samples, count):
        batch = reader[[(0, index)]]
        assert batch.targets is not None
        hidden, places = network.hidden(batch)
        generator = torch.Generator().manual_seed(seed)
        cells = network.branch.sample(network.image_states(hidden, places), steps, generator)
        true = autoencoder.scaled(autoencoder.encode(batch.targets.to(place), vision.side).mean)
        error = float((cells - true).pow(2).mean() / true.var())
        pictures = [batch.images[0], vae_pixels(batch.targets, vision.side)[0]]
        pictures += [autoencoder.decode(true)[0], autoencoder.decode(cells)[0]]
        found.append(Rebuilt(dataset.samples[index].id, tuple(to_picture(p) for p in pictures), error))
        say(f"{dataset.samples[index].id}: error {error:.3f} of knowing nothing")
    return found


def sheet(rows: Sequence[Rebuilt], size: int = 216) -> Image.Image:
    """All samples below one another, columns as `TITLES`."""
    width = len(TITLES) * (size + GAP) + GAP
    page = Image.new("RGB", (width, CAPTION + len(rows) * (size + CAPTION + GAP)), "white")
    pen = ImageDraw.Draw(page)
    for k, title in enumerate(TITLES):
        pen.text((GAP + k * (size + GAP), 2), title, fill="black")
    for row, one in enumerate(rows):
        top = CAPTION + row * (size + CAPTION + GAP)
        for k, picture in enumerate(one.pictures):
            page.paste(Image.fromarray(picture).resize((size, size)), (GAP + k * (size + GAP), top))
        pen.text((GAP, top + size + 1), f"{one.id}: error {one.error:.2f} (1 = the mean, 0 = exact)", fill="black")
    return page
