"""Going on with a run: the state of its newest checkpoint, and the refusal of what would be another run."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from reconvla_ros.errors import CheckpointError
from reconvla_ros.model.gaze_latents import read_tensors
from reconvla_ros.model.safetensor import FLOATS, read_header
from reconvla_ros.training.recipe import Recipe, from_yaml
from reconvla_ros.training.saving import MOMENT_KINDS, MOMENTS, RECIPE, RUN, Progress

FREE = ("keep", "save_every", "validate_every", "validate_samples", "workers", "device", "checkpointing")
"""Keys of a recipe that may change when a run goes on: what is learned does not depend on them."""


@dataclass(frozen=True)
class Resumed:
    """What a run goes on from."""

    progress: Progress
    weights: dict[str, Tensor]
    moments: dict[str, dict[str, Tensor]]
    updates: float


def read_resume(folder: Path, recipe: Recipe, digests: list[str], start: str) -> Resumed:
    """State of a checkpoint of a run.

    Raises:
        CheckpointError: it lacks the trainer's state, or it was made with another recipe, other data or another start.
    """
    if not (folder / MOMENTS).is_file():
        raise CheckpointError(
            f"checkpoint: {folder} holds no {MOMENTS}; a run cannot go on from it, only start from it"
        )
    told = json.loads((folder / RUN).read_text(encoding="utf-8"))
    before = [d["digest"] for d in told.get("data", [])]
    if before != digests:
        raise CheckpointError(
            f"checkpoint: {folder} was trained on other data ({len(before)} sets, digests {[d[:8] for d in before]}), "
            f"here it is {[d[:8] for d in digests]}; start from it instead of going on"
        )
    if told.get("start") != start:
        raise CheckpointError(
            f"checkpoint: the run of {folder} began with another checkpoint than the one given (it was called "
            f"{told.get('started_from')!r}); what it did not train comes from there"
        )
    held = from_yaml(folder / RECIPE)
    names = [f.name for f in dataclasses.fields(recipe) if f.name not in FREE]
    changed = [
        f"{n} {getattr(recipe, n)!r} (was {getattr(held, n)!r})"
        for n in names
        if getattr(held, n) != getattr(recipe, n)
    ]
    if changed:
        raise CheckpointError(
            f"checkpoint: {folder} was made with another recipe: {', '.join(changed)}; that would not be the same run, start "
            "from it instead of going on"
        )
    tensors = read_exact(folder / MOMENTS)
    weights = {n.removeprefix("weight/"): t for n, t in tensors.items() if n.startswith("weight/")}
    moments: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, parameter = name.partition("/")
        if kind in MOMENT_KINDS:
            moments.setdefault(parameter, {})[kind] = tensor
    progress = Progress(
        told["step"], told["total"], math.inf if told["best"] is None else told["best"], told["best_step"]
    )
    return Resumed(progress, weights, moments, told["updates"])


def read_exact(file: Path) -> dict[str, Tensor]:
    """Every tensor of a file in the type it is stored in."""
    header = read_header(file)
    wide = read_tensors(header)
    return {name: tensor.to(FLOATS[header[name].dtype]) for name, tensor in wide.items()}
