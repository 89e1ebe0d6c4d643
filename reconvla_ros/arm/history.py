"""Where the arm was measured lately: the TCP by stamp, and whether the joints stand."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque

import numpy as np

from reconvla_ros.types import Float

_LENGTH = 500  # positions, one each _SPACING_NS: ten seconds
_SPACING_NS = 20_000_000
_GAP_NS = 100_000_000  # a stamp with no measurement this near is answered with the newest


class TcpHistory:
    """Measured TCP positions (3,) [m] in base_link."""

    def __init__(self) -> None:
        self._entries: deque[tuple[int, Float]] = deque(maxlen=_LENGTH)

    def due(self, stamp_ns: int) -> bool:
        """Whether a measurement of this stamp would be remembered: those closer than 20 ms to the one before are not."""
        return not self._entries or stamp_ns - self._entries[-1][0] >= _SPACING_NS

    def add(self, stamp_ns: int, position: Float) -> None:
        """Remember a measurement, if it is due."""
        if self.due(stamp_ns):
            self._entries.append((stamp_ns, position))

    def at(self, stamp_ns: int) -> Float | None:
        """The position nearest to a stamp [ns]; the newest when none is near; None before the first."""
        if not self._entries:
            return None
        after = bisect_left(self._entries, stamp_ns, key=lambda entry: entry[0])
        near = [self._entries[i] for i in (after - 1, after) if 0 <= i < len(self._entries)]
        stamp, position = min(near, key=lambda entry: abs(entry[0] - stamp_ns))
        return position if abs(stamp - stamp_ns) <= _GAP_NS else self._entries[-1][1]

    def off(self, stamp_ns: int, place: Float) -> float:
        """How far [m] from `place` (3,) the TCP was at a stamp; 0 before the first measurement."""
        measured = self.at(stamp_ns)
        return 0.0 if measured is None else float(np.linalg.norm(measured - place))


class Standstill:
    """Whether the measured joints stand still, by position and, from an arm that says it, by velocity: feedback that
    froze while someone pushes the arm stays where it was, but goes on saying that the arm moves.

    Args:
        band: a joint that stays inside it [rad] stands. time: for this long [s]. speed: one that says more [rad/s] moves.
    """

    def __init__(self, band: float = 0.005, time: float = 0.1, speed: float = 0.02) -> None:
        self._band, self._speed, self._time_ns = band, speed, int(time * 1e9)
        self._place: list[float] = []
        self._since_ns = self._now_ns = 0

    def update(self, now_ns: int, joints: Float, velocity: Float) -> None:
        """The joints (6,) [rad] and what they say of their velocity (6,) [rad/s] at monotonic `now_ns`."""
        place = joints.tolist()
        self._now_ns = now_ns
        moves = not self._place or max(map(abs, velocity.tolist())) > self._speed
        if moves or any(abs(a - b) > self._band for a, b in zip(place, self._place, strict=True)):
            self._place, self._since_ns = place, now_ns

    @property
    def still(self) -> bool:
        """Whether no joint has left its band for the time."""
        return bool(self._place) and self._now_ns - self._since_ns >= self._time_ns
