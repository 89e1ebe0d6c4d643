"""Greedy decoding: a chunk of exactly N action tokens behind the strict gate, and the original's open-ended loop.

The chunk is decoded over the rows of the action ids alone; one product of all its hidden states with the full table
then certifies that no other id of the vocabulary would have won anywhere. Up to the first place where one would have,
the tokens are those of plain greedy decoding, so the refusal names the very token the model wanted. `head="full"`
compares with the whole table in every step instead; both accept and refuse the same chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reconvla_ros.errors import TokenGateError
from reconvla_ros.model.language import Cache
from reconvla_ros.model.model import ReconVla
from reconvla_ros.model.tokens import ActionCodec

HEADS = ("certified", "full")


@dataclass(frozen=True, eq=False)
class Decoded:
    """One accepted answer.

    Attributes:
        ids: the action ids.
        probability: (N,) softmax over the action ids, of the id taken; the confidence of a token, in [0, 1].
        margin: (N,) lead of the id taken over the runner-up among the action ids [logits].
    """

    ids: tuple[int, ...]
    probability: NDArray[np.float64]
    margin: NDArray[np.float64]


def _best(logits: Tensor, place: int) -> int:
    """Index of the largest entry of (1, N)."""
    if not bool(torch.isfinite(logits).all()):
        raise TokenGateError(f"token gate: the logits of token {place} are not finite (NaN or infinity)")
    return int(logits[0].argmax())


def _certify(model: ReconVla, hidden: Tensor, codec: ActionCodec) -> None:
    """Refuse the first of the states (N, H) at which an id outside the action range wins over the whole vocabulary.

    Only ids outside the range can refuse: two action ids that tie within rounding stay as they were decoded.
    """
    for place, token in enumerate((hidden @ model.lm_head.weight.T).argmax(-1).tolist()):
        codec.check(token, place, len(hidden))


@torch.inference_mode()
def decode_chunk(
    model: ReconVla,
    cache: Cache,
    hidden: Tensor,
    codec: ActionCodec,
    count: int,
    head: str = "certified",
    end_id: int | None = None,
) -> Decoded:
    """Decode `count` action tokens after a prefill.

    Args:
        cache, hidden: what `ReconVla.prefill` returned, with room for `count` positions.
        head: see the module.
        end_id: when given, the answer must end with it after the last action token (one step more).

    Raises:
        TokenGateError: an id outside the action range, logits that are not finite, or an answer that goes on.
    """
    if head not in HEADS:
        raise ValueError(f"head must be one of {HEADS}, got {head!r}")
    rows = model.lm_head.weight[codec.low : codec.high + 1]
    ids: list[int] = []
    states, action_logits = [], []
    for place in range(count):
        states.append(hidden)
        action = (hidden @ rows.T).float()
        best = codec.low + _best(action, place)
        if head == "full":
            best = _best((hidden @ model.lm_head.weight.T).float(), place)
        codec.check(best, place, count)
        ids.append(best)
        action_logits.append(action)
        if place + 1 < count or end_id is not None:
            hidden = model.step(best, cache)
    if head == "certified":
        _certify(model, torch.cat(states), codec)
    if end_id is not None:
        last = _best((hidden @ model.lm_head.weight.T).float(), count)
        if last != end_id:
            raise TokenGateError(
                f"token gate: after {count} action tokens the answer must end with {end_id}, got {last}"
            )
    logits = torch.cat(action_logits)
    top = logits.topk(2, dim=-1).values
    probability = logits.softmax(-1).max(-1).values
    return Decoded(tuple(ids), probability.double().cpu().numpy(), (top[:, 0] - top[:, 1]).double().cpu().numpy())


@torch.inference_mode()
def greedy(
    model: ReconVla,
    embeds: Tensor,
    max_new: int = 128,
    eos_ids: Sequence[int] = (),
    repetition_penalty: float = 1.0,
) -> tuple[list[int], Tensor]:
    """The original's generation: greedy over the whole vocabulary until an end id or `max_new` tokens.

    A repetition penalty other than 1 stays active under greedy decoding and sees the new tokens only.

    Returns:
        The new ids, end id included, and the raw logits (tokens, vocabulary) float32.
    """
    cache, hidden = model.prefill(embeds, max_new)
    ids: list[int] = []
    rows = []
    while True:
        raw = (hidden @ model.lm_head.weight.T).float()
        rows.append(raw[0])
        ids.append(_best(_penalised(raw, ids, repetition_penalty), len(ids)))
        if len(ids) >= max_new or ids[-1] in eos_ids:
            return ids, torch.stack(rows)
        hidden = model.step(ids[-1], cache)


def _penalised(logits: Tensor, seen: Sequence[int], penalty: float) -> Tensor:
    if penalty == 1.0 or not seen:
        return logits
    logits, index = logits.clone(), torch.tensor(sorted(set(seen)), device=logits.device)
    picked = logits[0, index]
    logits[0, index] = torch.where(picked < 0, picked * penalty, picked / penalty)
    return logits
