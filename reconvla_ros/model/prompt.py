"""The prompt, byte for byte, its ids and the splice of exact proprioception ids."""

from __future__ import annotations

from collections.abc import Sequence

from reconvla_ros.errors import ReconVlaError
from reconvla_ros.model.tokenizer import QwenTokenizer

IMAGE = "<image>"
IMAGE_ID = -200
"""Stands for the image's tokens in a list of ids."""
FORMS = ("double", "single")
SYSTEM = (
    "A chat between a curious human and an artificial intelligence robot. "
    "The robot provides actions to follow out the user's instructions."
)


def prompt_text(instruction: str, state_text: str, form: str = "double") -> str:
    """The whole prompt; `form` says whether the instruction stands before and after the image or only after it."""
    if form not in FORMS:
        raise ValueError(f"prompt form must be one of {FORMS}, got {form!r}")
    before = f"{instruction}\n" if form == "double" else ""
    return f"{SYSTEM} USER: {before}{IMAGE}\n{instruction}\n{state_text} ASSISTANT:"


def encode_prompt(tokenizer: QwenTokenizer, text: str) -> list[int]:
    """Encode the pieces around ``<image>`` one by one, joined by `IMAGE_ID`."""
    ids: list[int] = []
    for k, piece in enumerate(text.split(IMAGE)):
        if k:
            ids.append(IMAGE_ID)
        ids.extend(tokenizer.encode(piece))
    return ids


def splice_state(ids: Sequence[int], state_ids: Sequence[int], splice_id: int) -> list[int]:
    """Replace the ids in front of the FIRST `splice_id` (" ASSISTANT") by the exact state ids.

    As many ids go as state ids come, whatever stands there: text of 15 action characters does not always encode to
    15 ids again, and an instruction may itself hold the splice id. Both quirks are the original's, and trained on.
    """
    if splice_id not in ids:
        return list(ids)
    place = list(ids).index(splice_id)
    return [*ids[: max(place - len(state_ids), 0)], *state_ids, *ids[place:]]


def prompt_ids(tokenizer: QwenTokenizer, instruction: str, state_ids: Sequence[int], form: str = "double") -> list[int]:
    """Ids of the prompt with `IMAGE_ID` once where the image goes.

    Raises:
        ReconVlaError: the instruction holds ``<image>`` itself, or pushes the image out of the prompt.
    """
    text = prompt_text(instruction, tokenizer.decode(state_ids), form)
    ids = splice_state(encode_prompt(tokenizer, text), state_ids, tokenizer.splice_id)
    if ids.count(IMAGE_ID) != 1:
        raise ReconVlaError(
            f"prompt: the image must stand exactly once, found {ids.count(IMAGE_ID)} times; the instruction "
            f"{instruction!r:.80} may hold neither {IMAGE} nor ' ASSISTANT'"
        )
    return ids
