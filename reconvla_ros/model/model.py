"""The whole network for inference, and how it is loaded from a checkpoint folder in the original layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from reconvla_ros.errors import ConfigError, choices
from reconvla_ros.model import checkpoint, memory
from reconvla_ros.model.config import ModelConfig
from reconvla_ros.model.language import Cache, Decoder
from reconvla_ros.model.prompt import IMAGE_ID
from reconvla_ros.model.survey import Survey, read_folder
from reconvla_ros.model.tokenizer import QwenTokenizer
from reconvla_ros.model.vision import Projector, SiglipTower

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SHORT = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


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
    return DTYPES[pick_dtype_name(name, ("auto",))]


def pick_dtype_name(name: str, also: Sequence[str] = ()) -> str:
    """The long name of a dtype given by its long or short one (bf16, fp16, fp32).

    Raises:
        ConfigError: no such choice; `also` are further ones that the caller knows.
    """
    name = SHORT.get(name, name)
    if name not in DTYPES:
        raise ConfigError(f"dtype: {choices(name, [*also, *DTYPES])}")
    return name


def stored_parts(model: ReconVla) -> dict[str, nn.Module]:
    """Prefix of the names in a checkpoint -> module; a parameter `p` of it is stored as prefix + p."""
    parts = {"model.": model.decoder, "model.mm_projector.": model.projector, checkpoint.TOWER: model.tower}
    return parts if model.config.language.tied else {**parts, "lm_head.": model.lm_head}


def survey(folder: Path, heads: int = 0) -> tuple[Survey, ReconVla]:
    """Check everything about a folder that can be checked without its weights; the network comes on the meta device.

    Raises:
        CheckpointError: names what is missing, cut short, misshaped, pickled or contradictory.
    """
    found = read_folder(folder, heads)
    with torch.device("meta"):
        model = ReconVla(found.config)
    wanted = {p + n: tuple(w.shape) for p, m in stored_parts(model).items() for n, w in m.named_parameters()}
    tied = {"lm_head.weight"} if found.config.language.tied else set()
    present = {n: t for n, t in found.stored.items() if n not in tied}
    checkpoint.check_names(wanted, present, found.config.vision.layers - 1, found.tokenizer.size)
    return found, model


def load_model(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    heads: int = 0,
    progress: Callable[[int, int], None] | None = None,
    hooks: checkpoint.Hooks | None = None,
) -> Loaded:
    """Load a checkpoint folder; training-only tensors are never read. May run in a thread of its own.

    Args:
        folder: the checkpoint.
        device, dtype: where and as what the weights are held.
        heads: attention heads of the tower where nothing else says it, 0 = unknown.
        progress: called with (tensors done, tensors in all).
        hooks: instead of `progress`: reports with bytes and memory, and a way to call the load off.

    Raises:
        CheckpointError: names what is missing, cut short, misshaped, pickled, contradictory, not finite or too large.
        Cancelled: the load was called off.
    """
    found, model = survey(folder, heads)
    parameters = sum(p.numel() for part in stored_parts(model).values() for p in part.parameters())
    what = f"checkpoint: {folder}"
    memory.check_room(what, parameters, dtype, device)
    try:
        hooks = hooks or checkpoint.Hooks(progress)
        checkpoint.fill(stored_parts(model), found.stored, device, dtype, found.tokenizer.size, hooks)
    except torch.OutOfMemoryError as error:
        raise memory.shortage(what, parameters, dtype, device) from error
    if found.config.language.tied:
        model.lm_head.weight = model.decoder.embed_tokens.weight
    return Loaded(folder, model.eval().requires_grad_(False), found.tokenizer, found.unused)
