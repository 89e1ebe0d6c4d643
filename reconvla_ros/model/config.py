"""Sizes of the network, read from a checkpoint's ``config.json`` and from the folder of its vision tower."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconvla_ros.errors import CheckpointError, choices

SO400M_HEAD_DIM = 72
"""Width of one attention head of SigLIP so400m (1152 / 16); the rule where no tower folder says the head count."""

MODEL_TYPES = ("recon_qwen2",)
PROJECTORS = ("mlp2x_gelu",)


@dataclass(frozen=True)
class LanguageConfig:
    """Qwen2 decoder: widths, depth, heads, rope base, norm epsilon, rows of the embedding table."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    rope_theta: float
    norm_eps: float
    vocab_rows: int
    tied: bool = False

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden // self.heads


@dataclass(frozen=True)
class VisionConfig:
    """SigLIP tower: widths, blocks stored (one less is run), heads, input side [px], patch side [px]."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    image_size: int = 384
    patch_size: int = 14
    norm_eps: float = 1e-6

    @property
    def side(self) -> int:
        """Patches along one side: 384 // 14 = 27."""
        return self.image_size // self.patch_size

    @property
    def tokens(self) -> int:
        """Image tokens: 27 x 27 = 729."""
        return self.side**2


@dataclass(frozen=True)
class ModelConfig:
    """Everything that sizes the network."""

    language: LanguageConfig
    vision: VisionConfig
    eos_ids: tuple[int, ...] = ()


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object.

    Raises:
        CheckpointError: the file is missing, is not JSON or is not an object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"checkpoint: {path} does not exist") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint: {path} cannot be read as JSON: {error}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"checkpoint: {path} must hold a JSON object, got {type(data).__name__}")
    return data


def _positive(data: Mapping[str, Any], key: str, path: Path) -> int:
    value = data.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise CheckpointError(f"{path}: {key} must be a positive whole number, got {value!r}")
    return value


def read_language(data: Mapping[str, Any], path: Path) -> LanguageConfig:
    """The decoder's sizes of a parsed ``config.json``; `path` is only named in errors.

    Raises:
        CheckpointError: another architecture, a size that is missing or does not divide, a variant not supported.
    """
    if data.get("model_type") not in MODEL_TYPES:
        raise CheckpointError(f"{path}: model_type {choices(data.get('model_type'), MODEL_TYPES)}")
    if data.get("mm_projector_type") not in PROJECTORS:
        raise CheckpointError(f"{path}: mm_projector_type {choices(data.get('mm_projector_type'), PROJECTORS)}")
    if data.get("hidden_act", "silu") != "silu":
        raise CheckpointError(f"{path}: hidden_act must be 'silu', got {data['hidden_act']!r}")
    for key in ("use_sliding_window", "mm_use_im_start_end"):
        if data.get(key, False):
            raise CheckpointError(f"{path}: {key} true is not supported, must be false")
    if data.get("rope_scaling"):
        raise CheckpointError(f"{path}: rope_scaling is not supported, got {data['rope_scaling']!r}")
    rope = data.get("rope_parameters") or {}
    config = LanguageConfig(
        hidden=_positive(data, "hidden_size", path),
        intermediate=_positive(data, "intermediate_size", path),
        layers=_positive(data, "num_hidden_layers", path),
        heads=_positive(data, "num_attention_heads", path),
        kv_heads=_positive(data, "num_key_value_heads", path),
        rope_theta=float(data.get("rope_theta", rope.get("rope_theta", 1e6))),
        norm_eps=float(data.get("rms_norm_eps", 1e-6)),
        vocab_rows=_positive(data, "vocab_size", path),
        tied=bool(data.get("tie_word_embeddings", False)),
    )
    if config.hidden % config.heads or config.heads % config.kv_heads or config.head_dim % 2:
        raise CheckpointError(
            f"{path}: hidden_size {config.hidden}, num_attention_heads {config.heads} and num_key_value_heads "
            f"{config.kv_heads} do not divide one another into even head widths"
        )
    return config


def read_eos(folder: Path, data: Mapping[str, Any]) -> tuple[int, ...]:
    """Ids that end an answer: of ``generation_config.json`` where it is there, else of ``config.json``."""
    path = folder / "generation_config.json"
    source = read_json(path) if path.is_file() else data
    eos = source.get("eos_token_id", data.get("eos_token_id"))
    if eos is None:
        return ()
    ids = eos if isinstance(eos, list) else [eos]
    if not all(isinstance(i, int) for i in ids):
        raise CheckpointError(f"{path}: eos_token_id must be ids, got {eos!r}")
    return tuple(ids)


def find_tower(folder: Path, data: Mapping[str, Any]) -> Path | None:
    """The folder ``mm_vision_tower`` of config.json points to, or None.

    It is usually written relative: it is looked for inside the checkpoint, beside it and last from where we are.
    """
    name = data.get("mm_vision_tower") or data.get("vision_tower")
    if not isinstance(name, str) or not name:
        return None
    given = Path(name)
    for place in (folder / given, folder / given.name, folder.parent / given, folder.parent / given.name, given):
        if (place / "config.json").is_file():
            return place
    return None


def vision_heads(tower: Path | None, hidden: int, declared: int = 0) -> int:
    """Attention heads of the tower: of its own folder's config, else `declared` (the contract), else hidden / 72.

    The checkpoint itself does not say it. The last rule is exact for so400m (1152 -> 16) and refuses other widths
    that it does not divide.

    Raises:
        CheckpointError: nobody says it, or the number does not divide the width.
    """
    heads = declared
    if tower is not None:
        data = read_json(tower / "config.json")
        vision = data.get("vision_config", data)
        told = int(vision.get("num_attention_heads", declared))
        if declared and told != declared:
            raise CheckpointError(f"vision heads: the contract says {declared}, {tower / 'config.json'} says {told}")
        heads = told
    if not heads and hidden % SO400M_HEAD_DIM == 0:
        heads = hidden // SO400M_HEAD_DIM
    if heads <= 0 or hidden % heads:
        raise CheckpointError(
            f"vision heads: no rule for a tower of width {hidden} (got {heads}); put the folder named by "
            "mm_vision_tower beside the checkpoint, or set vision_heads in the contract"
        )
    return heads
