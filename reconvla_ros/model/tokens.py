"""Action tokens: 256 bins over [-1, 1], written as the last ordinary ids of the vocabulary, and their strict gate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reconvla_ros.errors import ShapeError, TokenGateError

STD_GUARD = 1e-5
"""Added to a standard deviation before dividing, as the original does."""
SIGMAS = 3.0
"""Proprioception of +-3 standard deviations fills the bins."""


class ActionCodec:
    """Values in [-1, 1] <-> ids ``base - d`` with bin number d in 1..bins.

    ``base`` is the size of the base vocabulary (151643 for Qwen2), so ids are 151387 (+1) .. 151642 (-1). A value is
    decoded to the middle of its bin; there is one bin less than edges, so the two highest ids share a middle.
    """

    def __init__(self, base: int, bins: int = 256) -> None:
        if bins < 2 or base <= bins:
            raise ShapeError(f"action codec: needs 2 <= bins < base, got bins {bins}, base {base}")
        self.base, self.bins = base, bins
        self.edges = np.linspace(-1.0, 1.0, bins)
        self.centers = (self.edges[:-1] + self.edges[1:]) / 2.0

    @property
    def low(self) -> int:
        """Smallest action id, of the value +1."""
        return self.base - self.bins

    @property
    def high(self) -> int:
        """Largest action id, of the value -1."""
        return self.base - 1

    def encode(self, values: ArrayLike) -> NDArray[np.int64]:
        """Ids of `values`, any shape; clipped to [-1, 1] first.

        Raises:
            ShapeError: a value that is not finite (the original would write NaN as +1).
        """
        x = np.asarray(values, dtype=np.float64)
        if not np.all(np.isfinite(x)):
            raise ShapeError(f"action codec: values must be finite, got {x[~np.isfinite(x)].flat[0]}")
        return (self.base - np.digitize(np.clip(x, -1.0, 1.0), self.edges)).astype(np.int64)

    def decode(self, ids: ArrayLike) -> NDArray[np.float64]:
        """Bin middles of `ids`; ids outside the range clamp to the ends, so pass what comes from a model by `gate`."""
        index = np.clip(self.base - np.asarray(ids, dtype=np.int64) - 1, 0, self.bins - 2)
        return self.centers[index]

    def encode_state(self, state: ArrayLike, mean: ArrayLike, std: ArrayLike) -> NDArray[np.int64]:
        """Ids of a proprioceptive state (N,): (x - mean) / (std + 1e-5) / 3."""
        x, m, s = (np.asarray(v, dtype=np.float64) for v in (state, mean, std))
        if x.shape != m.shape or x.shape != s.shape:
            raise ShapeError(f"proprioception: state {x.shape}, mean {m.shape} and std {s.shape} must match")
        return self.encode((x - m) / (s + STD_GUARD) / SIGMAS)

    def gate(self, ids: Sequence[int], count: int) -> None:
        """Pass exactly `count` action ids, refuse everything else.

        Raises:
            TokenGateError: another number of ids, or the first id outside low..high with its place.
        """
        if len(ids) != count:
            raise TokenGateError(f"token gate: expected exactly {count} action tokens, got {len(ids)}")
        for place, i in enumerate(ids):
            self.check(i, place, count)

    def check(self, token: int, place: int, count: int) -> None:
        """Pass one action id, the token at `place` of `count`.

        Raises:
            TokenGateError: names the place, the range and the id.
        """
        if not self.low <= token <= self.high:
            raise TokenGateError(
                f"token gate: token {place} of {count} must be an action id {self.low}..{self.high}, got {token}"
            )
