"""Who may move the arm: one source at a time."""

from __future__ import annotations

from reconvla_ros.errors import choices
from reconvla_ros.types import SOURCES

# A human's hand comes before the model; whoever is not listed waits until the lease is given back.
_PRE_EMPTS = {
    "teleop": frozenset({"policy", "replay", "home"}),
    "home": frozenset({"policy", "replay"}),
    "policy": frozenset[str](),
    "replay": frozenset[str](),
}


class Lease:
    """The exclusive lease; `holder` is "none" at start."""

    def __init__(self) -> None:
        self.holder = "none"

    def request(self, source: str) -> tuple[bool, str]:
        """Ask for the lease, or give it back with "none".

        Returns:
            (granted, message); refused, the lease stays where it was.
        """
        if source not in SOURCES:
            return False, f"source {choices(source, SOURCES)}"
        if source in ("none", self.holder) or self.holder == "none":
            self.holder = source
            return True, f"lease: {source}"
        if self.holder in _PRE_EMPTS[source]:
            before, self.holder = self.holder, source
            return True, f"lease: {source} takes over from {before}"
        return False, f"{self.holder} holds the lease; give it back first (source 'none')"

    def release(self, source: str) -> None:
        """Give the lease back if `source` holds it."""
        if self.holder == source:
            self.holder = "none"
