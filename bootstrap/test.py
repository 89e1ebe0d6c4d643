"""`./reconvla test`: ruff, mypy, pytest. With arguments: pytest alone, with those."""

from __future__ import annotations

import os
import subprocess
import time

from bootstrap.paths import ROOT, Ros
from bootstrap.report import say


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
        # In parallel what keeps no real time, then one test at a time what does (marked in test/conftest.py).
        parallel = ["-n", _workers(), "--dist", "loadfile"]
        checks.append(("pytest, in parallel", [*pytest, "--durations=10", *parallel, "-m", "not real_time"]))
        checks.append(("pytest, in real time", [*pytest, "--durations=10", "-m", "real_time"]))
    status = 0
    for name, command in checks:
        say(f"== {name}")
        begin = time.monotonic()
        code = subprocess.run(command, cwd=ROOT, env=_with_typing_path(name, env)).returncode
        say(f"   {name}: {'ok' if code == 0 else f'failed ({code})'}, {time.monotonic() - begin:.0f} s")
        status = status or code
    return status


def _workers() -> str:
    """As many as cores, four at most: each holds torch."""
    return str(min(4, len(os.sched_getaffinity(0))))


def _with_typing_path(name: str, env: dict[str, str]) -> dict[str, str]:
    # mypy reads the sources where they lie; the installed copy would be the same module twice.
    return {k: v for k, v in env.items() if k != "PYTHONPATH"} if name == "mypy" else {**os.environ, **env}
