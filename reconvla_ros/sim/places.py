"""Places on the table for the things of a scene, apart from each other. [m], base_link."""

from __future__ import annotations

import numpy as np

REGION = ((0.17, 0.42), (-0.15, 0.15))  # x, y where things are put: reachable from above
TRIES = 400  # for one place, before a layout is begun again

Rng = np.random.Generator


class Table:
    """Places on the table, apart from each other."""

    def __init__(self, rng: Rng) -> None:
        self.rng = rng
        self.taken: list[tuple[float, float, float]] = []

    def take(self, x: float, y: float, radius: float) -> None:
        """Something of this radius [m] is at (x, y)."""
        self.taken.append((x, y, radius))

    def free(self, x: float, y: float, radius: float) -> bool:
        """Whether something of this radius [m] has room there."""
        return all(np.hypot(x - a, y - b) >= radius + r for a, b, r in self.taken)

    def place(
        self, radius: float, region: tuple[tuple[float, float], tuple[float, float]] = REGION
    ) -> tuple[float, float]:
        """A free place for something of this radius, taken from now on; RuntimeError when there is none."""
        (x0, x1), (y0, y1) = region
        for _ in range(TRIES):
            x, y = float(self.rng.uniform(x0, x1)), float(self.rng.uniform(y0, y1))
            if self.free(x, y, radius):
                self.take(x, y, radius)
                return x, y
        raise RuntimeError("no room")
