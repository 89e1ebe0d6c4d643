"""The last path of the arm, and the way back along it. Pure: joints in, joints out, time is an argument; nothing moves here."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from reconvla_ros.types import Float

_SPACING_NS = 20_000_000
_LENGTH = 500  # joint positions, one each _SPACING_NS of motion: ten seconds
_SAME = 1e-5  # [rad] a target that differs less from the one before is the same; half a count of the bus
_LOOK_BACK = 1.0  # [rad] along the path: how far back the arm may be found on it
_AHEAD = 0.05  # [rad] the way back waits for the motion to come this near


@dataclass(frozen=True)
class BackOff:
    """How far a person is freed: `speed` of any joint [rad/s], `distance` of the TCP [m], `time` [s], `pace`: the share
    of the ordinary speed limits.
    """

    speed: float
    distance: float
    time: float
    pace: float

    def __str__(self) -> str:
        return f"at most {self.distance:g} m or {self.time:g} s, at {self.pace:.0%} of its speed"


class Trail:
    """Where the arm was sent during its last ten seconds of motion; time that it stood does not count."""

    def __init__(self) -> None:
        self._points: deque[Float] = deque(maxlen=_LENGTH)
        self._at_ns = 0

    def __len__(self) -> int:
        return len(self._points)

    def add(self, now_ns: int, joints: Float) -> None:
        """Remember a target (6,) [rad] at monotonic `now_ns`, unless it is that before or comes within 20 ms of it."""
        if self._points and now_ns - self._at_ns < _SPACING_NS:
            return
        if not self._points or float(np.abs(joints - self._points[-1]).max()) > _SAME:
            self._points.append(joints)
            self._at_ns = now_ns

    def clear(self) -> None:
        """Forget it: nobody knows where the arm was since."""
        self._points.clear()

    def back_from(self, joints: Float, near: float) -> list[Float]:
        """The way back from `joints` (6,) [rad], where the arm is measured: targets, the next one first.

        What lies beyond the arm is left out: a target that the arm did not reach is where the person is.

        Args:
            joints: measured.
            near: the arm must be this near to its last path in every joint [rad].

        Returns:
            empty when there is no such path.
        """
        points, length, best, least = list(self._points), 0.0, -1, near
        for index in range(len(points) - 1, -1, -1):
            if index + 1 < len(points):
                length += float(np.abs(points[index + 1] - points[index]).max())
            if length > _LOOK_BACK:
                break
            off = float(np.abs(points[index] - joints).max())
            if off < least:
                best, least = index, off
        # The nearest point may lie a little beyond the arm, the one before it does not.
        return points[best - 1 :: -1] if best > 0 else []

    def cut(self, left: int) -> None:
        """Keep the oldest `left` points only: the rest has been gone back."""
        while len(self._points) > left:
            self._points.pop()


class Retrace:
    """One way back.

    Args:
        way: targets (6,) [rad], the next one first, at least one.
        bounds: how far.
        start: where the motion is now (6,) [rad]. period: one tick [s].
    """

    def __init__(self, way: list[Float], bounds: BackOff, start: Float, period: float) -> None:
        self._way, self._bounds, self._period = way, bounds, period
        self._index, self._target = 0, start
        self._began_ns: int | None = None
        self._last: Float | None = None
        self._gone = 0.0

    @property
    def pace(self) -> float:
        """Share of the speed limits to go at."""
        return self._bounds.pace

    @property
    def left(self) -> int:
        """How many points of the path have not been reached."""
        return len(self._way) - self._index

    def target(self, now_ns: int, joints: Float, tcp: Float) -> Float | None:
        """The target (6,) [rad] of the tick at monotonic `now_ns`; None = it is over: path, distance or time.

        Args:
            joints: where the motion is (6,) [rad]. tcp: there (3,) [m].
        """
        self._began_ns = now_ns if self._began_ns is None else self._began_ns
        if self._last is not None:
            self._gone += float(np.linalg.norm(tcp - self._last))
        self._last = tcp
        if now_ns - self._began_ns >= self._bounds.time * 1e9 or self._gone >= self._bounds.distance:
            return None
        if self._index >= len(self._way):
            return None if float(np.abs(joints - self._target).max()) < 1e-4 else self._target
        if float(np.abs(self._target - joints).max()) < _AHEAD:
            self._walk(self._bounds.speed * self._period)
        return self._target

    def _walk(self, way: float) -> None:
        """Move the target `way` [rad] of the fastest joint along the path."""
        while self._index < len(self._way):
            step = self._way[self._index] - self._target
            length = float(np.abs(step).max())
            if length > way:
                self._target = self._target + step * (way / length)
                return
            self._target, way = self._way[self._index], way - length
            self._index += 1
