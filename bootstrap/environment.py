"""The Python environment: a venv with the pinned wheels, or beside apt's ROS a venv that sees the system's packages."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from bootstrap.paths import HOME, ROOT, Ros, SetupError
from bootstrap.report import run, say

_MARK = "reconvla-requirements.sha256"
# apt's cv_bridge and OpenCV are compiled against apt's numpy; replacing that breaks them.
_LEFT_TO_APT = ("numpy", "scipy", "opencv-python-headless", "PyYAML")


def requirements(ros: Ros) -> list[Path]:
    """The files that are installed together."""
    folder = ROOT / "requirements"
    files = [folder / f"{name}.txt" for name in ("base", "train", "build", "test")]
    return files if ros.from_apt else [folder / "ros2-jazzy.txt", *files]


def _digest(ros: Ros) -> str:
    text = "".join(f.read_text() for f in requirements(ros)) + str(ros.setup) + sys.version
    return hashlib.sha256(text.encode()).hexdigest()


def ready(ros: Ros) -> bool:
    """True when the environment holds exactly what the requirement files ask for."""
    mark = ros.venv / _MARK
    return ros.interpreter.exists() and mark.exists() and mark.read_text() == _digest(ros)


def make(ros: Ros) -> None:
    """Create and fill the environment; visible, and safe to repeat."""
    if not ros.interpreter.exists():
        say(f"   Python {sys.version.split()[0]} -> {ros.venv}")
        options = ["--system-site-packages"] if ros.from_apt else []
        run([ros.python, "-m", "venv", *options, str(ros.venv)], HOME / "log" / "venv.log")
    pip = [str(ros.interpreter), "-m", "pip", "--disable-pip-version-check", "install", "--progress-bar", "off"]
    run([*pip, *_arguments(ros)], HOME / "log" / "pip.log")
    if not ros.from_apt:
        _repair_cmake(ros)
    _check(ros)
    (ros.venv / _MARK).write_text(_digest(ros))


def _arguments(ros: Ros) -> list[str]:
    if not ros.from_apt:
        return [argument for f in requirements(ros) for argument in ("-r", str(f))]
    lines = [t.split("#")[0].strip() for f in requirements(ros) for t in f.read_text().splitlines()]
    return [t for t in lines if t and t.split("==")[0].split("[")[0] not in _LEFT_TO_APT]


def _repair_cmake(ros: Ros) -> None:
    """The wheels' CMake files name folders of the machine they were built on; name this one's instead."""
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    base = f"/opt/python/{tag}-{tag}"
    query = "import sysconfig; print(sysconfig.get_paths()['include']); print(sysconfig.get_paths()['purelib'])"
    include, site = subprocess.run(
        [str(ros.interpreter), "-c", query], capture_output=True, text=True, check=True
    ).stdout.split()
    replacements = {f"{base}/include/{version}": include, f"{base}/lib/{version}/site-packages": site}
    changed = 0
    for path in (ros.venv / "share").glob("*/cmake/*"):
        if not path.is_file():
            continue
        text = path.read_text(errors="surrogateescape")
        fixed = text
        for old, new in replacements.items():
            fixed = fixed.replace(old, new)
        if fixed != text:
            path.write_text(fixed, errors="surrogateescape")
            changed += 1
    say(f"   CMake files of the wheels adapted to this machine: {changed}")


def _check(ros: Ros) -> None:
    modules = "numpy, scipy, yaml, can, piper_sdk, mujoco, ruckig, mcap, pyarrow, av, torch, transformers"
    code = f"import {modules}; print('torch', torch.__version__, '| mujoco', mujoco.__version__, '| numpy', numpy.__version__)"
    done = subprocess.run([str(ros.interpreter), "-c", code], capture_output=True, text=True, env=os.environ.copy())
    if done.returncode:
        raise SetupError(
            f"the environment does not import: {done.stderr.strip().splitlines()[-1]}\n"
            f"remedy: remove {ros.venv} and run this again"
        )
    say("   " + done.stdout.strip())
