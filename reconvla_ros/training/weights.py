"""A checkpoint's weights into the network that is trained, and which of them are trained."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reconvla_ros.errors import CheckpointError, SetupError
from reconvla_ros.model import checkpoint
from reconvla_ros.model.checkpoint import TOWER
from reconvla_ros.model.denoiser import PREFIX, DenoiserConfig, read_config
from reconvla_ros.model.model import survey
from reconvla_ros.model.survey import Survey
from reconvla_ros.training.network import TrainingNetwork, all_rows
from reconvla_ros.training.recipe import Recipe

KINDS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
HOMES = {
    "language.": "model.", "lm_head.": "lm_head.", "projector.": "model.mm_projector.", "tower.": TOWER, "branch.net.": PREFIX,
}  # fmt: skip
"""Where a part of the network is -> prefix of its names in a checkpoint (the tower's without ``vision_model.``)."""
SPOTS, SPOT = 64, 1 << 16
"""Places of a file that its fingerprint reads, and bytes at each."""
ADAPTED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Linears of the language model that adapters go to."""


@dataclass(frozen=True)
class Start:
    """The network at the start of a run and the folder it came from; `restored`: its denoiser came from there too."""

    network: TrainingNetwork
    survey: Survey
    restored: bool


def fingerprint(found: Survey) -> str:
    """SHA-256 over the headers of a checkpoint's files and samples of their content: enough to tell two checkpoints apart."""
    digest = hashlib.sha256()
    for file in sorted({t.file for t in found.stored.values()}):
        size = file.stat().st_size
        digest.update(f"{file.name} {size}".encode())
        with file.open("rb") as handle:
            for k in range(SPOTS):
                handle.seek(size * k // SPOTS)
                digest.update(handle.read(SPOT))
    return digest.hexdigest()


def denoiser_config(found: Survey, recipe: Recipe, cell_channels: int) -> tuple[DenoiserConfig | None, bool]:
    """Sizes of the branch and whether the checkpoint has it; None where the recipe leaves it out.

    Raises:
        CheckpointError: the checkpoint's denoiser is for another grid, language model or autoencoder.
    """
    if not recipe.reconstruction:
        return None, False
    side, hidden = found.config.vision.side, found.config.language.hidden
    held = read_config({n: t.shape for n, t in found.stored.items()})
    if held is None:
        return DenoiserConfig(hidden, cell_channels, side, recipe.denoiser_width, recipe.denoiser_depth), False
    for what, got, wanted in (
        ("image tokens a side", held.side, side),
        ("width of the language model", held.condition, hidden),
        ("channels of the autoencoder (times 4)", held.channels, cell_channels),
    ):
        if got != wanted:
            raise CheckpointError(f"checkpoint: its denoiser is for {got} {what}, here it is {wanted}")
    return held, True


def load_start(folder: Path, recipe: Recipe, heads: int, cell_channels: int) -> Start:
    """The network of a checkpoint folder, float parameters ready to be trained, on the CPU.

    The denoiser is restored where the checkpoint has one; the original makes it anew each time.

    Args:
        heads: attention heads of the tower where nothing else says it.
        cell_channels: of the autoencoder's latents on the tokens' grid.

    Raises:
        CheckpointError: what is wrong with the folder; checked as for loading it to run.
    """
    found, _ = survey(folder, heads)
    config = all_rows(found.config, found.stored["model.embed_tokens.weight"].shape[0])
    denoiser, restored = denoiser_config(found, recipe, cell_channels)
    with torch.device("meta"):
        network = TrainingNetwork(config, None, recipe.train_tower, recipe.gaze_weight)
    # Tables that are no weights were made on the meta device, too.
    network.language.rotary_emb = type(network.language.rotary_emb)(config=network.language.config)
    compute, master = KINDS[recipe.dtype], KINDS[recipe.master]
    language = master if recipe.mode == "full" else compute
    for name, kind in (
        ("language", language),
        ("projector", master),
        ("tower", master if recipe.train_tower else compute),
    ):
        _fill(network, name, found, kind)
    if config.language.tied:
        network.lm_head.weight = network.language.embed_tokens.weight
    else:
        _fill(network, "lm_head", found, language)
    if denoiser is not None:
        network.branch = TrainingNetwork.make_branch(denoiser, recipe.seed)
        if restored:
            checkpoint.fill({PREFIX: network.branch.net}, found.stored, torch.device("cpu"), torch.float32, 0)
    choose_trained(network, recipe)
    if recipe.checkpointing:
        network.use_checkpointing()
    return Start(network, found, restored)


def _fill(network: TrainingNetwork, part: str, found: Survey, kind: torch.dtype) -> None:
    module: nn.Module = getattr(network, part)
    checkpoint.fill({HOMES[f"{part}."]: module}, found.stored, torch.device("cpu"), kind, 0)


def choose_trained(network: TrainingNetwork, recipe: Recipe) -> None:
    """Set which parameters are trained; adapters are put into the language model for mode lora.

    Raises:
        SetupError: mode lora without peft.
    """
    network.requires_grad_(False)
    network.projector.requires_grad_(True)
    network.tower.requires_grad_(recipe.train_tower)
    if network.branch is not None:
        network.branch.requires_grad_(True)
        network.branch.net.pos_embed.requires_grad_(False)
    if recipe.mode == "full":
        network.language.requires_grad_(True)
        network.lm_head.requires_grad_(True)
        return
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise SetupError(
            f"mode lora needs peft: pip install -r requirements/train.txt; or --set mode=full ({error})"
        ) from error
    settings = LoraConfig(
        r=recipe.lora_rank, lora_alpha=recipe.lora_alpha, lora_dropout=recipe.lora_dropout, target_modules=list(ADAPTED)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        inject_adapter_in_model(settings, network.language)
    for name, parameter in network.language.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)


def groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameter groups of the optimiser: matrices decay, biases and norms do not; the denoiser has its own rate."""
    found: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            key = ("branch.net." in name, parameter.ndim >= 2)
            found.setdefault(key, []).append(parameter)
    return [
        {
            "params": held,
            "weight_decay": recipe.weight_decay if matrix else 0.0,
            "peak": recipe.lr_branch if branch and recipe.lr_branch else recipe.lr,
        }
        for (branch, matrix), held in found.items()
    ]


def trained_names(network: nn.Module) -> list[str]:
    """Names in the network of what is trained."""
    return [name for name, parameter in network.named_parameters() if parameter.requires_grad]


def stored_name(name: str) -> str:
    """Name in a checkpoint of a parameter of the network, in the original's spelling."""
    for home, prefix in HOMES.items():
        if name.startswith(home):
            inner = "vision_model." if home == "tower." else ""
            return prefix + inner + name.removeprefix(home)
    raise ValueError(f"{name} belongs to no part of a checkpoint")


def merged(state: dict[str, Tensor], scale: float) -> Iterator[tuple[str, Tensor]]:
    """(name in a checkpoint, float32 tensor) of all that a run changed; adapters are added to the matrices they adapt.

    Args:
        state: trained tensors by their name in the network, and the matrices below adapters.
        scale: of the adapters, alpha / rank.
    """
    for name, tensor in state.items():
        if ".lora_" in name:
            continue
        if name.endswith(".base_layer.weight"):
            stem = name.removesuffix("base_layer.weight")
            down, up = state[f"{stem}lora_A.default.weight"], state[f"{stem}lora_B.default.weight"]
            yield stored_name(f"{stem}weight"), tensor.float() + scale * (up.float() @ down.float())
        else:
            yield stored_name(name.replace(".base_layer.", ".")), tensor.float()
