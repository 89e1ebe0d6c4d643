"""Which camera has gone silent: nobody has told us by now what it would see. Monotonic time is an argument."""

from __future__ import annotations

from collections.abc import Iterable


class CameraSilence:
    """Hears that images come, whatever their stamps say.

    Args:
        names: the cameras.
        limit: a camera is silent when no image came for longer [s].
        now: monotonic time from which on they are expected [s].
    """

    def __init__(self, names: Iterable[str], limit: float, now: float) -> None:
        self._limit = limit
        self._heard = dict.fromkeys(names, now)

    def heard(self, name: str, now: float) -> None:
        """An image of camera `name` came at `now` [s]."""
        self._heard[name] = now

    def why(self, now: float) -> str:
        """The camera that has been silent for longest and for too long, with bound and value; empty when none is."""
        name, last = min(self._heard.items(), key=lambda item: item[1])
        if now - last <= self._limit:
            return ""
        return f"camera {name} silent: no image for {now - last:.3f} s, allowed {self._limit:g}"
