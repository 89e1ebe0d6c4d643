"""A small untrained checkpoint in the original's layout, with a small tokenizer of its own, to train from nothing on a CPU.

The full Qwen2 vocabulary alone would be 29 MB at width 48; here it is some hundred words learned from the prompt and the
instructions, all bytes, and the 256 action words, which are the last of them as in Qwen2's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, pre_tokenizers, trainers
from tokenizers.models import BPE
from torch import Tensor

from reconvla_ros.errors import ConfigError
from reconvla_ros.model.checkpoint import SINGLE, TOWER
from reconvla_ros.model.config import LanguageConfig, VisionConfig
from reconvla_ros.model.folder import new_folder, write_json
from reconvla_ros.model.layout import Size, full_layout
from reconvla_ros.model.prompt import SYSTEM
from reconvla_ros.model.random_init import BINS, TOWER_FOLDER, config_json, tower_files
from reconvla_ros.model.safetensor import write_file
from reconvla_ros.model.tokenizer import ADDED, PATTERN, QwenTokenizer, byte_letters, write_tokenizer

FIRST_ACTION_WORD = 0x100
"""Action words are the letters U+0100..U+01FF: two bytes each, so one merge makes each of them and no two grow together."""
WORDS = 400
"""Most words that are learned besides the bytes."""
PATCH = 14


@dataclass(frozen=True)
class FreshSize:
    """Widths and depths of language model and tower; `image` [px] a side, patches of 14 px."""

    hidden: int = 96
    layers: int = 4
    heads: int = 4
    tower: int = 64
    tower_layers: int = 4
    image: int = 168

    def __post_init__(self) -> None:
        if self.hidden % (2 * self.heads) or self.tower % self.heads or self.image % PATCH:
            raise ConfigError(
                f"fresh model: hidden {self.hidden} must be divisible by 2 x heads {self.heads}, tower {self.tower} by heads, "
                f"image {self.image} by {PATCH} px"
            )


def small_vocabulary(texts: Iterable[str]) -> tuple[dict[str, int], list[str]]:
    """vocab and merges learned from the prompt and `texts`; the last 256 ids are the action words."""
    letters = byte_letters()
    tokenizer = Tokenizer(BPE())
    split = pre_tokenizers.Split(Regex(PATTERN), behavior="isolated", invert=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=len(letters) + WORDS, initial_alphabet=letters, min_frequency=2, show_progress=False
    )
    # The prompt comes often enough that each of its words, " ASSISTANT" above all, becomes a single token.
    prompt = f"{SYSTEM} USER: \n ASSISTANT:"
    tokenizer.train_from_iterator(
        [prompt] * 4 + [t for text in sorted(set(texts)) for t in (text, f" {text}")] * 2, trainer
    )
    model = json.loads(tokenizer.to_str())["model"]
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    words = ["".join(letters[b] for b in chr(FIRST_ACTION_WORD + k).encode()) for k in range(BINS)]
    learned = [w for w in sorted(model["vocab"], key=model["vocab"].__getitem__) if w not in words]
    vocab = {word: k for k, word in enumerate([*learned, *words])}
    return vocab, [*(m for m in merges if m.replace(" ", "") not in words), *(f"{w[0]} {w[1]}" for w in words)]


def fresh_tensor(name: str, shape: tuple[int, ...], layers: int, generator: torch.Generator) -> Tensor:
    """An untrained weight: norms 1, biases 0, tables and head 0.02, matrices keep the scale of their input.

    What is added to the residual stream is smaller the deeper the network (GPT-2's rule).
    """
    if "norm" in name and name.endswith(".weight"):
        return torch.ones(shape)
    if name.endswith(("bias", "in_proj_bias")):
        return torch.zeros(shape)
    values = torch.randn(shape, generator=generator)
    if name.endswith(("embed_tokens.weight", "lm_head.weight", "position_embedding.weight", "probe")):
        return values.mul_(0.02)
    into_stream = name.endswith(("o_proj.weight", "down_proj.weight", "out_proj.weight", "fc2.weight"))
    return values.div_(math.sqrt(math.prod(shape[1:]) * (2 * layers if into_stream else 1)))


def write_fresh(folder: Path, size: FreshSize, texts: Iterable[str], seed: int = 0) -> None:
    """Write the checkpoint; the same size, texts and seed give the same bytes.

    Raises:
        ConfigError: a folder that holds something, sizes that do not divide, texts of which no tokenizer can be made.
    """
    vocab, merges = small_vocabulary(texts)
    pairs = [(a, b) for a, _, b in (m.partition(" ") for m in merges)]
    tokenizer = QwenTokenizer(vocab, pairs, {name: len(vocab) + k for k, name in enumerate(ADDED)})
    if tokenizer.splice_id in tokenizer.encode(f"{SYSTEM} USER: "):
        raise ConfigError(
            "fresh model: ' ASSISTANT' did not become a word of its own; the instructions leave no room for it"
        )
    language = LanguageConfig(
        size.hidden, 4 * size.hidden, size.layers, size.heads, max(size.heads // 2, 1), 1e4, 1e-6, tokenizer.size
    )
    vision = VisionConfig(size.tower, 4 * size.tower, size.tower_layers + 1, size.heads, size.image, PATCH)
    spec = Size(language, vision, 0)
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        n: fresh_tensor(n, s, size.tower_layers if n.startswith(TOWER) else size.layers, generator)
        for n, s in full_layout(spec).items()
    }
    end, pad = tokenizer.end_id, tokenizer.added[ADDED[0]]
    ids = {"bos_token_id": pad, "eos_token_id": end, "pad_token_id": pad}
    with new_folder(folder) as partial:
        write_tokenizer(partial, vocab, merges)
        write_json(partial / "config.json", config_json(spec, "float32") | ids)
        write_json(partial / "generation_config.json", ids)
        layout = {n: (t.dtype, tuple(t.shape)) for n, t in tensors.items()}
        write_file(partial / SINGLE, layout, lambda n: [tensors[n]])
        (partial / TOWER_FOLDER).mkdir()
        tower_files(partial / TOWER_FOLDER, vision)
