"""Clocks and figures of `reconvla bench policy`: sides that take turns in one run, medians, spread, a bound with a verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Side = Callable[[int], float | None]
"""One measurement of one side in round i; it may return the seconds that count, None = all it took."""
Sync = Callable[[], None]


@dataclass(frozen=True)
class Bound:
    """What a ratio must be: `sense` is ">=", "<=" or "=="."""

    sense: str
    value: float

    def kept(self, ratio: float) -> bool:
        """Whether `ratio` keeps it; NaN keeps nothing."""
        return bool({">=": ratio >= self.value, "<=": ratio <= self.value, "==": ratio == self.value}[self.sense])

    def __str__(self) -> str:
        return f"{self.sense} {self.value:g}"


def nothing() -> None:
    """The synchronisation of a CPU."""


def take_turns(
    sides: Mapping[str, Side], rounds: int, warm_ups: int = 1, sync: Sync = nothing
) -> dict[str, list[float]]:
    """Measure every side once in each round; who goes first changes every round (ABBA).

    Args:
        sides: name -> side; each is called with the number of the round, so that it can rotate its inputs.
        rounds, warm_ups: measured rounds, and rounds before them that do not count (numbered from -warm_ups to -1).
        sync: waits until the device is done; called around every measurement.

    Returns:
        name -> seconds of each round.
    """
    found: dict[str, list[float]] = {name: [] for name in sides}
    for index in range(-warm_ups, rounds):
        for name in sides if index % 2 == 0 else reversed(list(sides)):
            sync()
            begin = time.perf_counter()
            told = sides[name](index)
            sync()
            took = time.perf_counter() - begin
            if index >= 0:
                found[name].append(took if told is None else told)
    return found


def spread(ratios: list[float]) -> dict[str, Any]:
    """Median, extremes and `spread` (quartile distance / median) of the ratios of all rounds."""
    low, lower, middle, upper, high = np.percentile(np.array(ratios), (0, 25, 50, 75, 100))
    return {
        "ratio": round(float(middle), 4), "ratio_min": round(float(low), 4), "ratio_max": round(float(high), 4),
        "spread": round(float((upper - lower) / middle), 4) if middle else 0.0, "rounds": len(ratios),
    }  # fmt: skip


def compare(ours: list[float], other: list[float], bound: Bound | None = None, inverse: bool = False) -> dict[str, Any]:
    """The figure of two sides measured by `take_turns`.

    Args:
        ours, other: seconds of each round.
        bound: of the ratio; without one the figure is only shown.
        inverse: the ratio is ours / other; else other / ours (above 1 = ours is faster).

    Returns:
        {ratio, ratio_min, ratio_max, spread, rounds, ours_ms, other_ms, and with a bound: bound, kept}.
    """
    pairs = zip(ours, other, strict=True)
    figure = spread([a / b if inverse else b / a for a, b in pairs])
    figure |= {"ours_ms": milliseconds(ours), "other_ms": milliseconds(other)}
    return judge(figure, bound)


def judge(figure: dict[str, Any], bound: Bound | None) -> dict[str, Any]:
    """`figure` with the verdict on its ratio."""
    return figure if bound is None else {**figure, "bound": str(bound), "kept": bound.kept(figure["ratio"])}


def gather(main: str, parts: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """A result of several figures: that of part `main` stands for the whole, which is kept when every part is."""
    verdicts = [part["kept"] for part in parts.values() if "kept" in part]
    whole = {**parts[main], "main": main, "parts": dict(parts)}
    return {**whole, "kept": all(verdicts)} if verdicts else whole


def milliseconds(seconds: list[float], percentile: float = 50.0) -> float:
    """A percentile [ms]."""
    return round(float(np.percentile(np.array(seconds), percentile)) * 1e3, 4)
