"""How far the clock of another computer is from ours, from exchanges of four stamps; nobody's clock is ever set.

The arithmetic is that of NTP (RFC 5905, section 8); of several exchanges the one with the shortest delay is believed
(its clock filter, section 10), for what a busy processor or link adds to a delay may lie on one side only.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from reconvla_ros.errors import ObservationError

NS = 1_000_000_000
KEEP = 16.0  # [s] exchanges are believed for; a crystal that is 50 ppm off drifts 0.8 ms in that time


@dataclass(frozen=True)
class Exchange:
    """Stamps of one question and its answer [ns]: `asked`, `heard` by our clock, `received`, `answered` by the other one."""

    asked: int
    received: int
    answered: int
    heard: int

    @property
    def delay(self) -> float:
        """Time on the way, there and back [s]."""
        return ((self.heard - self.asked) - (self.answered - self.received)) / NS

    @property
    def offset(self) -> float:
        """Ours minus theirs [s]; positive = our clock is ahead. It is within `delay` / 2 of the truth."""
        return ((self.asked - self.received) + (self.heard - self.answered)) / 2 / NS


@dataclass(frozen=True)
class Offset:
    """What is known: ours minus theirs [s], within +- `bound` [s], from an exchange `age` [s] ago."""

    value: float
    bound: float
    age: float

    def __str__(self) -> str:
        return f"{self.value * 1e3:+.1f} ms (+- {self.bound * 1e3:.1f} ms)"


class ClockOffset:
    """Collects exchanges. Monotonic time is an argument; any thread may call.

    Args:
        other: whose clock it is, for messages.
        warn: an offset that is certainly larger is worth a warning [s].
        limit: an offset that is certainly larger makes ages wrong by too much: refuse [s].
    """

    def __init__(self, other: str, warn: float, limit: float) -> None:
        if not 0.0 < warn <= limit:
            raise ObservationError(
                f"clock offset: warn and limit must be 0 < warn <= limit, got {warn:g} and {limit:g} s"
            )
        self._other, self.warn, self.limit = other, warn, limit
        self._lock = threading.Lock()
        self._kept: deque[tuple[float, Exchange]] = deque(maxlen=64)
        self.refused = 0

    def add(self, exchange: Exchange, now: float) -> bool:
        """Take note of an exchange that ended at `now` [s, monotonic]; False when it cannot be one.

        A clock that is set between the stamps gives a delay below zero, or one longer than exchanges are kept.
        """
        if not 0.0 <= exchange.delay <= KEEP or exchange.answered < exchange.received:
            self.refused += 1
            return False
        with self._lock:
            newest = self._kept[-1][1] if self._kept else None
            # Two exchanges that exclude each other: one of the clocks was set in between, what was before is of no use.
            if (
                newest is not None
                and abs(newest.offset - exchange.offset) > (newest.delay + exchange.delay) / 2 + self.warn
            ):
                self._kept.clear()
            self._kept.append((now, exchange))
        return True

    def read(self, now: float) -> Offset | None:
        """The best exchange of the last KEEP seconds, or None."""
        with self._lock:
            usable = [(e.delay, at, e) for at, e in self._kept if now - at <= KEEP]
        if not usable:
            return None
        delay, at, best = min(usable, key=lambda entry: entry[:2])
        return Offset(best.offset, delay / 2, now - at)

    def why(self, now: float) -> str:
        """Why ages cannot be trusted: offset and bound; empty when they can, or when nothing was measured."""
        found = self.read(now)
        if found is None or abs(found.value) - found.bound <= self.limit:
            return ""
        return f"this clock is {found} from that of {self._other}, allowed {self.limit * 1e3:g} ms: synchronise them (chrony)"

    def report(self, now: float) -> tuple[bool, str, dict[str, object]]:
        """(worth a warning, one line for a person or empty, values for diagnostics)."""
        found = self.read(now)
        if found is None:
            return False, "", {"clock_offset_ms": "not measured"}
        values: dict[str, object] = {"clock_offset_ms": f"{found.value * 1e3:.2f}", "clock_bound_ms": f"{found.bound * 1e3:.2f}",
                                     "clock_measured_s_ago": f"{found.age:.1f}"}  # fmt: skip
        if why := self.why(now):
            return True, why, values
        if abs(found.value) - found.bound > self.warn:
            return True, f"this clock is {found} from that of {self._other}; {self.limit * 1e3:g} ms is refused", values
        return False, "", values
