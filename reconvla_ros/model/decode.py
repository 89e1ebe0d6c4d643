"""Greedy decoding: a chunk of exactly N action tokens behind the strict gate, and the original's open-ended loop.

The chunk is decoded over the rows of the action ids alone; one product of all its hidden states with the full table
then certifies that no other id of the vocabulary would have won anywhere. Up to the first place where one would have,
the tokens are those of plain greedy decoding, so the refusal names the very token the model wanted. `head="full"`
compares with the whole table in every step instead; both accept and refuse the same chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reconvla_ros.errors import TokenGateError
from reconvla_ros.model.draft import CPU_COST, Draft
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


class Steps(Protocol):
    """A sequence in progress that new tokens are appended to."""

    def extend(self, ids: Sequence[int]) -> Tensor:
        """Append tokens in one pass; their states (len(ids), hidden)."""

    def roll(self, token: int, count: int) -> tuple[Tensor, list[int]]:
        """Append a token and what the model itself puts behind it, `count` passes at most.

        Returns:
            The states (n, hidden), n >= 1, and the n - 1 tokens it chose.
        """

    def forget(self, count: int) -> None:
        """Take the last `count` tokens back."""


class Plain:
    """The network as it is, its shapes growing with the sequence."""

    def __init__(self, model: ReconVla, cache: Cache) -> None:
        self.model, self.cache = model, cache

    def extend(self, ids: Sequence[int]) -> Tensor:
        """See Steps."""
        return self.model.extend(ids, self.cache) if len(ids) > 1 else self.model.step(ids[0], self.cache)

    def roll(self, token: int, count: int) -> tuple[Tensor, list[int]]:
        """See Steps; one pass."""
        return self.model.step(token, self.cache), []

    def forget(self, count: int) -> None:
        """See Steps."""
        self.cache.length -= count


STRETCH = 4
"""Passes without a guess before a draft that was no good is looked at again, where looking means waiting for a GPU."""


def decode(
    steps: Steps, head: Head, states: Tensor, fed: Sequence[int], draft: Draft, end_id: int | None = None
) -> int:
    """Bring `head` to its last token, exactly as token by token; the number of passes it took.

    Args:
        steps: the sequence so far: the prompt, what is forced, and `fed`.
        states: (1 + len(fed), hidden) of the last position before `fed` and of `fed`.
        fed: guesses that are in the sequence already.
        draft: guesses for the tokens behind what is forced, `fed` among them.
        end_id: see `decode_chunk`.

    Raises:
        TokenGateError: see `decode_chunk`.
    """
    passes = 0
    while True:
        winners = head.best(states)
        right = 0
        while right < len(fed) and winners[right] == fed[right]:
            right += 1
        taken = winners[: min(right + 1, head.left)]
        head.accept(taken)
        steps.forget(len(fed) - right)
        draft.saw(taken, winners[len(taken) :])
        if not head.left:
            break
        fed = draft.block(head.left - (end_id is None))
        if fed:
            states, passes = steps.extend([head.ids[-1], *fed]), passes + 1
        else:
            states, fed = steps.roll(head.ids[-1], head.left if draft.over else min(STRETCH, head.left))
            passes += len(states)
    head.certify()
    if end_id is not None:
        if len(taken) > right:  # the last token was not among those fed
            states, right, passes = steps.extend(taken[-1:]), 0, passes + 1
        head.end(states[right : right + 1], end_id)
    return passes


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
    """Decode a chunk of `count` action tokens after a prefill, one by one.

    Args:
        cache, hidden: what `ReconVla.prefill` returned, with room for what is still to come.
        head: see the module.
        end_id: when given, the answer must end with it after the last action token (one step more).

    Raises:
        TokenGateError: an id outside the action range, logits that are not finite, or an answer that goes on.
    """
    chosen = Head(model, codec, count, head)
    passes = decode(Plain(model, cache), chosen, hidden[-1:], (), Draft((), CPU_COST), end_id)
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
