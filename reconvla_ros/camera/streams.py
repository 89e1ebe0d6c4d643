"""How a camera's streams do: rate, lost frames, distance between colour and depth, a picture that stands still. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

F = TypeVar("F")

_WINDOW = 90  # frames over which rates and skews are taken: 3 s at 30 Hz
_STILL = 2.0  # [s] in which a real sensor's noise changes at least one of the sampled pixels
_GRID = (24, 32)  # every so many rows and columns are compared: 400 pixels of 640x480


class StreamWatch:
    """Numbers and stamps of one stream."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.frames = self.lost = self.backwards = self.repeated = 0
        self.since = 0.0  # monotonic time of the newest frame
        self._number = -1
        self._stamps: deque[float] = deque(maxlen=_WINDOW)

    def add(self, number: int, stamp_ms: float, now: float) -> bool:
        """One frame came; False for the very frame that came before. `now`: monotonic [s]."""
        self.since = now
        if number == self._number:
            self.repeated += 1
            return False
        self.frames += 1
        if 0 <= self._number < number:
            self.lost += number - self._number - 1
        if self._stamps and stamp_ms <= self._stamps[-1]:
            self.backwards += 1
            self._stamps.clear()
        self._number = number
        self._stamps.append(stamp_ms)
        return True

    def rate(self) -> float:
        """Frames a second by their own stamps, over the last 3 s; NaN before there are two."""
        stamps = list(self._stamps)
        return (len(stamps) - 1) / (stamps[-1] - stamps[0]) * 1e3 if len(stamps) > 1 else float("nan")

    def values(self) -> dict[str, object]:
        """For diagnostics."""
        rate, total = self.rate(), self.frames + self.lost
        return {
            f"{self.name}_frames": self.frames,
            f"{self.name}_rate_hz": round(rate, 2),
            f"{self.name}_dropped": self.lost,
            f"{self.name}_dropped_percent": round(100.0 * self.lost / total, 2) if total else 0.0,
            f"{self.name}_stamps_back": self.backwards,
        }


class Stillness:
    """A picture that is the same bit by bit, frame after frame."""

    def __init__(self) -> None:
        self._sample = b""
        self._began = 0.0

    def add(self, color: NDArray[np.uint8], now: float) -> None:
        """One picture (H, W, 3); `now`: monotonic [s]. Looks at one pixel in 768."""
        sample = color[:: _GRID[0], :: _GRID[1]].tobytes()
        if sample != self._sample:
            self._sample, self._began = sample, now

    def warning(self, now: float) -> str:
        """Empty while the picture lives."""
        still = now - self._began
        if not self._sample or still < _STILL:
            return ""
        return (
            f"the picture has not changed in a single bit for {still:.1f} s: lens covered, or the sensor stands still"
        )


class Pairing(Generic[F]):
    """Finds the depth of each colour frame: the one nearest in time, at most `tolerance` [ms] off and used once.

    librealsense's own pairing is not used: its pipeline gives the last depth again under new colour when depth stops, and
    its syncer holds colour back by several frames when one depth frame is lost.
    """

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self._color: tuple[float, F] | None = None
        self._depth: tuple[float, F] | None = None
        self.alone = 0
        self._apart: deque[float] = deque(maxlen=_WINDOW)

    def color(self, stamp_ms: float, frame: F) -> list[tuple[F, F | None]]:
        """A colour frame came -> what is ready: (colour, its depth or None), oldest first."""
        ready = self._give_up()
        self._color = stamp_ms, frame
        return ready + self._match()

    def depth(self, stamp_ms: float, frame: F) -> list[tuple[F, F | None]]:
        """A depth frame came -> what is ready."""
        self._depth = stamp_ms, frame
        return self._match()

    def _match(self) -> list[tuple[F, F | None]]:
        if self._color is None or self._depth is None:
            return []
        apart = self._depth[0] - self._color[0]
        if apart > self._tolerance:
            return self._give_up()  # its depth would have come before this one
        if apart < -self._tolerance:
            self._depth = None
            return []
        pair = self._color[1], self._depth[1]
        self._apart.append(apart)
        self._color = self._depth = None
        return [pair]

    def _give_up(self) -> list[tuple[F, F | None]]:
        if self._color is None:
            return []
        waiting, self._color = self._color[1], None
        self.alone += 1
        return [(waiting, None)]

    def values(self) -> dict[str, object]:
        """For diagnostics: median distance of depth after colour [ms], and the largest; colour without depth."""
        apart = np.array(self._apart) if self._apart else np.full(1, np.nan)
        return {
            "depth_after_color_ms": round(float(np.median(apart)), 2),
            "color_depth_skew_ms_max": round(float(np.abs(apart).max()), 2),
            "color_without_depth": self.alone,
        }


def slow(watch: StreamWatch, rate: float) -> str:
    """A line when a stream is slower than 85 % of what was asked for; NaN (too early to say) is not."""
    got = watch.rate()
    return f"{watch.name} comes at {got:.1f} Hz of {rate:g}" if got < 0.85 * rate else ""


def rounded(values: Mapping[str, float], digits: int = 1) -> dict[str, object]:
    """Figures for people."""
    return {name: round(value, digits) for name, value in values.items()}
