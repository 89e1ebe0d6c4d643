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
    """One accepted answer of N tokens.

    Attributes:
        ids: the action ids.
        probability: (N,) softmax over the action ids, of the id taken; the confidence of a token, in [0, 1].
        margin: (N,) lead of the id taken over the runner-up among the action ids [logits].
        entropy: (N,) of the softmax over the action ids [nat], 0 = certain, log(bins) = knows nothing.
        forced: how many of the first tokens were given, not decoded: probability 1, margin infinite, entropy 0.
        passes: forward passes of the decoder after the prefill.
        attention: (positions,) of the last prompt position in the watched layer, mean over heads; None = not watched.
    """

    ids: tuple[int, ...]
    probability: NDArray[np.float64]
    margin: NDArray[np.float64]
    entropy: NDArray[np.float64]
    forced: int = 0
    passes: int = 0
    attention: Tensor | None = None


class Head:
    """Chooses the tokens of one answer behind the gate, and remembers what its confidence and certificate need.

    States go in by blocks with `best`; `accept` then says how many of the block's first states were real.
    """

    def __init__(self, model: ReconVla, codec: ActionCodec, count: int, head: str, forced: Sequence[int] = ()) -> None:
        if head not in HEADS:
            raise ValueError(f"head must be one of {HEADS}, got {head!r}")
        for place, token in enumerate(forced):
            codec.check(token, place, count)
        self.codec, self.count, self.full, self.forced = codec, count, head == "full", len(forced)
        self.ids = list(forced)
        self._table = model.lm_head.weight
        self._rows = self._table[codec.low : codec.high + 1]
        self._states: list[Tensor] = []
        self._logits: list[Tensor] = []
        self._block = self._action = torch.empty(0)

    @property
    def left(self) -> int:
        """Tokens still to be decoded."""
        return self.count - len(self.ids)

    def best(self, block: Tensor) -> list[int]:
        """The winner for each of the states (N, hidden) that stand for the next N places."""
        self._block, self._action = block, (block @ self._rows.T).float()
        if self.full:
            return self.of_all(block)
        return (self._action.argmax(-1) + self.codec.low).tolist()

    def of_all(self, block: Tensor) -> list[int]:
        """The winner over the whole vocabulary for each of the states (N, hidden)."""
        winners: list[int] = (block @ self._table.T).argmax(-1).tolist()
        return winners

    def accept(self, ids: Sequence[int]) -> None:
        """Take the winners of the block's first `len(ids)` states as the next tokens.

        Raises:
            TokenGateError: logits that are not finite, or an id that is no action.
        """
        n, place = len(ids), len(self.ids)
        finite = torch.isfinite(self._action[:n]).all(-1).tolist()
        for offset, (token, good) in enumerate(zip(ids, finite, strict=True)):
            if not good:
                raise TokenGateError(
                    f"token gate: the logits of token {place + offset} are not finite (NaN or infinity)"
                )
            self.codec.check(token, place + offset, self.count)
        self.ids += ids
        self._states.append(self._block[:n])
        self._logits.append(self._action[:n])

    def end(self, state: Tensor, end_id: int) -> None:
        """Check that the answer ends with `end_id`, from the state (1, hidden) of its last token.

        Raises:
            TokenGateError: it goes on.
        """
        last = self.of_all(state)[0]
        if last != end_id:
            raise TokenGateError(
                f"token gate: after {self.count} action tokens the answer must end with {end_id}, got {last}"
            )

    def certify(self) -> None:
        """Refuse the first decoded place at which an id outside the action range wins over the whole vocabulary.

        Only ids outside the range can refuse: two action ids that tie within rounding stay as they were decoded.
        """
        if self.full or not self._states:
            return
        for offset, token in enumerate(self.of_all(torch.cat(self._states))):
            self.codec.check(token, self.forced + offset, self.count)

    def decoded(self, passes: int, attention: Tensor | None = None) -> Decoded:
        """The answer with its confidence."""
        one, certain = np.ones(self.forced), np.full(self.forced, np.inf)
        if not self._logits:
            return Decoded(tuple(self.ids), one, certain, 0 * one, self.forced, passes, attention)
        logits = torch.cat(self._logits).double()
        top = logits.topk(2, dim=-1).values
        logs = logits.log_softmax(-1)
        entropy = -(logs.exp() * logs).sum(-1)
        found = [t.cpu().numpy() for t in (logs.max(-1).values.exp(), top[:, 0] - top[:, 1], entropy)]
        probability, margin, uncertain = (
            np.concatenate((first, rest)) for first, rest in zip((one, certain, 0 * one), found, strict=True)
        )
        return Decoded(tuple(self.ids), probability, margin, uncertain, self.forced, passes, attention)


@torch.inference_mode()
def decode_chunk(
    model: ReconVla,
    cache: Cache,
    hidden: Tensor,
    codec: ActionCodec,
    count: int,
    head: str = "certified",
    end_id: int | None = None,
    forced: Sequence[int] = (),
) -> Decoded:
    """Decode a chunk of `count` action tokens after a prefill, one by one.

    Args:
        cache, hidden: what `ReconVla.prefill` returned, with room for what is still to come. The last of the states
            stands for the first token to be decoded.
        head: see the module.
        end_id: when given, the answer must end with it after the last action token (one step more).
        forced: first tokens of the answer, which were put behind the prompt in the prefill.

    Raises:
        TokenGateError: an id outside the action range, logits that are not finite, or an answer that goes on.
    """
    chosen, state, passes = Head(model, codec, count, head, forced), hidden[-1:], 0
    while chosen.left:
        chosen.accept(chosen.best(state))
        if chosen.left or end_id is not None:
            state, passes = model.step(chosen.ids[-1], cache), passes + 1
    chosen.certify()
    if end_id is not None:
        chosen.end(state, end_id)
    return chosen.decoded(passes, cache.watched)


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
        if not bool(torch.isfinite(raw).all()):
            raise TokenGateError(f"token gate: the logits of token {len(ids)} are not finite (NaN or infinity)")
        ids.append(int(_penalised(raw, ids, repetition_penalty)[0].argmax()))
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
