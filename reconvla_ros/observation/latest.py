"""A short ring of stamped samples, found again by stamp."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Lazy(Generic[T]):
    """A value made on first use, once, by whoever asks first; so that only the frame that is used is decoded."""

    def __init__(self, make: Callable[[], T] | T) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._done = not callable(make)

    def get(self) -> T:
        """The value; an exception of the maker is passed on, and the next call tries again."""
        with self._lock:
            if not self._done:
                self._make = self._make()  # type: ignore[operator]
                self._done = True
            return self._make  # type: ignore[return-value]


class StampedRing(Generic[T]):
    """The last `size` samples in the order they came, each with its stamp [ns].

    Adding is O(1) and a look-up is a scan of at most `size` stamps. Samples leave by arrival, not by stamp, so one
    sample stamped far in the future cannot block the ring.
    """

    def __init__(self, size: int) -> None:
        self._samples: deque[tuple[int, T]] = deque(maxlen=size)

    def add(self, stamp_ns: int, value: T) -> None:
        """Append one sample."""
        self._samples.append((stamp_ns, value))

    def between(self, low_ns: int, high_ns: int) -> list[tuple[int, T]]:
        """Samples whose stamp is in low..high (inclusive), in the order they came."""
        return [sample for sample in self._samples if low_ns <= sample[0] <= high_ns]

    def nearest(self, stamp_ns: int, high_ns: int) -> tuple[int, T] | None:
        """The sample closest to `stamp_ns` among those stamped at most `high_ns`; None when there is none."""
        usable = [sample for sample in self._samples if sample[0] <= high_ns]
        return min(usable, key=lambda sample: abs(sample[0] - stamp_ns), default=None)

    def newest_stamp(self) -> int | None:
        """Largest stamp held [ns]; None when empty."""
        return max((stamp for stamp, _ in self._samples), default=None)

    def clear(self) -> None:
        """Forget everything."""
        self._samples.clear()

    def __len__(self) -> int:
        return len(self._samples)
