"""Drag-teach: the follower itself is led by hand, in its own teach mode. Nothing is commanded; this only records.

The person switches teach mode on with the button of the arm. What to know is said before and while it lasts: an arm that
leaves teach mode may have no power for a moment, and a PiPER without power falls.
"""

from __future__ import annotations

from reconvla_ros.teleop.protocol import Reading

WARNING = "drag-teach records only. HOLD THE ARM before you leave teach mode: it may drop"


class Drag:
    """A `Device` that never moves anything."""

    name, toggles = "drag", False

    def open(self) -> None:
        """See `Device.open`."""

    def read(self, now_ns: int) -> Reading:
        """See `Device.read`."""
        return Reading(note=WARNING)

    def close(self) -> None:
        """See `Device.close`."""
