"""What the machine itself must have: libraries, a compiler, Python's own parts."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bootstrap.paths import HOME, PYTHONS, SetupError
from bootstrap.report import run, say


@dataclass(frozen=True)
class Need:
    """One thing the machine must have: how to see that it is there, the apt package, and what it is for."""

    name: str
    packages: tuple[str, ...]
    why: str
    present: Callable[[], bool]


def _library(*names: str) -> Callable[[], bool]:
    def present() -> bool:
        for name in names:
            try:
                ctypes.CDLL(name)
            except OSError:
                return False
        return True

    return present


def _headers() -> bool:
    return (Path(sysconfig.get_paths()["include"]) / "Python.h").exists()


def _mesa() -> bool:
    return any(Path(p).glob("*/dri/*_dri.so") for p in ()) or any(
        next(Path(base).glob(pattern), None) is not None
        for base in ("/usr/lib", "/usr/lib64")
        for pattern in ("*/dri/swrast_dri.so", "dri/swrast_dri.so", "*/libgallium*.so", "libgallium*.so")
    )


NEEDS = (
    Need("EGL", ("libegl1", "libegl-mesa0", "libgles2"), "headless rendering of the cameras", _library("libEGL.so.1")),
    Need("OpenGL", ("libgl1",), "rendering", _library("libGL.so.1")),
    Need("Mesa drivers", ("libgl1-mesa-dri",), "software rendering", _mesa),
    Need("libusb", ("libusb-1.0-0",), "RealSense cameras", _library("libusb-1.0.so.0")),
    Need("C++ compiler", ("g++",), "building the messages", lambda: shutil.which("g++") is not None),
    Need("make", ("make",), "building the messages", lambda: shutil.which("make") is not None),
    Need("cmake", ("cmake",), "building the messages", lambda: shutil.which("cmake") is not None),
    Need("Python headers", ("python3-dev",), "building the messages", _headers),
    Need(
        "Python venv",
        ("python3-venv",),
        "an environment of our own",
        lambda: importlib.util.find_spec("ensurepip") is not None,
    ),
)


def check_platform() -> None:
    """Refuse what the wheels do not exist for."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise SetupError(
            f"this is {sys.platform} on {platform.machine()}; the ROS wheels exist for Linux on x86_64 only. "
            "Elsewhere install ROS 2 Jazzy with apt or a container, and run this again."
        )
    low, high = PYTHONS
    if not low <= sys.version_info[:2] <= high:
        raise SetupError(
            f"Python {platform.python_version()}: needs {low[0]}.{low[1]} to {high[0]}.{high[1]}. "
            "Name another with RECONVLA_PYTHON=/path/to/python3 ./reconvla ..."
        )


def missing() -> list[Need]:
    """The needs this machine does not meet."""
    return [need for need in NEEDS if not need.present()]


def apt_command(needs: list[Need]) -> str:
    """The exact command that installs them on Debian and Ubuntu."""
    return "apt-get install -y " + " ".join(p for need in needs for p in need.packages)


def ensure() -> None:
    """Install what is missing when we are root on Debian or Ubuntu; else name the command.

    Raises:
        SetupError: something is missing and cannot be installed from here.
    """
    lacking = missing()
    if not lacking:
        return
    names = ", ".join(f"{n.name} ({n.why})" for n in lacking)
    say(f"   missing: {names}")
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SetupError(
            f"missing: {names}\nremedy:  sudo {apt_command(lacking)}\n(on another Linux: the same by its package manager)"
        )
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update"], HOME / "log" / "apt-update.log", env)
    run(apt_command(lacking).split(), HOME / "log" / "apt-install.log", env)
    # The loader keeps what it failed to find; a child sees the new libraries.
    still = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.path.insert(0, sys.argv[1]); "
            "from bootstrap.system import missing; print(*[n.name for n in missing()], sep=', ')",
            str(Path(__file__).resolve().parent.parent),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    if still:
        raise SetupError(f"still missing after apt-get install: {still}")
