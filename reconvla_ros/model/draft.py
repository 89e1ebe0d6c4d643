"""What is guessed for the next tokens, and how much of the guess one pass shall verify.

A pass over k guessed tokens gives between 1 and k + 1 tokens of the exact answer and costs more than one of a single
token. The share of guesses that have been right so far (the model's own tokens are compared with the guess wherever it
has one, verified or not) says what to expect; the pass with the most tokens for its cost is chosen, and that may be one
without any guess. A bad draft is thus soon left alone, and taken up again when it turns out right after all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """What a pass over m > 1 tokens costs, in passes over one: base + slope * m.

    CPU: measured with one thread of an AMD EPYC over float32 matrices as the engine lays them (768 x 8192 and the like, larger
    than its caches): 2.3 for 4 tokens, 4.5 for 35; one row alone is read at nearly the speed of the memory.
    GPU: both read all weights once (35 tokens are 35 FLOP per byte, below the ridge of every GPU); what is
    left is a slightly slower product and the wait for its result.
    """

    base: float
    slope: float

    def __call__(self, tokens: int) -> float:
        """Of a pass over `tokens`."""
        return 1.0 if tokens == 1 else self.base + self.slope * tokens


CPU_COST = Cost(2.0, 0.07)
GPU_COST = Cost(1.08, 0.002)


ALONG = 0.08
"""Most positions that a draft may add to the prefill, as a share of the prompt: what a useless draft costs. All 34 of 800."""


class Draft:
    """The guess behind the tokens accepted so far.

    Args:
        guess: for the next tokens, in order.
        cost: of passes.
        renew: Jacobi: a pass's own answers behind its first mistake are the next guess, and all of it is verified.
    """

    def __init__(self, guess: Sequence[int], cost: Cost, renew: bool = False) -> None:
        self._guess, self._cost, self._renew = list(guess), cost, renew
        self._right = self._seen = 0

    def first(self, most: int, prompt: int) -> list[int]:
        """What is verified along with the prefill of `prompt` positions, `most` at most; a part of it that costs little."""
        return self._guess[: min(most, max(1, round(ALONG * prompt)))]

    def saw(self, accepted: Sequence[int], behind: Sequence[int]) -> None:
        """The next tokens turned out to be `accepted`; `behind` is what the pass answered to a wrong guess."""
        pairs = list(zip(accepted, self._guess, strict=False))
        self._right += sum(token == guess for token, guess in pairs)
        self._seen += len(pairs)
        self._guess = self._guess[len(accepted) :]
        if self._renew and behind:
            self._guess = [*behind, behind[-1]]  # one place more: the pass did not reach it

    def block(self, most: int) -> list[int]:
        """The guesses the next pass shall verify, `most` at most; none = go on without."""
        guess = self._guess[:most]
        if self._renew:
            return guess
        chance = (self._right + 0.5) / (self._seen + 1)
        best, length, expected = 1.0, 0, 1.0
        for k in range(1, len(guess) + 1):
            expected += chance**k
            gain = expected / self._cost(k + 1)
            if gain > best:
                best, length = gain, k
        return guess[:length]

    @property
    def over(self) -> bool:
        """Nothing is left that a pass could verify or that could be compared."""
        return not self._guess
