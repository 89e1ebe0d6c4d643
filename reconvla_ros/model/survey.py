"""What a checkpoint folder holds, found and checked without reading a weight."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from reconvla_ros.errors import CheckpointError
from reconvla_ros.model import checkpoint
from reconvla_ros.model.config import (
    LanguageConfig,
    ModelConfig,
    VisionConfig,
    find_tower,
    read_eos,
    read_json,
    read_language,
    vision_heads,
)
from reconvla_ros.model.images import SIDE
from reconvla_ros.model.tokenizer import QwenTokenizer, load_tokenizer


@dataclass(frozen=True)
class Survey:
    """What a checkpoint folder holds, found without reading a weight.

    Attributes:
        stored: every tensor by its mapped name, those of the tower's own folder included where they are needed.
        config: sizes after loading.
        unused: names that loading leaves out.
        tower: the tower's own folder, None where there is none.
    """

    folder: Path
    stored: dict[str, checkpoint.Stored]
    tokenizer: QwenTokenizer
    config: ModelConfig
    unused: tuple[str, ...]
    tower: Path | None


def read_vision(stored: dict[str, checkpoint.Stored], folder: Path, tower: Path | None, heads: int) -> VisionConfig:
    """The tower's sizes from its tensors; the head count from its folder, the contract (`heads`) or a rule.

    Raises:
        CheckpointError: the tower is missing or has sizes that do not fit its images.
    """
    prefix = checkpoint.TOWER
    try:
        patch = stored[f"{prefix}embeddings.patch_embedding.weight"].shape
        places = stored[f"{prefix}embeddings.position_embedding.weight"].shape[0]
        inner = stored[f"{prefix}encoder.layers.0.mlp.fc1.weight"].shape[0]
    except KeyError as error:
        raise CheckpointError(
            f"checkpoint: {folder} lacks the vision tower's {error}, and no folder mm_vision_tower with "
            "weights was found"
        ) from error
    start = f"{prefix}encoder.layers."
    layers = 1 + max(int(n[len(start) :].split(".", 1)[0]) for n in stored if n.startswith(start))
    told = read_json(tower / "config.json") if tower else {}
    layers = int(told.get("vision_config", told).get("num_hidden_layers", layers))
    size = int(told.get("vision_config", told).get("image_size", image_size(places, patch[-1])))
    config = VisionConfig(patch[0], inner, layers, vision_heads(tower, patch[0], heads), size, patch[-1])
    if config.tokens != places:
        raise CheckpointError(
            f"checkpoint: tower has {places} positions, {size} px images of {patch[-1]} px patches need {config.tokens}"
        )
    return config


def image_size(places: int, patch: int) -> int:
    """Side of the tower's input [px] where its folder is not there to say it: 384, or what its places cover without a rest."""
    return SIDE if (SIDE // patch) ** 2 == places else round(places**0.5) * patch


def _with_tower(stored: dict[str, checkpoint.Stored], tower: Path | None) -> dict[str, checkpoint.Stored]:
    """`stored`, with the tower from its own folder when the checkpoint does not carry it."""
    if tower is None or any(n.startswith(checkpoint.TOWER) for n in stored):
        return stored
    outside = {n: t for n, t in checkpoint.list_tensors(tower).items() if not n.startswith(("text_model.", "logit_"))}
    return {**stored, **{checkpoint.TOWER + n.removeprefix("vision_model."): t for n, t in outside.items()}}


def read_config(
    folder: Path, tokenizer: QwenTokenizer, stored: dict[str, checkpoint.Stored], heads: int
) -> ModelConfig:
    """All sizes, with the vocabulary's tables cut to the tokenizer, as the original does after loading.

    Raises:
        CheckpointError: the parts of the folder contradict each other.
    """
    path = folder / "config.json"
    data = read_json(path)
    language: LanguageConfig = read_language(data, path)
    eos = read_eos(folder, data)
    if tokenizer.size > language.vocab_rows:
        raise CheckpointError(
            f"{path}: vocab_size {language.vocab_rows} is smaller than the tokenizer ({tokenizer.size})"
        )
    if any(not 0 <= i < tokenizer.size for i in eos):
        raise CheckpointError(
            f"checkpoint: eos_token_id {list(eos)} is outside the tokenizer's 0..{tokenizer.size - 1}; "
            "it is of another vocabulary"
        )
    vision = read_vision(stored, folder, find_tower(folder, data), heads)
    if data.get("mm_hidden_size", vision.hidden) != vision.hidden:
        raise CheckpointError(
            f"{path}: mm_hidden_size {data['mm_hidden_size']} contradicts the tower's width {vision.hidden}"
        )
    return ModelConfig(replace(language, vocab_rows=tokenizer.size), vision, eos)


def read_folder(folder: Path, heads: int = 0) -> Survey:
    """Headers, tokenizer and configuration of a folder; `heads` of the tower where nothing else says it.

    Raises:
        CheckpointError: names what is missing, cut short, pickled or contradictory.
    """
    stored = checkpoint.map_names(checkpoint.list_tensors(folder))
    tower = find_tower(folder, read_json(folder / "config.json"))
    stored = _with_tower(stored, tower)
    tokenizer = load_tokenizer(folder)
    config = read_config(folder, tokenizer, stored, heads)
    last = config.vision.layers - 1
    unused = tuple(sorted(n for n in stored if checkpoint.is_ignored(n, last)))
    return Survey(folder, stored, tokenizer, config, unused, tower)
