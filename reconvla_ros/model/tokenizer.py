"""Qwen2's byte-level BPE from ``vocab.json`` and ``merges.txt``, with the ids the original's slow tokenizer gives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE

from reconvla_ros.errors import CheckpointError
from reconvla_ros.model.config import read_json

# Pre-tokenisation of Qwen2: contractions, words, single digits, punctuation, line breaks, spaces.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
ADDED = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
END_OF_ANSWER = "<|im_end|>"


def byte_letters() -> list[str]:
    """The printable letter byte-level BPE writes for each byte 0..255 (GPT-2's table)."""
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    letters, spare = [], 256
    for byte in range(256):
        if byte in printable:
            letters.append(chr(byte))
        else:
            letters.append(chr(spare))
            spare += 1
    return letters


class QwenTokenizer:
    """Text <-> ids.

    Attributes:
        base_size: ids below are ordinary tokens (151643 for Qwen2); action tokens are counted down from here.
        size: base_size plus the added tokens (151646).
    """

    def __init__(self, vocab: dict[str, int], merges: list[tuple[str, str]], added: dict[str, int]) -> None:
        self.base_size = len(vocab)
        self.size = self.base_size + len(added)
        if sorted(vocab.values()) != list(range(self.base_size)):
            raise CheckpointError(f"tokenizer: the ids of vocab.json must be 0..{self.base_size - 1} without a gap")
        if sorted(added.values()) != list(range(self.base_size, self.size)):
            raise CheckpointError(
                f"tokenizer: added tokens must be {self.base_size}..{self.size - 1}, after the vocabulary, got {added}"
            )
        self._words = [*sorted(vocab, key=vocab.__getitem__), *sorted(added, key=added.__getitem__)]
        self.added = dict(added)
        self._tokenizer = self._build(vocab, merges)

    def _build(self, vocab: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
        try:
            tokenizer = Tokenizer(BPE(vocab, merges, byte_fallback=False))
        except Exception as error:
            raise CheckpointError(f"tokenizer: vocab.json and merges.txt do not belong together: {error}") from error
        tokenizer.normalizer = normalizers.NFC()
        split = pre_tokenizers.Split(Regex(PATTERN), behavior="isolated", invert=False)
        bytes_to_letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_to_letters])
        tokenizer.decoder = decoders.ByteLevel()
        names = sorted(self.added, key=self.added.__getitem__)
        tokenizer.add_special_tokens([AddedToken(n, special=True, normalized=False) for n in names])
        return tokenizer

    def encode(self, text: str) -> list[int]:
        """Ids of `text` after NFC; no start token is added."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`; bytes that are not UTF-8 become U+FFFD, the way Python replaces them."""
        parts: list[str] = []
        pending = bytearray()
        for i in ids:
            if not 0 <= i < self.size:
                raise CheckpointError(f"tokenizer: id must be in 0..{self.size - 1}, got {i}")
            if i >= self.base_size:
                parts.append(pending.decode("utf-8", errors="replace"))
                pending.clear()
                parts.append(self._words[i])
            else:
                pending.extend(self._letter_bytes[letter] for letter in self._words[i])
        return "".join(parts) + pending.decode("utf-8", errors="replace")

    @cached_property
    def _letter_bytes(self) -> dict[str, int]:
        return {letter: byte for byte, letter in enumerate(byte_letters())}

    @cached_property
    def splice_id(self) -> int:
        """First id of " ASSISTANT:" (35560); proprioception goes in front of its first occurrence."""
        return self.encode(" ASSISTANT:")[0]

    @property
    def end_id(self) -> int:
        """Id of ``<|im_end|>``, which ends an answer."""
        return self.added[END_OF_ANSWER]


def load_tokenizer(folder: Path) -> QwenTokenizer:
    """The tokenizer of a checkpoint folder.

    Raises:
        CheckpointError: a file is missing, is not what its name says, or the files contradict each other.
    """
    vocab = read_json(folder / "vocab.json")
    added = read_json(folder / "added_tokens.json")
    missing = [name for name in ADDED if name not in added]
    if missing:
        raise CheckpointError(f"{folder / 'added_tokens.json'}: lacks {', '.join(missing)}; not a Qwen2 vocabulary")
    try:
        lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"checkpoint: {folder / 'merges.txt'} cannot be read: {error}") from error
    pairs = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    bad = [" ".join(p) for p in pairs if len(p) != 2]
    if bad:
        raise CheckpointError(f"{folder / 'merges.txt'}: a merge must be two words, got {bad[0]!r}")
    return QwenTokenizer(vocab, pairs, added)  # type: ignore[arg-type]


def write_tokenizer(folder: Path, vocab: dict[str, int], merges: Sequence[str]) -> None:
    """Write ``vocab.json``, ``merges.txt`` and the three small files the HF Trainer writes beside them."""
    added = {name: len(vocab) + k for k, name in enumerate(ADDED)}
    text = json.dumps(vocab, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    (folder / "vocab.json").write_text(text, encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{m}\n" for m in merges), encoding="utf-8")
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    end = {"content": ADDED[0], **flags}
    files = {
        "added_tokens.json": dict(sorted(added.items())),
        "special_tokens_map.json": {"additional_special_tokens": list(ADDED[1:]), "eos_token": end, "pad_token": end},
        "tokenizer_config.json": {
            "add_prefix_space": False,
            "added_tokens_decoder": {str(i): {"content": n, **flags, "special": True} for n, i in added.items()},
            "additional_special_tokens": list(ADDED[1:]),
            "bos_token": None,
            "clean_up_tokenization_spaces": False,
            "eos_token": ADDED[0],
            "errors": "replace",
            "model_max_length": 32768,
            "pad_token": ADDED[0],
            "padding_side": "right",
            "split_special_tokens": False,
            "tokenizer_class": "Qwen2Tokenizer",
            "unk_token": None,
        },
    }
    for name, data in files.items():
        (folder / name).write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
