"""Fine-tuning, top to bottom: data, start, order, optimiser, steps, validation, checkpoints.

`reconvla finetune --recipe tiny --checkpoint FOLDER --data FOLDER --out RUN`, or under another Python with torch and transformers
`python -m reconvla_ros.cli.main finetune ...`. All chance comes from (seed, step, micro-batch, process), so a run that was cut
short goes on to the same numbers.
"""

from __future__ import annotations

import dataclasses
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reconvla_ros.errors import TrainingError
from reconvla_ros.model.diffusion import STEPS
from reconvla_ros.model.reconstruction import Draw, draw
from reconvla_ros.training.data import Batch
from reconvla_ros.training.log import Log
from reconvla_ros.training.mix import Batches
from reconvla_ros.training.network import Losses
from reconvla_ros.training.prepare import Job, Run, Say, prepare
from reconvla_ros.training.resume import Resumed
from reconvla_ros.training.saving import Progress
from reconvla_ros.training.weights import trained_names

VALIDATION = 1_000_003  # stands for the step in the seeds of validations
REHEARSALS = 3
FIGURES = ("loss", "action", "gaze", "correct")
OVERHEAD = 1.1  # of validations and checkpoints, when a run is cut to minutes


@dataclass
class Result:
    """How a run ended: loss of every step it made, the last checkpoint, whether it was called off."""

    losses: dict[int, float] = field(default_factory=dict)
    checkpoint: Path | None = None
    interrupted: bool = False
    progress: Progress = field(default_factory=lambda: Progress(0, 0))


def finetune(job: Job, say: Say = print) -> Result:
    """Make a run, or go on with one.

    Raises:
        TrainingError: data that cannot be learned from, a loss that is no number.
        CheckpointError, ContractError, ConfigError: what is wrong with the start, the data's contract or the recipe.
        SetupError: a library, the disk or the memory is missing; earlier checkpoints stay.
    """
    run, resumed = prepare(job, say)
    try:
        total = resumed.progress.total if resumed else plan_steps(run)
        log = Log(job.out, resumed.progress.step if resumed else 0, total, run.say) if run.devices.main else None
        with interruptible() as stopped:
            result = train(run, resumed, total, log, stopped)
        if log is not None:
            log.close()
        return result
    finally:
        run.devices.close()


def plan_steps(run: Run) -> int:
    """Steps of the whole run: told, or by epochs, or as many as fit into the minutes (by a rehearsal that changes nothing)."""
    recipe = run.recipe
    if recipe.steps:
        return recipe.steps
    per_step = recipe.batch * recipe.accumulate * run.devices.world
    if not recipe.minutes:
        return max(math.ceil(recipe.epochs * sum(run.mix.sizes) / per_step), 1)
    took = []
    for _ in range(REHEARSALS):
        begin = time.monotonic()
        for number, batch in enumerate(loader(run, 0, 1)):
            forward_backward(run, batch, 0, number)
        run.optimizer.zero_grad()
        took.append(time.monotonic() - begin)
    # All processes must agree.
    each = float(run.devices.mean(torch.tensor(min(took))))
    total = max(int(recipe.minutes * 60 / (each * OVERHEAD)), 1)
    run.say(f"{recipe.minutes:g} minutes at {each:.2f} s a step: {total} steps")
    return total


# ---- the steps ----------------------------------------


def train(run: Run, resumed: Resumed | None, total: int, log: Log | None, stopped: Callable[[], bool]) -> Result:
    """All steps, with validations and checkpoints between them."""
    recipe, devices = run.recipe, run.devices
    progress = dataclasses.replace(resumed.progress if resumed else Progress(0, total), total=total)
    result = Result(progress=progress)
    batches = iter(loader(run, progress.step, total))
    for step in range(progress.step, total):
        begin = time.monotonic()
        run.network.train()
        values = one_step(run, batches, step, total)
        result.losses[step] = values["loss"]
        values["samples_per_s"] = recipe.batch * recipe.accumulate * devices.world / (time.monotonic() - begin)
        values["memory_gb"] = devices.memory() / 1e9
        progress = dataclasses.replace(progress, step=step + 1)
        result.interrupted = devices.any(stopped())
        saves = step + 1 == total or result.interrupted or (step + 1) % recipe.save_every == 0
        if (saves or (step + 1) % recipe.validate_every == 0) and any(run.held_out.samples):
            values |= validate(run)
            if saves and values["val_action"] < progress.best:
                progress = dataclasses.replace(progress, best=values["val_action"], best_step=step + 1)
        if log is not None:
            log.row(step, **values)
        if saves:
            result.checkpoint = save(run, progress)
        if result.interrupted:
            run.say(f"called off after step {step + 1}; --resume goes on from there")
            break
    result.progress = progress
    return result


def loader(run: Run, start: int, stop: int) -> torch.utils.data.DataLoader[Batch]:
    """This process's micro-batches of steps start..stop - 1."""
    batches = Batches(
        run.mix, run.recipe.batch, run.recipe.accumulate, start, stop, run.devices.rank, run.devices.world
    )
    return torch.utils.data.DataLoader(
        run.training,
        batch_size=None,
        sampler=batches,
        num_workers=run.recipe.workers,  # type: ignore[arg-type]
    )


def one_step(run: Run, batches: Iterator[Batch], step: int, total: int) -> dict[str, float]:
    """One step of the optimiser; its figures, means over micro-batches and processes.

    Raises:
        TrainingError: loss or gradient are no numbers; the weights are as they were before the step.
    """
    recipe, devices = run.recipe, run.devices
    found: dict[str, list[float]] = {}
    for number in range(recipe.accumulate):
        losses = forward_backward(run, next(batches), step, number)
        for name, value in (
            ("loss", losses.total),
            ("action", losses.action),
            ("gaze", losses.gaze),
            ("correct", losses.correct),
        ):
            if value is not None:
                found.setdefault(name, []).append(value.item())
    norm = devices.clip(run.network, recipe.clip)
    values = {name: float(np.mean(held)) for name, held in found.items()}
    if devices.any(not (math.isfinite(values["loss"]) and math.isfinite(norm))):
        run.optimizer.zero_grad()
        last = run.saver.latest()
        raise TrainingError(
            f"step {step + 1}: loss {values['loss']:g} (action {values['action']:g}, gaze {values.get('gaze', 0.0):g}), gradient "
            f"{norm:g}: no number, so the run ends; {last or 'no checkpoint'} is the last good one. A lower lr, a longer warmup "
            "or dtype float32 may help"
        )
    for group in run.optimizer.param_groups:
        group["lr"] = group["peak"] * rate(step, total, recipe.warmup)
    run.optimizer.step()
    run.optimizer.zero_grad()
    if devices.world > 1:
        values = {
            name: float(devices.mean(torch.tensor(values.get(name, 0.0))))
            for name in ("loss", "action", "gaze", "correct")
        }
    return {**values, "lr": recipe.lr * rate(step, total, recipe.warmup), "norm": norm}


def forward_backward(run: Run, batch: Batch, step: int, number: int) -> Losses:
    """Losses of a micro-batch, their gradients added to those of the step."""
    recipe, devices = run.recipe, run.devices
    chance = chances(recipe.seed, step, number, devices.rank)
    cells, drawn = gaze_of(run, batch, chance)
    torch.manual_seed(chance.initial_seed())  # dropout's; after the targets, whose network draws when it is made
    with devices.gather(run.network, last=number + 1 == recipe.accumulate):
        with devices.arithmetic():
            losses: Losses = run.network(batch, cells, drawn)
        devices.backward(losses.total / recipe.accumulate)
    return losses


def chances(seed: int, step: int, number: int, rank: int) -> torch.Generator:
    """All chance of one micro-batch."""
    state = int(np.random.SeedSequence([seed, step, number, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.Generator().manual_seed(state)


def gaze_of(run: Run, batch: Batch, chance: torch.Generator) -> tuple[Tensor | None, Draw | None]:
    """Scaled latents of the gaze regions of a batch, and what chance decides about them."""
    if run.vae is None:
        return None, None
    latents, device = batch.latents, run.devices.device
    side = run.start.survey.config.vision.side
    if latents is None and batch.targets is not None:
        latents = run.vae.encode(batch.targets.to(device), side)
    if latents is None:
        return None, None
    drawn = draw(len(latents.mean), run.recipe.repeats, run.vae.cell_channels, side, STEPS, chance)
    return run.vae.scaled(latents.draw(drawn.latent.to(latents.mean.device))).to(device), drawn


def rate(step: int, total: int, warmup: float) -> float:
    """Share of the highest learning rate in a step: linear up, then half a cosine down (the HF Trainer's "cosine")."""
    rising = math.ceil(total * warmup)
    if step < rising:
        return step / rising
    return 0.5 * (1.0 + math.cos(math.pi * (step - rising) / max(total - rising, 1)))


# ---- between the steps ----------------------------------------


@torch.no_grad()
def validate(run: Run) -> dict[str, float]:
    """Losses on held-out episodes: always the same samples, with the same chance."""
    places = [(k, i) for k, side in enumerate(run.held_out.samples) for i in range(len(side))]
    count = min(run.recipe.validate_samples, len(places))
    chosen = [places[i * len(places) // count] for i in range(count)]
    mine = chosen[run.devices.rank :: run.devices.world] or chosen[:1]
    found: dict[str, list[float]] = {"val_action": [], "val_gaze": [], "val_correct": []}
    run.network.eval()
    for number, at in enumerate(range(0, len(mine), run.recipe.batch)):
        batch = run.held_out[mine[at : at + run.recipe.batch]]
        cells, drawn = gaze_of(run, batch, chances(run.recipe.seed, VALIDATION, number, run.devices.rank))
        with run.devices.arithmetic():
            losses: Losses = run.network(batch, cells, drawn)
        for name, value in (("val_action", losses.action), ("val_gaze", losses.gaze), ("val_correct", losses.correct)):
            if value is not None:
                found[name].extend([value.item()] * len(batch))
    means = {name: float(np.mean(values)) for name, values in found.items() if values}
    return {name: float(run.devices.mean(torch.tensor(value))) for name, value in means.items()}


def save(run: Run, progress: Progress) -> Path | None:
    """A checkpoint, by the first process; every process calls it."""
    weights, optimizer = run.devices.states(run.network, run.optimizer)
    path = None
    if run.devices.main:
        path = run.saver.save(progress, weights, optimizer, trained_names(run.start.network))
        run.saver.prune(run.recipe.keep, progress.best_step)
        run.say(f"checkpoint {path}")
    run.devices.any(False)
    return path


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """SIGINT and SIGTERM end the run after the step; the second one ends the process."""
    seen: list[int] = []

    def note(number: int, frame: object) -> None:
        seen.append(number)
        signal.signal(number, before[number])

    before: dict[int, Any] = {}
    try:
        for which in (signal.SIGINT, signal.SIGTERM):
            before[which] = signal.signal(which, note)
    except ValueError:  # not the main thread: whoever holds that decides
        pass
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
