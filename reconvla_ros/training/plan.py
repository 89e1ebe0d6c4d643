"""What a run needs in memory and on disk, and what of it fits on this machine: told before anything begins.

Weights, gradients and moments are counted exactly from the checkpoint's headers. Activations are an estimate by the sizes of
what backward needs (docs/how-to/finetune.md has the formula); peaks of small models on a CPU lay within 12 % of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from reconvla_ros.model import memory
from reconvla_ros.model.checkpoint import TOWER
from reconvla_ros.model.config import LanguageConfig, ModelConfig
from reconvla_ros.model.denoiser import PREFIX, Denoiser, DenoiserConfig, read_config
from reconvla_ros.model.gaze_latents import PREFIX as VAE_PREFIX
from reconvla_ros.model.layout import Size, full_layout
from reconvla_ros.model.model import pick_device
from reconvla_ros.model.survey import read_folder
from reconvla_ros.training.fresh import PATCH
from reconvla_ros.training.recipe import Recipe
from reconvla_ros.training.weights import ADAPTED

TEXT = 100
"""Tokens of prompt and answer besides the image: those of the original's samples."""
LABELS = 36
RESERVE = 1.5e9
"""[bytes] of a CUDA context, libraries and fragments."""


@dataclass(frozen=True)
class Need:
    """Bytes of one device, and of one checkpoint on disk."""

    weights: int
    gradients: int
    moments: int
    activations: int
    disk: int

    @property
    def total(self) -> int:
        """All of a device."""
        return self.weights + self.gradients + self.moments + self.activations


@dataclass(frozen=True)
class Parts:
    """Parameters of each part, and the sizes activations come from."""

    language: int
    tower: int
    projector: int
    denoiser: int
    config: ModelConfig
    branch: DenoiserConfig | None


def parts_of(checkpoint: Path | None, recipe: Recipe) -> Parts:
    """Count from the headers of a checkpoint, or from the sizes of a fresh start."""
    if checkpoint is None:
        config, shapes = _fresh(recipe)
    else:
        found = read_folder(checkpoint)
        config, shapes = found.config, {n: t.shape for n, t in found.stored.items()}
    counts = {"language": 0, "tower": 0, "projector": 0}
    for name, shape in shapes.items():
        if name.startswith((PREFIX, VAE_PREFIX)):
            continue
        part = "tower" if name.startswith(TOWER) else "projector" if ".mm_projector." in name else "language"
        counts[part] += math.prod(shape)
    branch = None
    if recipe.reconstruction:
        branch = DenoiserConfig(
            config.language.hidden, 64, config.vision.side, recipe.denoiser_width, recipe.denoiser_depth
        )
        branch = read_config(shapes) or branch
    with torch.device("meta"):
        denoiser = sum(p.numel() for p in Denoiser(branch).parameters()) if branch else 0
    return Parts(**counts, denoiser=denoiser, config=config, branch=branch)


def _fresh(r: Recipe) -> tuple[ModelConfig, dict[str, tuple[int, ...]]]:
    from reconvla_ros.model.config import VisionConfig

    language = LanguageConfig(r.fresh_hidden, 4 * r.fresh_hidden, r.fresh_layers, r.fresh_heads, 1, 1e4, 1e-6, 1000)
    vision = VisionConfig(
        r.fresh_tower, 4 * r.fresh_tower, r.fresh_tower_layers + 1, r.fresh_heads, r.fresh_image, PATCH
    )
    return ModelConfig(language, vision), full_layout(Size(language, vision, 0))


def adapters(c: LanguageConfig, rank: int) -> int:
    """Parameters of the adapters."""
    kv = c.kv_heads * c.head_dim
    shapes = [(c.hidden, c.hidden), (c.hidden, kv), (c.hidden, kv), (c.hidden, c.hidden)]
    shapes += [(c.hidden, c.intermediate)] * 2 + [(c.intermediate, c.hidden)]
    assert len(shapes) == len(ADAPTED)
    return c.layers * rank * sum(a + b for a, b in shapes)


def activations(parts: Parts, recipe: Recipe) -> int:
    """Bytes that backward needs of one micro-batch, and the largest thing made on the way.

    A decoder block keeps about 12 states of the hidden width and 4 of the intermediate one for each position; with
    `checkpointing` one of the former for each block, and all of one block at a time. The denoiser keeps about 40 of its width
    (its condition is per token) for each of `repeats` rows, always in float32.
    """
    c, v, size = parts.config.language, parts.config.vision, 2 if recipe.dtype == "bfloat16" else 4
    positions = recipe.batch * (v.tokens + TEXT)
    block = positions * (12 * c.hidden + 4 * c.intermediate) * size
    language = positions * c.hidden * size * c.layers + block if recipe.checkpointing else block * c.layers
    if recipe.mode == "lora" and not recipe.checkpointing:
        language = int(language * 1.3)
    tower = recipe.batch * v.tokens * (12 * v.hidden + 3 * v.intermediate) * size
    tower *= v.layers if recipe.train_tower and not recipe.checkpointing else 1
    logits = 3 * recipe.batch * LABELS * c.vocab_rows * 4
    branch = 0
    if parts.branch is not None:
        b = parts.branch
        branch = recipe.batch * recipe.repeats * b.side**2 * 40 * b.width * b.depth * 4
    return language + tower + logits + branch


def need(parts: Parts, recipe: Recipe, devices: int) -> Need:
    """Bytes of each of `devices` devices."""
    low, master = 2 if recipe.dtype == "bfloat16" else 4, 4 if recipe.master == "float32" else 2
    full = recipe.mode == "full"
    trained = parts.projector + (parts.language if full else 0) + (parts.tower if recipe.train_tower else 0)
    frozen = (0 if full else parts.language) + (0 if recipe.train_tower else parts.tower)
    added = parts.denoiser + (0 if full else adapters(parts.config.language, recipe.lora_rank))
    share = devices if recipe.sharding == "full" else 1
    # Adapters and denoiser are float32; autocast holds a low copy of a layer's trained weights at a time.
    weights = (trained * master + added * 4 + frozen * low) // share
    c = parts.config.language
    cast = parts.language // max(c.layers, 1) * low if full and low < master else 0
    if share > 1:  # what FSDP gathers at a time: one block, and all that is in no block
        cast += (2 * c.vocab_rows * c.hidden + parts.language // max(c.layers, 1)) * master
    gradients = (trained * master + added * 4) // share
    moments = (trained * master * 2 + added * 8) // share
    disk = (parts.language + parts.tower + parts.projector) * 2 + parts.denoiser * 4 + trained * master * 3 + added * 12
    return Need(weights, gradients, moments, activations(parts, recipe) + cast, disk)


def alternatives(recipe: Recipe) -> Iterator[tuple[str, Recipe]]:
    """What could be done instead, by what it changes."""
    yield "as the recipe says", recipe
    smaller = recipe
    while smaller.batch > 1:
        half = max(smaller.batch // 2, 1)
        smaller = replace(smaller, batch=half, accumulate=smaller.accumulate * (smaller.batch // half))
        yield f"batch={smaller.batch} accumulate={smaller.accumulate}", smaller
    one = replace(smaller, checkpointing=True)
    if not recipe.checkpointing:
        yield "checkpointing=true", replace(recipe, checkpointing=True)
    if recipe.repeats > 1 and recipe.reconstruction:
        yield f"batch={one.batch} checkpointing=true repeats=1", replace(one, repeats=1)
    if recipe.mode == "full" and not recipe.fresh:
        yield "sharding=full (torchrun)", replace(recipe, sharding="full")
        yield (
            f"mode=lora dtype=bfloat16 batch={one.batch} checkpointing=true",
            replace(one, mode="lora", dtype="bfloat16", train_tower=False),
        )


def plan(checkpoint: Path | None, recipe: Recipe, room: int = 0, devices: int = 0, vae: Path | None = None) -> str:
    """A table of what is needed and of what fits.

    Args:
        room: bytes of a device to assume, 0 = what this machine has.
        devices: devices to assume, 0 = those of this machine.
        vae: shown when it is given; it is on the device beside the network.
    """
    device = pick_device(recipe.device)
    cuda = device.type == "cuda" and not room
    devices = devices or (torch.cuda.device_count() if cuda else 1)
    free = room or memory.free(device) or 0
    parts = parts_of(checkpoint, recipe)
    where = (
        f"{devices} x {room / 1e9:.0f} GB (assumed)" if room else f"{devices} x {device.type}, {free / 1e9:.1f} GB free"
    )
    model = parts.language + parts.tower + parts.projector
    lines = [
        f"model: {model / 1e6:.1f} M parameters, denoiser {parts.denoiser / 1e6:.1f} M",
        f"here: {where}",
        f"{'':<52} {'weights':>8} {'gradient':>8} {'moments':>8} {'activat.':>8} {'total GB':>9}",
    ]
    reserve = RESERVE if device.type == "cuda" or room else 0.0
    if vae is not None and recipe.reconstruction and not recipe.cache_targets:
        reserve += sum(p.stat().st_size for p in vae.glob("*.safetensors"))
    chosen = None
    for name, option in alternatives(recipe):
        n = need(parts, option, devices)
        fits = n.total + reserve <= free
        chosen = chosen or (name if fits else None)
        figures = " ".join(f"{x / 1e9:8.2f}" for x in (n.weights, n.gradients, n.moments, n.activations))
        lines.append(f"{name:<52} {figures} {(n.total + reserve) / 1e9:9.2f}  {'fits' if fits else 'does not fit'}")
    lines.append(
        f"a checkpoint takes {need(parts, recipe, devices).disk / 1e9:.2f} GB of disk, {recipe.keep + 1} of them stay"
    )
    if chosen is None:
        lines.append("nothing here fits: more devices with sharding=full, or a smaller model")
    elif chosen != "as the recipe says":
        lines.append(f"what fits: --set {' --set '.join(w for w in chosen.split() if '=' in w)}")
    return "\n".join(lines)
