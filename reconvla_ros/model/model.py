"""The whole network for inference, and how it is loaded from a checkpoint folder in the original layout."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from reconvla_ros.errors import CheckpointError, ConfigError, choices
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
from reconvla_ros.model.language import Cache, Decoder
from reconvla_ros.model.prompt import IMAGE_ID
from reconvla_ros.model.tokenizer import QwenTokenizer, load_tokenizer
from reconvla_ros.model.vision import Projector, SiglipTower

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class ReconVla(nn.Module):
    """SigLIP tower, projector, Qwen2 decoder and head; one sequence at a time."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.tower = SiglipTower(config.vision)
        self.projector = Projector(config.vision.hidden, config.language.hidden)
        self.decoder = Decoder(config.language)
        self.lm_head = nn.Linear(config.language.hidden, config.language.vocab_rows, bias=False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.lm_head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are."""
        return self.lm_head.weight.dtype

    def encode_image(self, pixels: Tensor, half_image: bool = False) -> Tensor:
        """Pixels (1, 3, 384, 384) -> image embeddings (729, hidden).

        `half_image` rounds pixels and tower features to float16, as the original's server does to a float32 model.
        """
        pixels = pixels.to(self.device)
        if half_image:
            pixels = pixels.half()
        features = self.tower(pixels.to(self.dtype))
        if half_image:
            features = features.half().to(self.dtype)
        return self.projector(features)[0]

    def embed(self, ids: Sequence[int], image: Tensor) -> Tensor:
        """Prompt ids with the image (729, hidden) in the place of `IMAGE_ID` -> (len(ids) + 728, hidden)."""
        place = list(ids).index(IMAGE_ID)
        return torch.cat((self.words(ids[:place]), image, self.words(ids[place + 1 :])))

    def words(self, ids: Sequence[int]) -> Tensor:
        """Embeddings (len(ids), hidden) of ordinary ids."""
        return self.decoder.embed_tokens(torch.tensor(ids, device=self.device, dtype=torch.long))

    def prefill(
        self, embeds: Tensor, room: int, watch_layer: int = -1, keep: int = 1, cache: Cache | None = None
    ) -> tuple[Cache, Tensor]:
        """Run the prompt, and what is put behind it, with `room` for so many more positions.

        Args:
            embeds: (positions, hidden); all but the last `keep - 1` are the prompt.
            room: further positions the cache must take.
            watch_layer: layer whose attention of the last prompt position is kept, -1 = none.
            keep: states to return, of the last prompt position and of those behind it.
            cache: used again, its content forgotten, when it is large enough.

        Returns:
            The cache and the states (keep, hidden).
        """
        needed = embeds.shape[0] + room
        if cache is None or cache.capacity < needed:
            cache = self.decoder.new_cache(needed)
        cache.length, cache.watched = 0, None
        cache.watch_layer, cache.watch_at = watch_layer, embeds.shape[0] - keep
        return cache, self.decoder(embeds, cache, keep)

    def extend(self, ids: Sequence[int], cache: Cache) -> Tensor:
        """Append tokens; their hidden states (len(ids), hidden)."""
        return self.decoder(self.words(ids), cache)

    def step(self, token: int, cache: Cache) -> Tensor:
        """Append one token; its hidden state (1, H)."""
        return self.decoder(self.decoder.embed_tokens.weight[token : token + 1], cache)


@dataclass(frozen=True)
class Loaded:
    """A network with what belongs to it."""

    folder: Path
    model: ReconVla
    tokenizer: QwenTokenizer
    ignored: tuple[str, ...]


def pick_device(name: str) -> torch.device:
    """ "cpu", "cuda", "cuda:N" or "auto" (a GPU when there is one).

    Raises:
        ConfigError: no such choice, or a GPU that is not there.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda:0" if available else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and (kind == "cpu" or not index.isdigit())):
        raise ConfigError(f"device: {choices(name, ['auto', 'cpu', 'cuda', 'cuda:0'])}")
    if kind == "cuda" and int(index or 0) >= available:
        here = ["auto", "cpu", *(f"cuda:{i}" for i in range(available))]
        reason = "no CUDA GPU is visible to this torch" if not available else f"only {available} GPUs are visible"
        raise ConfigError(
            f"device: {name!r} asked for, but {reason} (torch {torch.__version__}); valid here: {', '.join(here)}"
        )
    return torch.device("cpu") if kind == "cpu" else torch.device("cuda", int(index or 0))


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """A dtype by name; "auto" is bfloat16 on a GPU and float32 on a CPU.

    Raises:
        ConfigError: no such choice.
    """
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in DTYPES:
        raise ConfigError(f"dtype: {choices(name, ['auto', *DTYPES])}")
    return DTYPES[name]


def read_vision(stored: dict[str, checkpoint.Stored], folder: Path, tower: Path | None, heads: int) -> VisionConfig:
    """The tower's sizes from its tensors; the head count from its folder, the contract (`heads`) or a rule.

    Raises:
        CheckpointError: the tower is missing or has sizes that do not fit 384 px images.
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
    config = VisionConfig(patch[0], inner, layers, vision_heads(tower, patch[0], heads), SIDE, patch[-1])
    if config.tokens != places:
        raise CheckpointError(
            f"checkpoint: tower has {places} positions, {SIDE} px images of {patch[-1]} px patches need {config.tokens}"
        )
    return config


def _with_tower(stored: dict[str, checkpoint.Stored], tower: Path | None) -> dict[str, checkpoint.Stored]:
    """`stored`, with the tower from its own folder when the checkpoint does not carry it."""
    if tower is None or any(n.startswith(checkpoint.TOWER) for n in stored):
        return stored
    outside = {n: t for n, t in checkpoint.list_tensors(tower).items() if not n.startswith(("text_model.", "logit_"))}
    return {**stored, **{checkpoint.TOWER + n.removeprefix("vision_model."): t for n, t in outside.items()}}


def stored_parts(model: ReconVla) -> dict[str, nn.Module]:
    """Prefix of the names in a checkpoint -> module; a parameter `p` of it is stored as prefix + p."""
    parts = {"model.": model.decoder, "model.mm_projector.": model.projector, checkpoint.TOWER: model.tower}
    return parts if model.config.language.tied else {**parts, "lm_head.": model.lm_head}


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


def load_model(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    heads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Loaded:
    """Load a checkpoint folder; training-only tensors are never read.

    Args:
        folder: the checkpoint.
        device, dtype: where and as what the weights are held.
        heads: attention heads of the tower where nothing else says it, 0 = unknown.
        progress: called with (tensors done, tensors in all).

    Raises:
        CheckpointError: names what is missing, cut short, misshaped, pickled or contradictory.
    """
    stored = checkpoint.map_names(checkpoint.list_tensors(folder))
    stored = _with_tower(stored, find_tower(folder, read_json(folder / "config.json")))
    tokenizer = load_tokenizer(folder)
    config = read_config(folder, tokenizer, stored, heads)
    with torch.device("meta"):
        model = ReconVla(config)
    modules = stored_parts(model)
    wanted = {p + n: tuple(w.shape) for p, m in modules.items() for n, w in m.named_parameters()}
    last = config.vision.layers - 1
    tied = {"lm_head.weight"} if config.language.tied else set()
    checkpoint.check_names(wanted, {n: t for n, t in stored.items() if n not in tied}, last, tokenizer.size)
    try:
        checkpoint.fill(modules, stored, device, dtype, tokenizer.size, progress)
    except torch.OutOfMemoryError as error:
        needed = sum(math.prod(shape) for shape in wanted.values()) * torch.empty(0, dtype=dtype).element_size()
        raise CheckpointError(
            f"checkpoint: {folder} needs {needed / 1e9:.1f} GB as {dtype} on {device}, which has not so much free; "
            "valid: dtype bfloat16 (half of float32), device cpu, or a GPU with more memory"
        ) from error
    if config.language.tied:
        model.lm_head.weight = model.decoder.embed_tokens.weight
    ignored = tuple(sorted(n for n in stored if checkpoint.is_ignored(n, last)))
    return Loaded(folder, model.eval().requires_grad_(False), tokenizer, ignored)
