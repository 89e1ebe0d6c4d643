"""Checkpoints of a run: weights in the original layout with all that says what they are, and what a run needs to go on.

A folder appears under its name when it is complete and not before, so a full disk or a lost power cut costs the newest one only.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reconvla_ros.errors import SetupError
from reconvla_ros.model.checkpoint import INDEX, SINGLE, TOWER
from reconvla_ros.model.config import read_json
from reconvla_ros.model.denoiser import PREFIX
from reconvla_ros.model.export import COPIED, SHARD_BYTES
from reconvla_ros.model.folder import check_disk, new_folder, plan_shards, shard_name, write_json
from reconvla_ros.model.gaze_latents import PIXELS_PER_TOKEN
from reconvla_ros.model.random_init import TOWER_FOLDER, tower_files
from reconvla_ros.model.safetensor import FLOATS, Reader, Stored, write_file
from reconvla_ros.model.survey import Survey
from reconvla_ros.policy.contract import FILE_NAME, Contract
from reconvla_ros.policy.contract import to_yaml as contract_yaml
from reconvla_ros.training.recipe import Recipe, to_yaml
from reconvla_ros.training.weights import merged

RECIPE, RUN, MOMENTS = "recipe.yaml", "training.json", "trainer.safetensors"
STEP = re.compile(r"step-(\d{6,})")
MOMENT_KINDS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Progress:
    """Where a run is: steps done and in all, best validation loss and its step (-1 = none yet), tokens of the last losses."""

    step: int
    total: int
    best: float = math.inf
    best_step: int = -1


def revision() -> dict[str, str]:
    """The code's revision where it is a checkout, and versions of what computes."""
    found = {"torch": str(torch.__version__)}
    root = Path(__file__).resolve().parents[2]
    try:
        head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        dirty = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=20
        )
        if head.returncode == 0:
            found["git"] = head.stdout.strip() + ("+changes" if dirty.stdout.strip() else "")
    except (OSError, subprocess.TimeoutExpired):
        found["git"] = "unknown"
    for name in ("transformers", "peft", "accelerate", "diffusers"):
        from importlib.metadata import PackageNotFoundError, version

        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def config_json(found: Survey, recipe: Recipe, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The start's config.json, with what this run says of the reconstruction branch."""
    data = read_json(found.folder / "config.json")
    has = any(name.startswith(PREFIX) for name in shapes)
    data |= {"recon_enable": recipe.reconstruction, "use_mm_inv_proj": has}
    if has:
        depth = len({n.removeprefix(PREFIX).split(".")[1] for n in shapes if n.startswith(f"{PREFIX}blocks.")})
        data |= {
            "mm_inv_projector_type": f"denoiser_vit{depth}x",
            "mm_inv_hidden_size": shapes[f"{PREFIX}x_embedder.proj.weight"][1],
            "decode_image_size": found.config.vision.side * PIXELS_PER_TOKEN,
        }
    return data


def _blocks(tensor: Stored) -> Iterator[Tensor]:
    with Reader(tensor.file, torch.device("cpu"), lambda count: None) as reader:
        for _, block in reader.blocks(tensor):
            yield block


class _Weights:
    """All tensors of the new checkpoint: those the run changed from memory, the others from the start's files."""

    def __init__(self, found: Survey, changed: dict[str, Tensor]) -> None:
        self.kept = {_original(n): t for n, t in found.stored.items() if t.dtype in FLOATS}
        self.changed = changed
        self.layout: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
            n: (FLOATS[t.dtype], t.shape) for n, t in self.kept.items()
        }
        for name, tensor in changed.items():
            # A fresh denoiser is written as it is trained; what was there keeps the type it had.
            kind = torch.float32 if name.startswith(PREFIX) else self.layout[name][0]
            self.layout[name] = (kind, tuple(tensor.shape))

    @property
    def sizes(self) -> dict[str, int]:
        return {n: math.prod(shape) * kind.itemsize for n, (kind, shape) in self.layout.items()}

    def blocks(self, name: str) -> Iterable[Tensor]:
        if name in self.changed:
            return [self.changed[name].to(self.layout[name][0])]
        return _blocks(self.kept[name])

    def write(self, folder: Path) -> None:
        shards = plan_shards(self.sizes, SHARD_BYTES)
        index: dict[str, str] = {}
        for k, names in enumerate(shards, start=1):
            file = shard_name(k, len(shards)) if len(shards) > 1 else SINGLE
            write_file(folder / file, {n: self.layout[n] for n in names}, self.blocks)
            index |= dict.fromkeys(names, file)
        if len(shards) > 1:
            total = sum(self.sizes.values())
            write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": dict(sorted(index.items()))})


def _original(name: str) -> str:
    return f"{TOWER}vision_model.{name.removeprefix(TOWER)}" if name.startswith(TOWER) else name


def _moments(trained: Mapping[str, Tensor], optimizer: dict[str, Any]) -> dict[str, Tensor]:
    """What goes on exactly: trained weights in their own type, and both moments of each."""
    tensors = {f"weight/{name}": tensor for name, tensor in trained.items()}
    for name, held in optimizer["state"].items():
        for kind in MOMENT_KINDS:
            if kind in held:
                tensors[f"{kind}/{name}"] = held[kind]
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


@dataclass(frozen=True)
class Saver:
    """Writes and finds the checkpoints of one run.

    Attributes:
        folder: of the run; a checkpoint is ``step-000123`` in it.
        facts: what training.json says besides the progress: data digests, where it started, the code's revision.
    """

    folder: Path
    start: Survey
    recipe: Recipe
    contract: Contract
    facts: dict[str, Any]

    def save(self, progress: Progress, weights: dict[str, Tensor], optimizer: dict[str, Any], names: list[str]) -> Path:
        """Write one checkpoint, all of it or nothing.

        Args:
            weights: state of the whole network, by its own names.
            optimizer: state of the optimiser, by the network's names.
            names: what is trained.

        Raises:
            SetupError: the disk is too small or fails; earlier checkpoints are as they were.
        """
        needed = {n: weights[n] for n in names}
        below = {n: t for n, t in weights.items() if n.endswith(".base_layer.weight")}
        fixed = {n: t for n, t in weights.items() if n.startswith("branch.net.")}
        changed = dict(merged({**below, **fixed, **needed}, self.recipe.lora_alpha / self.recipe.lora_rank))
        moments = _moments(needed, optimizer)
        out = self.folder / f"step-{progress.step:06d}"
        content = _Weights(self.start, changed)
        size = sum(content.sizes.values()) + sum(t.numel() * t.element_size() for t in moments.values())
        try:
            shutil.rmtree(out, ignore_errors=True)
            with new_folder(out) as partial:
                check_disk(partial, size, str(out))
                content.write(partial)
                write_file(
                    partial / MOMENTS,
                    {n: (t.dtype, tuple(t.shape)) for n, t in moments.items()},
                    lambda n: [moments[n]],
                )
                self._write_facts(partial, progress, {n: shape for n, (_, shape) in content.layout.items()}, optimizer)
        except OSError as error:
            left = self.latest()
            raise SetupError(
                f"checkpoint {out} cannot be written ({error}); {left or 'no earlier one'} is the last good one, "
                "'--resume' goes on from it"
            ) from error
        return out

    def _write_facts(
        self, folder: Path, progress: Progress, shapes: dict[str, tuple[int, ...]], optimizer: dict[str, Any]
    ) -> None:
        source, vision = self.start.folder, self.start.config.vision
        data = config_json(self.start, self.recipe, shapes)
        if "autoencoder" in self.facts:
            data["mm_pixel_decoder"] = self.facts["autoencoder"]
        write_json(folder / "config.json", data)
        for name in COPIED:
            if name != FILE_NAME and (source / name).is_file():
                shutil.copyfile(source / name, folder / name)
        (folder / FILE_NAME).write_text(contract_yaml(self.contract), encoding="utf-8")
        (folder / RECIPE).write_text(to_yaml(self.recipe), encoding="utf-8")
        tower = folder / Path(str(read_json(source / "config.json").get("mm_vision_tower") or TOWER_FOLDER)).name
        tower.mkdir(exist_ok=True)
        tower_files(tower, vision)
        counts = sorted({float(held["step"]) for held in optimizer["state"].values() if "step" in held})
        write_json(
            folder / RUN,
            {
                "step": progress.step, "total": progress.total, "updates": counts[-1] if counts else 0.0,
                "best": progress.best if math.isfinite(progress.best) else None, "best_step": progress.best_step,
                "contract": self.contract.digest, **self.facts,
            },
        )  # fmt: skip

    def all(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        found = [p for p in self.folder.glob("step-*") if STEP.fullmatch(p.name) and (p / RUN).is_file()]
        return sorted(found, key=lambda p: int(p.name.removeprefix("step-")))

    def latest(self) -> Path | None:
        """The newest complete checkpoint."""
        return self.all()[-1] if self.all() else None

    def prune(self, keep: int, best_step: int) -> None:
        """Remove all but the newest `keep` and the best."""
        for path in self.all()[:-keep]:
            if int(path.name.removeprefix("step-")) != best_step:
                shutil.rmtree(path)
