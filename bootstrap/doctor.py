"""`./reconvla doctor`: what is here, versions, what is missing, and the remedy for each. Changes nothing."""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bootstrap import environment, system, workspace
from bootstrap.paths import HOME, Ros, SetupError

Row = tuple[bool, str, str, str]  # good, name, what was found, remedy


def main(ros: Ros, arguments: list[str]) -> int:
    """Print every finding; 0 when nothing is missing. What needs the environment is asked inside it."""
    rows = [*_machine(ros), *_built(ros)]
    extra: list[Row] = []
    if environment.ready(ros) and workspace.ready(ros):
        command = workspace.command_line(ros, ["doctor", "--json", *arguments])
        done = subprocess.run(command, env=workspace.environment(ros), capture_output=True, text=True)
        try:
            extra = [tuple(row) for row in json.loads(done.stdout)]  # type: ignore[misc]
        except json.JSONDecodeError:
            print(done.stdout + done.stderr)
            extra = [(False, "inside check", f"failed with {done.returncode}", "see above")]
    for good, name, found, remedy in [*rows, *extra]:
        print(f"{'ok  ' if good else 'MISS'}  {name:<22} {found}")
        if not good:
            print(f"      {'':<22} remedy: {remedy}")
    bad = sum(not row[0] for row in [*rows, *extra])
    print(f"\n{'everything is here' if not bad else f'{bad} missing'}")
    return 1 if bad else 0


def _machine(ros: Ros) -> list[Row]:
    rows: list[Row] = [
        (True, "system", f"{_os_name()}, {platform.machine()}, kernel {platform.release()}", ""),
        (True, "python", f"{platform.python_version()} ({sys.executable})", ""),
        (True, "ROS 2", f"{ros.distro} from {'apt, ' + str(ros.setup) if ros.from_apt else 'wheels'}", ""),
    ]
    try:
        if not ros.from_apt:
            system.check_platform()
    except SetupError as error:
        rows.append((False, "platform", "not supported", str(error)))
    for need in system.NEEDS:
        there = need.present()
        command = "sudo " + system.apt_command([need])
        rows.append((there, need.name, f"found ({need.why})" if there else f"missing ({need.why})", command))
    free = shutil.disk_usage(HOME if HOME.exists() else HOME.parent).free / 1e9
    rows.append(
        (free > 8, "disk", f"{free:.0f} GB free", "the environment takes about 5 GB, a minute of recording 6 GB")
    )
    rows.append((True, "real-time priority", _realtime(), ""))
    shm = shutil.disk_usage("/dev/shm").total / 1e6 if Path("/dev/shm").exists() else 0
    rows.append(
        (
            shm >= 256,
            "/dev/shm",
            f"{shm:.0f} MB",
            "images travel through it: docker run --shm-size=1g, or remount it larger",
        )
    )
    return rows


def _realtime() -> str:
    allowed = os.geteuid() == 0 or resource.getrlimit(resource.RLIMIT_RTPRIO)[1] != 0
    return "allowed" if allowed else "not allowed; the driver runs without (docs/how-to/real-time.md)"


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"


def _built(ros: Ros) -> list[Row]:
    states: list[tuple[str, Callable[[Ros], bool], Path]] = [
        ("environment", environment.ready, ros.venv),
        ("workspace", workspace.ready, workspace.INSTALL),
    ]
    return [
        (ready(ros), name, str(path) if ready(ros) else "not made yet, or older than the sources", "./reconvla setup")
        for name, ready, path in states
    ]
