"""Where the TCP was measured lately, by stamp."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque

from reconvla_ros.types import Float

_LENGTH = 500  # positions, one each _SPACING_NS: ten seconds
_SPACING_NS = 20_000_000
_GAP_NS = 100_000_000  # a stamp with no measurement this near is answered with the newest


class TcpHistory:
    """Measured TCP positions (3,) [m] in base_link."""

    def __init__(self) -> None:
        self._entries: deque[tuple[int, Float]] = deque(maxlen=_LENGTH)

    def add(self, stamp_ns: int, position: Float) -> None:
        """Remember a measurement; those closer than 20 ms to the one before are left out."""
        if not self._entries or stamp_ns - self._entries[-1][0] >= _SPACING_NS:
            self._entries.append((stamp_ns, position))

    def at(self, stamp_ns: int) -> Float | None:
        """The position nearest to a stamp [ns]; the newest when none is near; None before the first."""
        if not self._entries:
            return None
        after = bisect_left(self._entries, stamp_ns, key=lambda entry: entry[0])
        near = [self._entries[i] for i in (after - 1, after) if 0 <= i < len(self._entries)]
        stamp, position = min(near, key=lambda entry: abs(entry[0] - stamp_ns))
        return position if abs(stamp - stamp_ns) <= _GAP_NS else self._entries[-1][1]
