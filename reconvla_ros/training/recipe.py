"""What a fine-tuning run does, as a YAML that is stored with every checkpoint it makes."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import yaml

from reconvla_ros.config import Param, build, param, read_yaml
from reconvla_ros.errors import ConfigError, choices

OUTCOMES = ("success", "failure", "unlabeled")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Every knob of a run; the defaults are those of the original (finetune.sh) at batch 1."""

    mode: str = param("full", "which weights of the language model are trained", options=("full", "lora"))
    train_tower: bool = param(False, "train the vision tower too; the original keeps it frozen")
    fresh: bool = param(False, "begin with a small untrained model of the sizes below instead of a checkpoint")
    fresh_hidden: int = param(96, "width of the language model of a fresh start", low=16, high=2048)
    fresh_layers: int = param(4, "its blocks", low=1, high=48)
    fresh_heads: int = param(4, "its heads, and the tower's", low=1, high=64)
    fresh_tower: int = param(64, "width of the tower of a fresh start", low=16, high=2048)
    fresh_tower_layers: int = param(4, "its blocks", low=1, high=48)
    fresh_image: int = param(168, "side of its pictures, a multiple of 14", unit="px", low=28, high=784)
    reconstruction: bool = param(True, "the reconstruction branch; false is the baseline")
    gaze_weight: float = param(1.0, "weight of the reconstruction loss beside the action loss", low=0.0, high=100.0)
    repeats: int = param(4, "noise levels each gaze region is seen at in one step", low=1, high=16)
    denoiser_width: int = param(1024, "width of a denoiser that is made anew", low=16, high=4096)
    denoiser_depth: int = param(3, "blocks of a denoiser that is made anew", low=1, high=24)
    cache_targets: bool = param(False, "encode all gaze regions once, before the first step, and keep them on disk")
    require_gaze: bool = param(False, "refuse samples without a gaze region; else they train the actions alone")
    lora_rank: int = param(32, "rank of the adapters", low=1, high=512)
    lora_alpha: float = param(64.0, "adapters are scaled by alpha / rank", low=0.1, high=4096.0)
    lora_dropout: float = param(0.05, "dropout in front of the adapters", low=0.0, high=0.9)
    batch: int = param(1, "samples of a micro-batch, on each device", low=1, high=1024)
    accumulate: int = param(1, "micro-batches of a step, on each device", low=1, high=4096)
    epochs: float = param(2.0, "passes over the data, where neither steps nor minutes say it", low=0.001, high=10_000.0)
    steps: int = param(0, "steps of the optimiser, 0 = by minutes or epochs", low=0, high=100_000_000)
    minutes: float = param(0.0, "length of the run, 0 = by epochs", unit="min", low=0.0, high=100_000.0)
    lr: float = param(2e-5, "learning rate at its highest", low=0.0, high=1.0)
    lr_branch: float = param(0.0, "that of the denoiser, 0 = the same", low=0.0, high=1.0)
    warmup: float = param(0.03, "share of the steps in which the rate rises", low=0.0, high=0.9)
    weight_decay: float = param(0.0, "of matrices; biases and norms have none", low=0.0, high=1.0)
    clip: float = param(1.0, "largest norm of the gradient, 0 = no limit", low=0.0, high=1e6)
    dtype: str = param("bfloat16", "arithmetic of the network", options=("float32", "bfloat16"))
    master: str = param("float32", "what trained weights are held in", options=("float32", "bfloat16"))
    checkpointing: bool = param(True, "compute activations again instead of keeping them")
    sharding: str = param("none", "several devices: copies of everything, or shares (FSDP)", options=("none", "full"))
    device: str = param("auto", "auto, cpu, cuda or cuda:N")
    workers: int = param(0, "processes that read and scale pictures; 0 = the training process itself", low=0, high=64)
    validate_share: float = param(0.1, "share of the episodes that is held out", low=0.0, high=0.9)
    validate_every: int = param(100, "steps between two validations", low=1, high=10_000_000)
    validate_samples: int = param(64, "samples of a validation", low=1, high=100_000)
    save_every: int = param(
        500, "steps between two checkpoints; the last step always makes one", low=1, high=10_000_000
    )
    keep: int = param(2, "checkpoints that stay; the best one is beside them", low=1, high=1000)
    outcomes: tuple[str, ...] = param(
        ("success",), "episodes that are learned from, where the samples say how they ended"
    )
    contract: str = param("", "contract of data that has none beside it: a shipped name or a file")
    statistics: str = param(
        "contract", "of the state: those beside the data, or counted anew", options=("contract", "data")
    )
    seed: int = param(0, "the same seed, data and devices are the same run", low=0, high=2**31 - 1)

    def __post_init__(self) -> None:
        for name in self.outcomes:
            if name not in OUTCOMES:
                raise ConfigError(f"recipe: outcomes {choices(name, OUTCOMES)}")
        if self.fresh and (self.mode == "lora" or not self.train_tower):
            raise ConfigError("recipe: fresh true needs mode full and train_tower true; nothing in it is trained yet")
        if self.mode == "lora" and self.train_tower:
            raise ConfigError("recipe: train_tower true needs mode full; with lora the tower stays as it is")
        if self.master == "bfloat16" and self.dtype != "bfloat16":
            raise ConfigError("recipe: master bfloat16 needs dtype bfloat16")


def load_recipe(choice: str, folder: Path, changes: dict[str, str]) -> Recipe:
    """A recipe by the name of a file in `folder` or by path, with `changes` (key -> YAML text).

    Raises:
        ConfigError: neither is there, an unknown key, a value out of bounds.
    """
    names = sorted(p.stem for p in folder.glob("*.yaml")) if folder.is_dir() else []
    path = folder / f"{choice}.yaml" if choice in names else Path(choice).expanduser()
    if choice and not path.is_file():
        raise ConfigError(f"recipe: {choices(choice, names)}, or the path of a file; {path} does not exist")
    values: dict[str, Any] = read_yaml(path) if choice else {}
    for key, text in changes.items():
        try:
            values[key] = yaml.safe_load(text)
            if isinstance(values[key], str) and re.fullmatch(r"[+-]?\d+e[+-]?\d+", text):
                values[key] = float(text)  # YAML reads 1e-4 as text
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {key}={text}: not a value ({error})") from error
    return build(Recipe, values, choice or "recipe")


def to_yaml(recipe: Recipe) -> str:
    """The recipe as commented YAML; reading it back gives the same recipe."""
    lines = ["# A fine-tuning run of reconvla_ros: reconvla finetune --recipe THIS"]
    for field in dataclasses.fields(recipe):
        info: Param = field.metadata["param"]
        value = getattr(recipe, field.name)
        text = yaml.safe_dump(list(value) if isinstance(value, tuple) else value, default_flow_style=True)
        extra = f" [{info.unit}]" if info.unit else ""
        lines += [f"# {info.description}{extra}", f"{field.name}: {text.removesuffix('...' + chr(10)).strip()}"]
    return "\n".join(lines) + "\n"


def from_yaml(path: Path) -> Recipe:
    """The recipe stored with a checkpoint.

    Raises:
        ConfigError: missing or broken.
    """
    return build(Recipe, read_yaml(path), path.name)
