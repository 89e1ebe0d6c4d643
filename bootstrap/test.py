"""`./reconvla test`: ruff, mypy, pytest. With arguments: pytest alone, with those."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from bootstrap.paths import ROOT, Ros
from bootstrap.report import say

# Folders of test/ in which processes, threads or a simulated firmware keep real time: they get the machine to themselves,
# one test at a time. All others share the cores.
REAL_TIME = ("arm", "camera", "graph", "nodes", "sim", "teleop")


def main(ros: Ros, env: dict[str, str], arguments: list[str]) -> int:
    """Run them in that order; the exit status is that of the first that fails, after all have run."""
    tools = ros.venv / "bin"
    env = {**env, "PYTHONDONTWRITEBYTECODE": "1"}
    checks: list[tuple[str, list[str]]] = []
    if not arguments:
        checks = [
            ("ruff", [str(tools / "ruff"), "check", "."]),
            ("mypy", [str(tools / "mypy")]),
        ]
    # The entry point rather than `python -m pytest`, which would put the sources, without the generated messages, first.
    pytest = [str(tools / "pytest")]
    if arguments:
        checks.append(("pytest", [*pytest, *arguments]))
    else:
        real_time, others = _split(ROOT / "test")
        checks.append(
            ("pytest, in parallel", [*pytest, "--durations=10", "-n", _workers(), "--dist", "loadfile", *others])
        )
        checks.append(("pytest, in real time", [*pytest, "--durations=10", *real_time]))
    status = 0
    for name, command in checks:
        say(f"== {name}")
        begin = time.monotonic()
        code = subprocess.run(command, cwd=ROOT, env=_with_typing_path(name, env)).returncode
        say(f"   {name}: {'ok' if code == 0 else f'failed ({code})'}, {time.monotonic() - begin:.0f} s")
        status = status or code
    return status


def _split(tests: Path) -> tuple[list[str], list[str]]:
    """Test folders and files that need the machine to themselves, and the others, each in order."""
    found = sorted(
        p for p in tests.iterdir() if p.name.startswith("test_") or (p.is_dir() and any(p.glob("test_*.py")))
    )
    names = [str(p.relative_to(ROOT)) for p in found]
    return [n for n, p in zip(names, found, strict=True) if p.name in REAL_TIME], [
        n for n, p in zip(names, found, strict=True) if p.name not in REAL_TIME
    ]


def _workers() -> str:
    """As many as cores, four at most: each holds torch."""
    return str(min(4, len(os.sched_getaffinity(0))))


def _with_typing_path(name: str, env: dict[str, str]) -> dict[str, str]:
    # mypy reads the sources where they lie; the installed copy would be the same module twice.
    return {k: v for k, v in env.items() if k != "PYTHONPATH"} if name == "mypy" else {**os.environ, **env}
