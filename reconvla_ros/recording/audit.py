"""What is wrong with the streams, found while they come: rates, gaps, skew, stale state, stamps, figures.

The recorder feeds it live; `reconvla episodes verify` feeds it from the bag. Time is an argument. A stream's period is
learnt from its own first intervals, or told (`expect`) where somebody knows what it should be.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

NS = 1_000_000_000
_LEARN = 8  # intervals whose median is the period of a stream nobody has told of
_RECENT = 8  # intervals whose mean is the present period
_STAMPS = 32  # stamps kept per camera for the skew: a second of them
MISSING, SILENT, GAP, SLOW, SKEW, STALE, BACKWARDS, NAN, LOST = CODES = (
    "missing", "silent", "gap", "slow", "skew", "stale", "backwards", "nan", "lost")  # fmt: skip


@dataclass(frozen=True)
class AuditLimits:
    """Bounds of the audit.

    Attributes:
        silent: a stream that has not come for this long, or three periods if that is more, is silent [s].
        gap: an interval longer than so many periods is a gap. slow: so many periods on average are too slow.
        skew: largest distance of the cameras' nearest colour stamps [s].
        image_stale, state_stale: oldest age of an image and of a state when it is received [s].
        hold: how long something that happened once is still told [s].
    """

    silent: float = 0.25
    gap: float = 1.8
    slow: float = 1.25
    skew: float = 0.05
    image_stale: float = 0.5
    state_stale: float = 0.1
    hold: float = 1.0


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong now: code (of CODES), topic (empty for none) and detail with bound and value."""

    code: str
    topic: str
    detail: str

    def __str__(self) -> str:
        return f"{self.code}: {self.topic + ' ' if self.topic else ''}{self.detail}"


@dataclass
class _Stream:
    """What is known of one topic; stamps and times in ns."""

    image: bool
    period: float = 0.0  # expected [s]; 0 = not known yet
    told: bool = False
    count: int = 0
    stamp: int = 0
    newest: int = 0  # largest stamp
    heard: int = 0  # monotonic
    begun: int = 0  # first stamp
    intervals: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    recent: deque[int] = field(default_factory=lambda: deque(maxlen=_STAMPS))
    gaps: int = 0
    missed: int = 0
    worst_gap: float = 0.0
    worst_age: float = 0.0
    lost: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    told_at: dict[str, tuple[int, str]] = field(default_factory=dict)  # code -> (monotonic time, detail)

    def tell(self, code: str, detail: str, now: int) -> None:
        self.counts[code] = self.counts.get(code, 0) + 1
        self.told_at[code] = (now, detail)


class Auditor:
    """Watches some topics; `note` from the thread that takes messages, everything else from any.

    Args:
        images, states: topics to watch, each with a header.
        pair: the two colour topics whose skew counts; any other number = none.
        begin: monotonic time from which a topic may be missed [ns].
    """

    def __init__(
        self, images: Iterable[str], states: Iterable[str], pair: tuple[str, ...] = (),
        limits: AuditLimits | None = None, begin: int = 0,
    ) -> None:  # fmt: skip
        self._limits = limits or AuditLimits()
        self._streams = {name: _Stream(True) for name in images} | {name: _Stream(False) for name in states}
        self._pair = pair if len(pair) == 2 and all(name in self._streams for name in pair) else ()
        self._begin = begin
        self._lock = threading.Lock()
        self.skew = 0.0  # [s] now
        self._worst_skew = 0.0
        self._skew_told: tuple[int, str] | None = None
        self._skewed = 0

    @property
    def topics(self) -> tuple[str, ...]:
        """What is watched."""
        return tuple(self._streams)

    def expect(self, topic: str, rate: float) -> None:
        """Say what the rate of a topic should be [Hz]; unknown topics and rates of 0 are passed over."""
        with self._lock:
            stream = self._streams.get(topic)
            if stream is not None and rate > 0:
                stream.period, stream.told = 1.0 / rate, True

    def note(self, topic: str, stamp: int, received: int, now: int, finite: bool = True) -> None:
        """One message.

        Args:
            stamp: of its header [ns]. received: ROS time of its receipt [ns]. now: monotonic [ns].
            finite: whether its figures are.
        """
        stream = self._streams.get(topic)
        if stream is None:
            return
        with self._lock:
            self._judge(stream, stamp, received, now, finite)
            if topic in self._pair:
                self._judge_skew(now)

    def _judge(self, stream: _Stream, stamp: int, received: int, now: int, finite: bool) -> None:
        limits = self._limits
        age, bound = (received - stamp) / NS, limits.image_stale if stream.image else limits.state_stale
        stream.worst_age = max(stream.worst_age, age)
        if age > bound:
            stream.tell(STALE, f"{age:.3f} s old when it came, allowed {bound:g}", now)
        if not finite:
            stream.tell(NAN, "figures that are not finite", now)
        if stream.count:
            step = (stamp - stream.stamp) / NS
            if step < 0:
                stream.tell(BACKWARDS, f"its stamp went back by {-step:.3f} s", now)
            else:
                self._judge_step(stream, step, now)
        stream.begun = stream.begun or stamp
        stream.count += 1
        stream.stamp, stream.newest, stream.heard = stamp, max(stamp, stream.newest), now
        if stream.image:
            stream.recent.append(stamp)

    def _judge_step(self, stream: _Stream, step: float, now: int) -> None:
        stream.intervals.append(step)
        if not stream.period:
            if len(stream.intervals) >= _LEARN:
                stream.period = sorted(stream.intervals)[_LEARN // 2]
            return
        # 10 ms on top: a busy sender's jitter is no lost sample of a fast stream.
        if step > max(self._limits.gap * stream.period, stream.period + 0.01):
            stream.gaps += 1
            stream.missed += max(1, round(step / stream.period) - 1)
            stream.worst_gap = max(stream.worst_gap, step)
            stream.tell(GAP, f"{step:.3f} s between two, period {stream.period:.3f}", now)
        if len(stream.intervals) == _RECENT and stream.image:
            mean = sum(stream.intervals) / _RECENT
            if mean > self._limits.slow * stream.period:
                stream.tell(SLOW, f"{1 / mean:.1f} Hz, expected {1 / stream.period:.1f}", now)

    def _judge_skew(self, now: int) -> None:
        one, other = (self._streams[name].recent for name in self._pair)
        if len(one) < 2 or len(other) < 2:
            return
        # The older of the two newest has its partner already, or will not get one.
        at = min(one[-1], other[-1])
        partner = other if at == one[-1] else one
        if partner[0] > at:
            return  # the other one fell silent long ago, which is told as that
        self.skew = min(abs(at - stamp) for stamp in partner) / NS
        self._worst_skew = max(self._worst_skew, self.skew)
        if self.skew > self._limits.skew:
            self._skewed += 1
            self._skew_told = (now, f"cameras {self.skew:.3f} s apart, allowed {self._limits.skew:g}")

    def lost(self, counts: Mapping[str, int], now: int) -> None:
        """Messages known to be lost so far, per topic."""
        with self._lock:
            for topic, count in counts.items():
                stream = self._streams.get(topic)
                if stream is not None and count > stream.lost:
                    stream.tell(LOST, f"{count} messages lost", now)
                    stream.lost = count

    def findings(self, now: int) -> list[Finding]:
        """What is wrong at `now` (monotonic) [ns], worst first."""
        found = []
        hold, silent = self._limits.hold * NS, self._limits.silent
        with self._lock:
            for topic, stream in self._streams.items():
                bound = max(silent, 3 * stream.period)
                quiet = (now - (stream.heard or self._begin)) / NS
                if quiet > bound:
                    code, words = (SILENT, "nothing for") if stream.count else (MISSING, "never came,")
                    found.append(Finding(code, topic, f"{words} {quiet:.1f} s"))
                found += [Finding(code, topic, text) for code, (at, text) in stream.told_at.items() if now - at <= hold]
            if self._skew_told is not None and now - self._skew_told[0] <= hold:
                found.append(Finding(SKEW, "", self._skew_told[1]))
        return sorted(found, key=lambda finding: CODES.index(finding.code))

    def gaps(self) -> dict[str, int]:
        """Gaps so far per watched topic."""
        with self._lock:
            return {topic: stream.gaps for topic, stream in self._streams.items()}

    def quality(self) -> dict[str, Any]:
        """The whole episode: `flags` (codes that occurred), figures per topic, the worst skew [s]."""
        with self._lock:
            topics: dict[str, Any] = {}
            flags = {SKEW} if self._skewed else set()
            end = max((s.newest for s in self._streams.values() if s.count), default=0)
            for name, stream in self._streams.items():
                flags |= set(stream.counts) | ({MISSING} if not stream.count else set())
                tail = (end - stream.newest) / NS if stream.count else 0.0
                if stream.count and tail > max(self._limits.silent, 3 * stream.period):
                    flags.add(SILENT)
                span = (stream.newest - stream.begun) / NS
                topics[name] = {
                    "count": stream.count, "rate_hz": round((stream.count - 1) / span, 2) if span > 0 else 0.0,
                    "expected_hz": round(1 / stream.period, 2) if stream.period else 0.0, "gaps": stream.gaps,
                    "missed": stream.missed, "worst_gap_s": round(stream.worst_gap, 4), "ended_early_s": round(tail, 3),
                    "worst_age_s": round(stream.worst_age, 4), **{code: n for code, n in stream.counts.items() if code != GAP},
                }  # fmt: skip
            return {
                "flags": [code for code in CODES if code in flags],
                "skew_worst_s": round(self._worst_skew, 4),
                "skewed": self._skewed,
                "topics": topics,
            }
