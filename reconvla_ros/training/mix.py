"""Which sample comes when: shares kept at every moment, each dataset in a new order each time it is through.

The order follows from the seed alone, so a run that is resumed at step N goes on with the samples it would have had.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

Place = tuple[int, int]
"""Dataset, and sample in it."""


class Mix:
    """An endless order of samples.

    Args:
        sizes: samples of each dataset.
        weights: shares before they are made to sum to 1; None = by size, every sample as often as every other.
        seed: of the order.

    At every moment the number drawn from a dataset is within two of its share (the original takes the first N samples of a file
    instead). Within a dataset every sample comes once before any comes again.
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float] | None, seed: int) -> None:
        if not sizes or min(sizes) < 1:
            raise ValueError(f"mix: every dataset must have samples, got {list(sizes)}")
        shares = np.array(sizes if weights is None else weights, dtype=float)
        if shares.min() <= 0:
            raise ValueError(f"mix: weights must be positive, got {list(shares)}")
        self.sizes, self.shares, self.seed = tuple(sizes), shares / shares.sum(), seed

    def __iter__(self) -> Iterator[Place]:
        drawn = np.zeros(len(self.sizes), dtype=int)
        orders: list[np.ndarray] = [np.empty(0, int) for _ in self.sizes]
        total = 0
        while True:
            total += 1
            which = int(np.argmax(self.shares * total - drawn))
            turn, place = divmod(int(drawn[which]), self.sizes[which])
            if place == 0:
                orders[which] = np.random.default_rng([self.seed, 2, which, turn]).permutation(self.sizes[which])
            drawn[which] += 1
            yield which, int(orders[which][place])


class Batches:
    """Micro-batches of one process: lists of `batch` places, from step `start` on.

    Of each step's samples process `rank` of `world` takes every world-th, so one process with a larger batch sees the same.
    """

    def __init__(
        self, mix: Mix, batch: int, accumulate: int, start: int, stop: int, rank: int = 0, world: int = 1
    ) -> None:
        self.mix, self.batch, self.accumulate = mix, batch, accumulate
        self.start, self.stop, self.rank, self.world = start, stop, rank, world

    def __len__(self) -> int:
        return (self.stop - self.start) * self.accumulate

    def __iter__(self) -> Iterator[list[Place]]:
        places = iter(self.mix)
        per_step = self.batch * self.accumulate * self.world
        for _ in range(self.start * per_step):
            next(places)
        for _ in range(self.start, self.stop):
            step = [next(places) for _ in range(per_step)][self.rank :: self.world]
            yield from (step[k : k + self.batch] for k in range(0, len(step), self.batch))
