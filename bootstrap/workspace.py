"""The ROS workspace: messages generated, nodes installed, and the environment variables to run in."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bootstrap.paths import HOME, INSTALL, ROOT, WORKSPACE, Ros
from bootstrap.report import run

_MARK = WORKSPACE / "sources.sha256"
# Their content is compiled or copied; of the rest only the list of files matters, since installed files are links.
_COMPILED = ("msg", "srv", "action", "cmake", "extra")
_PACKAGE = (
    "CMakeLists.txt",
    "package.xml",
    "msg",
    "srv",
    "action",
    "cmake",
    "launch",
    "config",
    "urdf",
    "reconvla_ros",
)


def _digest(ros: Ros) -> str:
    parts = [str(ros.setup), str(ros.venv), sys.version]
    for folder in (*_COMPILED, "reconvla_ros", "launch", "config", "urdf"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                parts.append(str(path.relative_to(ROOT)))
                if folder in _COMPILED:
                    parts.append(path.read_text())
    parts += [(ROOT / name).read_text() for name in ("CMakeLists.txt", "package.xml")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def ready(ros: Ros) -> bool:
    """True when what is installed is built from the present sources."""
    return _MARK.exists() and _MARK.read_text() == _digest(ros)


def build(ros: Ros) -> None:
    """colcon build, into a workspace of our own beside the sources."""
    env = _build_environment(ros)
    _lay_out_sources(with_tf2_msgs=not _has_package("tf2_msgs", env))
    command = [
        str(ros.interpreter), "-m", "colcon", "--log-base", str(WORKSPACE / "log"), "build",
        "--base-paths", str(WORKSPACE / "src"), "--build-base", str(WORKSPACE / "build"), "--install-base", str(INSTALL),
        "--merge-install", "--symlink-install", "--event-handlers", "console_direct+", "desktop_notification-",
        "--cmake-args", "-DBUILD_TESTING=OFF", f"-DPython3_EXECUTABLE={ros.interpreter}", "-Wno-dev",
    ]  # fmt: skip
    run(command, HOME / "log" / "colcon.log", env, cwd=ROOT)
    _MARK.write_text(_digest(ros))


def _build_environment(ros: Ros) -> dict[str, str]:
    env = _sourced(ros.setup) if ros.setup else dict(os.environ)
    if not ros.from_apt:
        env["AMENT_PREFIX_PATH"] = env["CMAKE_PREFIX_PATH"] = str(ros.venv)
        env["LD_LIBRARY_PATH"] = _joined(str(ros.venv / "lib"), env.get("LD_LIBRARY_PATH", ""))
    env["PATH"] = _joined(str(ros.venv / "bin"), env.get("PATH", ""))
    env.pop("PYTHONPATH", None) if not ros.from_apt else None
    return env


def _lay_out_sources(with_tf2_msgs: bool) -> None:
    """A src folder of links to this checkout. Built in place, CMake would refuse: the environment lies inside it."""
    shutil.rmtree(WORKSPACE / "src", ignore_errors=True)
    package = WORKSPACE / "src" / "reconvla_ros"
    package.mkdir(parents=True)
    for name in _PACKAGE:
        (package / name).symlink_to(ROOT / name)
    if with_tf2_msgs:
        (WORKSPACE / "src" / "tf2_msgs").symlink_to(ROOT / "extra" / "tf2_msgs")


def _has_package(name: str, env: dict[str, str]) -> bool:
    return any((Path(p) / "share" / name / "package.xml").exists() for p in env.get("AMENT_PREFIX_PATH", "").split(":"))


def _sourced(script: Path) -> dict[str, str]:
    """The environment after sourcing a setup.bash."""
    out = subprocess.run(["bash", "-c", f"source '{script}' >/dev/null && env -0"], capture_output=True, check=True)
    return dict(entry.split("=", 1) for entry in out.stdout.decode().split("\0") if "=" in entry)


def command_line(ros: Ros, words: list[str]) -> list[str]:
    """The installed `reconvla`. Not `python -m`, which would put the folder we stand in, maybe the sources, first."""
    return [str(ros.interpreter), str(INSTALL / "bin" / "reconvla"), *words]


def _joined(*parts: str) -> str:
    return os.pathsep.join(p for p in parts if p)


def _without_sources(env: dict[str, str]) -> str:
    """PYTHONPATH without this checkout, which ./reconvla adds to find the bootstrap: sources lack the messages."""
    return _joined(*(p for p in env.get("PYTHONPATH", "").split(os.pathsep) if p != str(ROOT)))


def environment(ros: Ros) -> dict[str, str]:
    """What a process of ours runs in."""
    if ros.from_apt:
        env = _sourced(INSTALL / "setup.bash")
    else:
        env = dict(os.environ)
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        env["AMENT_PREFIX_PATH"] = _joined(str(INSTALL), str(ros.venv))
        # Set here, so that the wheels need not start Python twice to set it themselves.
        env["LD_LIBRARY_PATH"] = _joined(str(INSTALL / "lib"), str(ros.venv / "lib"), env.get("LD_LIBRARY_PATH", ""))
        env["PYTHONPATH"] = _joined(str(INSTALL / "lib" / version / "site-packages"), _without_sources(env))
        env["ROS_VERSION"], env["ROS_PYTHON_VERSION"], env["ROS_DISTRO"] = "2", "3", ros.distro
    env["PATH"] = _joined(str(ros.venv / "bin"), str(INSTALL / "bin"), env.get("PATH", ""))
    env["RECONVLA_ROOT"] = str(ROOT)
    env["RECONVLA_HOME"] = str(HOME)
    return env
