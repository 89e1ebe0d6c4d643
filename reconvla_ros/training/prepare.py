"""Before the first step of a run: everything it needs is read, checked and put together; the slow and the failing comes first."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reconvla_ros.errors import TrainingError
from reconvla_ros.model.config import read_json
from reconvla_ros.model.folder import new_folder
from reconvla_ros.model.gaze_latents import GazeAutoencoder, find_autoencoder, load_autoencoder
from reconvla_ros.policy.contract import FILE_NAME, Contract, load_contract
from reconvla_ros.training.data import TrainingData, read_pixels
from reconvla_ros.training.devices import OneDevice, pick_devices
from reconvla_ros.training.fresh import FreshSize, write_fresh
from reconvla_ros.training.latents import LatentCache, build_cache
from reconvla_ros.training.mix import Mix
from reconvla_ros.training.recipe import Recipe
from reconvla_ros.training.resume import Resumed, read_resume
from reconvla_ros.training.samples import Dataset, Sample, common_contract, hold_out, read_dataset
from reconvla_ros.training.saving import Saver, revision
from reconvla_ros.training.weights import Start, fingerprint, groups, load_start

Say = Callable[[str], None]
START = "start"
"""Folder of a fresh start in that of its run."""
SPREAD_OF = 64
"""Gaze regions whose latents are looked at for their scale."""
COPY = "vae"
"""Folder of a small autoencoder's copy, so that a run can be looked at elsewhere."""
SMALL_AUTOENCODER = 50_000_000  # [bytes]
BETAS, EPSILON = (0.9, 0.999), 1e-8  # AdamW as the HF Trainer sets it


@dataclass(frozen=True)
class Job:
    """One run: where it starts, what it learns from, where it goes.

    Attributes:
        checkpoint: None for a fresh start, which the recipe's sizes describe.
        data: (path, weight) of each dataset; weights all 0 = by size.
        vae: folder of the autoencoder, None = the one the checkpoint names.
        resume: go on from the newest checkpoint in `out`.
    """

    checkpoint: Path | None
    data: tuple[tuple[Path, float], ...]
    out: Path
    recipe: Recipe
    vae: Path | None = None
    resume: bool = False


@dataclass
class Run:
    """Everything a run holds while it lasts."""

    job: Job
    recipe: Recipe
    devices: OneDevice
    datasets: list[Dataset]
    contract: Contract
    start: Start
    vae: GazeAutoencoder | None
    training: TrainingData
    held_out: TrainingData
    mix: Mix
    network: nn.Module
    optimizer: torch.optim.Optimizer
    saver: Saver
    say: Say


def prepare(job: Job, say: Say) -> tuple[Run, Resumed | None]:
    """Read and check everything a run needs; the slow and the failing comes before the first step."""
    recipe = job.recipe
    devices = pick_devices(recipe)
    say = say if devices.main else _silent
    datasets = [read_dataset(p, w, recipe.contract, recipe.outcomes, recipe.require_gaze) for p, w in job.data]
    for dataset in datasets:
        skipped = ", ".join(f"{count} with {why}" for why, count in dataset.skipped.items() if count) or "none left out"
        say(f"data: {dataset.name}: {len(dataset.samples)} samples ({skipped}), digest {dataset.digest[:12]}")
    job = begin_fresh(job, datasets, devices, say) if recipe.fresh else job
    assert job.checkpoint is not None
    vae = open_autoencoder(job)
    heads = load_contract(job.checkpoint).vision_heads if (job.checkpoint / FILE_NAME).is_file() else 0
    start = load_start(job.checkpoint, recipe, heads, vae.cell_channels if vae else 0)
    contract = fit_contract(common_contract(datasets, recipe.statistics), start)
    trained = sum(p.numel() for p in start.network.parameters() if p.requires_grad)
    branch = "restored" if start.restored else "new" if recipe.reconstruction else "left out"
    say(f"start: {job.checkpoint}, {trained / 1e6:.1f} M parameters are trained, denoiser {branch}")
    job.out.mkdir(parents=True, exist_ok=True)
    training, held_out, mix = order(job, datasets, start, contract, vae, devices, say)
    facts: dict[str, Any] = {
        "started_from": job.checkpoint.name, "start": fingerprint(start.survey), "revision": revision(),
        "data": [{"name": d.name, "digest": d.digest, "samples": len(d.samples), "weight": d.weight} for d in datasets],
    }  # fmt: skip
    if vae is not None:
        facts["autoencoder"] = keep_autoencoder(vae, job.out, devices)
    saver = Saver(job.out, start.survey, recipe, contract, facts)
    resumed = find_resume(job, saver, [d.digest for d in datasets])
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(
        groups(start.network, recipe), lr=recipe.lr, betas=BETAS, eps=EPSILON
    )
    network, optimizer = devices.prepare(start.network, optimizer)
    if resumed is not None:
        restore(devices, network, optimizer, resumed)
        say(f"going on from step {resumed.progress.step} of {resumed.progress.total}")
    run = Run(
        job, recipe, devices, datasets, contract, start, vae, training, held_out, mix, network, optimizer, saver, say
    )
    return run, resumed


def _silent(line: str) -> None:
    """Processes but the first say nothing."""


def begin_fresh(job: Job, datasets: list[Dataset], devices: OneDevice, say: Say) -> Job:
    """The job with a small untrained checkpoint as its start, made in the run's folder where it is not there yet."""
    r, folder = job.recipe, job.out / START
    if devices.main and not folder.is_dir():
        size = FreshSize(
            r.fresh_hidden, r.fresh_layers, r.fresh_heads, r.fresh_tower, r.fresh_tower_layers, r.fresh_image
        )
        job.out.mkdir(parents=True, exist_ok=True)
        write_fresh(folder, size, (s.text.rpartition("\n")[2] for d in datasets for s in d.samples), r.seed)
        say(f"fresh start: {folder}")
    devices.any(False)
    return dataclasses.replace(job, checkpoint=folder)


def open_autoencoder(job: Job) -> GazeAutoencoder | None:
    """The autoencoder of the gaze regions, None for the baseline.

    Raises:
        TrainingError: nobody says where it is.
    """
    if not job.recipe.reconstruction:
        return None
    assert job.checkpoint is not None
    folder = job.vae or find_autoencoder(job.checkpoint, read_json(job.checkpoint / "config.json"))
    if folder is None:
        raise TrainingError(
            "reconstruction: no autoencoder: give its folder with --vae (FLUX.1's layout, diffusers' files), or "
            "--no-reconstruction for the baseline"
        )
    return load_autoencoder(folder)


def keep_autoencoder(vae: GazeAutoencoder, out: Path, devices: OneDevice) -> str:
    """Its name for the checkpoints' config.json (``mm_pixel_decoder``); a small one is copied beside them."""
    size = sum(p.stat().st_size for p in vae.folder.iterdir() if p.is_file())
    if size > SMALL_AUTOENCODER:
        return f"./{vae.folder.name}"
    if devices.main and not (out / COPY).is_dir():
        with new_folder(out / COPY) as partial:
            for path in (vae.folder / "config.json", vae.file):
                shutil.copyfile(path, partial / path.name)
    return f"./{COPY}"


def fit_contract(contract: Contract, start: Start) -> Contract:
    """The data's contract with the ids of the checkpoint's tokenizer; this is what the new checkpoint means."""
    tokenizer, vision = start.survey.tokenizer, start.survey.config.vision
    fitted = dataclasses.replace(
        contract, vocab_base=tokenizer.base_size, splice_id=tokenizer.splice_id, vision_heads=vision.heads
    )
    fitted.check_tokenizer(tokenizer)
    return fitted


def order(
    job: Job, datasets: list[Dataset], start: Start, contract: Contract, vae: GazeAutoencoder | None, devices: OneDevice,
    say: Say,
) -> tuple[TrainingData, TrainingData, Mix]:  # fmt: skip
    """What is trained on, what is held out, and the order of the former."""
    recipe, sides = job.recipe, [hold_out(d, job.recipe.validate_share, job.recipe.seed) for d in datasets]
    kept = [[d.samples[i] for i in training] for d, (training, _) in zip(datasets, sides, strict=True)]
    out = [[d.samples[i] for i in held] for d, (_, held) in zip(datasets, sides, strict=True)]
    say(f"order: {sum(map(len, kept))} samples are trained on, {sum(map(len, out))} held out, by whole episodes")
    cache = _cache(job, kept + out, start, vae, devices, say)
    if vae is not None and cache is None:
        _ = vae.vae  # what it lacks is known now, not in the first step
    size = start.survey.config.vision.image_size
    made = [TrainingData(side, start.survey.tokenizer, contract, cache, vae is not None, size) for side in (kept, out)]
    weights = [d.weight for d in datasets]
    return made[0], made[1], Mix([len(s) for s in kept], weights if any(weights) else None, recipe.seed)


def _cache(
    job: Job, samples: list[list[Sample]], start: Start, vae: GazeAutoencoder | None, devices: OneDevice, say: Say
) -> LatentCache | None:
    if vae is None or not job.recipe.cache_targets:
        return None
    paths = [s.target for side in samples for s in side if s.target is not None]
    vision, cache = start.survey.config.vision, None
    read = functools.partial(read_pixels, side=vision.image_size)
    for turn in (True, False):  # the first process makes it, then the others find it
        if paths and devices.main == turn:
            cache = build_cache(job.out.parent / "latents", paths, vae, vision.side, devices.device, read, say)
        devices.any(False)
    if cache is not None:
        z = torch.from_numpy(cache.array[:: max(len(cache.array) // SPREAD_OF, 1), 0].copy())
        spread = float(vae.scaled(z).std())
        if not 0.3 < spread < 3.0:
            say(
                f"warning: scaled latents have a deviation of {spread:.2g}, the diffusion expects about 1; the autoencoder's "
                "shift_factor and scaling_factor do not fit these pictures"
            )
    return cache


def find_resume(job: Job, saver: Saver, digests: list[str]) -> Resumed | None:
    """The state to go on from, None for a new run.

    Raises:
        TrainingError: a new run into a folder that holds one, or nothing to go on from.
    """
    latest = saver.latest()
    if not job.resume:
        if latest is not None:
            raise TrainingError(
                f"{job.out} holds a run ({latest.name}); go on with it by --resume, or choose another --out"
            )
        return None
    if latest is None:
        raise TrainingError(f"--resume: {job.out} holds no complete checkpoint; leave --resume out to begin")
    return read_resume(latest, job.recipe, digests, saver.facts["start"])


def restore(devices: OneDevice, network: nn.Module, optimizer: torch.optim.Optimizer, resumed: Resumed) -> None:
    """Put the state of a checkpoint into network and optimiser."""
    _, moments = devices.states(network, optimizer)
    if not devices.main:  # the first process has it all, and the others get it from there
        devices.restore(network, optimizer, {}, {})
        return
    step = torch.tensor(float(resumed.updates))
    moments["state"] = {name: {**held, "step": step.clone()} for name, held in resumed.moments.items()}
    devices.restore(network, optimizer, resumed.weights, moments)
