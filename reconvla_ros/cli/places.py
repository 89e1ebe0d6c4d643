"""Where the installed files, the state and the episodes of this user are."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from reconvla_ros.errors import SetupError


def share() -> Path:
    """Folder that holds config/, launch/ and urdf/: installed by colcon or by pip, else the checkout.

    Raises:
        SetupError: neither is there.
    """
    for prefix in (*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix):
        folder = Path(prefix) / "share" / "reconvla_ros"
        if (folder / "config").is_dir():
            return folder
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "config").is_dir():
        return checkout
    raise SetupError("config/ of reconvla_ros is not installed; remedy: ./reconvla setup, or source install/setup.bash")


def executables() -> Path:
    """Folder of the nodes' executables.

    Raises:
        SetupError: the workspace is not built; nodes need its messages.
    """
    folder = share().parent.parent / "lib" / "reconvla_ros"
    if not folder.is_dir():
        raise SetupError(
            "the nodes are not installed; remedy: ./reconvla setup, or colcon build and source install/setup.bash"
        )
    return folder


def state() -> Path:
    """Folder for what commands leave behind (logs of runs, the demo's checkpoint)."""
    named = os.environ.get("RECONVLA_HOME")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = Path(named) if named else cache / "reconvla_ros"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def middleware_environment() -> dict[str, str]:
    """Variables the middleware needs for images; what the user set wins."""
    if os.environ.get("FASTRTPS_DEFAULT_PROFILES_FILE") or os.environ.get("FASTDDS_DEFAULT_PROFILES_FILE"):
        return {}
    return {"FASTRTPS_DEFAULT_PROFILES_FILE": str(share() / "config" / "fastdds.xml")}
