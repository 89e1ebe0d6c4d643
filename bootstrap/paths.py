"""Where things are, and what the two kinds of ROS are."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = Path(os.environ.get("RECONVLA_HOME", ROOT / ".reconvla"))
WORKSPACE = HOME / "ws"
INSTALL = WORKSPACE / "install"
STATE = HOME / "setup.json"

# What apt may provide, best first. Humble is supported on paper: it was never run.
DISTROS = ("jazzy", "kilted", "humble")
PYTHONS = ((3, 10), (3, 13))  # the wheels exist for these and all between


class SetupError(Exception):
    """Something this machine lacks; the message carries the remedy."""


@dataclass
class Ros:
    """How this machine gets ROS: from apt (`setup` is its setup.bash) or from wheels (`setup` is None)."""

    distro: str
    setup: Path | None
    python: str = field(default_factory=lambda: sys.executable)

    @property
    def from_apt(self) -> bool:
        """True where apt provides ROS."""
        return self.setup is not None

    @property
    def venv(self) -> Path:
        """The environment of our own; another can be named, to share one among checkouts."""
        named = os.environ.get("RECONVLA_VENV")
        return Path(named) if named else HOME / ("venv-apt" if self.from_apt else "venv")

    @property
    def interpreter(self) -> Path:
        """Python of that environment."""
        return self.venv / "bin" / "python"


def find_ros() -> Ros:
    """apt ROS 2 where there is one (RECONVLA_ROS=wheels declines it), else the wheels."""
    wanted = os.environ.get("RECONVLA_ROS", "auto")
    if wanted not in ("auto", "apt", "wheels"):
        raise SetupError(f"RECONVLA_ROS={wanted!r}: choose auto, apt or wheels")
    named = os.environ.get("ROS_DISTRO", "")
    if wanted != "wheels":
        for distro in dict.fromkeys([*([named] if named else []), *DISTROS]):
            setup = Path("/opt/ros") / distro / "setup.bash"
            if setup.is_file():
                # apt's rclpy is built for the system's Python and no other.
                return Ros(distro, setup, "/usr/bin/python3")
        if wanted == "apt":
            raise SetupError(f"RECONVLA_ROS=apt, but none of {', '.join(DISTROS)} is under /opt/ros")
    return Ros("jazzy", None)
