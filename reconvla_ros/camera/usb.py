"""What a USB connection carries, and what to do when it carries too little. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# [MB/s] of payload. USB 2: 480 Mbit/s, of which at best 53 MB/s bulk payload remain (USB 2.0 specification, table 5-10:
# 13 packets of 512 bytes a microframe); librealsense's users get 35 to 40. USB 3.x gen 1: about 400.
CARRIES = {2: 35.0, 3: 400.0}
BYTES = 4  # a pixel on the wire: YUYV colour and Z16 depth, 2 bytes each


@dataclass(frozen=True, order=True)
class Mode:
    """A size [px] and a rate [Hz] that colour and depth can both have."""

    width: int
    height: int
    rate: int

    @property
    def load(self) -> float:
        """Colour and depth on the wire [MB/s]."""
        return self.width * self.height * self.rate * BYTES / 1e6

    def __str__(self) -> str:
        return f"{self.width}x{self.height}@{self.rate}"


def generation(descriptor: str) -> int:
    """`2.1` -> 2, `3.2` -> 3; 0 for what is not known."""
    head = descriptor.split(".")[0]
    return int(head) if head.isdigit() else 0


def advice(descriptor: str, mode: Mode, offered: Iterable[Mode], cameras: int = 1) -> str:
    """What to do about the connection; empty = it is good enough.

    Args:
        descriptor: as librealsense says, such as 2.1. mode: what is wanted. offered: what the camera can do there.
        cameras: how many share the host controller.
    """
    if generation(descriptor) != 2:
        return ""
    limit, wanted = CARRIES[2] / cameras, mode.load
    fits = sorted((m for m in set(offered) if m.load <= limit), key=lambda m: m.load)
    best = ", ".join(str(m) for m in fits[::-1][:4]) or "none"
    verdict = "fits" if wanted <= limit else "is too much"
    return (
        f"USB {descriptor}: {mode} needs {wanted:.0f} MB/s, about {limit:.0f} are there: {verdict}. Use a USB 3 port and a "
        f"USB 3 cable (blue or SS; at most 2 m), the plug pushed in quickly; else one of {best}"
    )
