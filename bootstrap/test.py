"""`./reconvla test`: ruff, mypy, pytest. With arguments: pytest alone, with those."""

from __future__ import annotations

import os
import subprocess
import threading
import time

from bootstrap.paths import ROOT, Ros
from bootstrap.report import say

# Tests in real time hold the graph to its deadlines. On a shared host another's work can stop it for longer than they allow:
# what failed there is run once more, seen by everybody; what fails twice, or more than this at once, is a failure.
_REAL_TIME = "pytest, in real time"
SECOND_TRY = 6
_PAUSE = 0.1  # [s] that a sleeping thread is woken late: the driver calls feedback stale after half of it


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
        checks.append((_REAL_TIME, [*pytest, "--durations=10", "-m", "real_time"]))
    status = 0
    for name, command in checks:
        say(f"== {name}")
        begin = time.monotonic()
        with _Host() as host:
            code = subprocess.run(command, cwd=ROOT, env=_with_typing_path(name, env)).returncode
        say(f"   {name}: {'ok' if code == 0 else f'failed ({code})'}, {time.monotonic() - begin:.0f} s; {host}")
        if code == 1 and name == _REAL_TIME:
            code = _second_try(command, env)
        status = status or code
    return status


def _second_try(command: list[str], env: dict[str, str]) -> int:
    """Run again, once, what failed in real time; the exit status of that, or 1 if too much failed for the host to blame."""
    listed = [*command, "--last-failed", "--last-failed-no-failures", "none"]
    found = subprocess.run(
        [*listed, "--collect-only", "-q"], cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True
    )
    failed = [line for line in found.stdout.splitlines() if "::" in line]
    if not 0 < len(failed) <= SECOND_TRY:
        return 1
    say(f"== second try of {len(failed)} that failed in real time: {', '.join(failed)}")
    with _Host() as host:
        code = subprocess.run(listed, cwd=ROOT, env={**os.environ, **env}).returncode
    verdict = "failed twice" if code else "passed at the second try: they are not steady on this host"
    say(f"   {verdict}: {', '.join(failed)}; {host}")
    return code


class _Host:
    """Notes how often this host stood still: how late a sleeping thread was woken."""

    def __enter__(self) -> _Host:
        self._pauses: list[float] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._end.wait(0.02):
            now = time.monotonic()
            if now - before - 0.02 > _PAUSE:
                self._pauses.append(now - before - 0.02)
            before = now

    def __str__(self) -> str:
        longest = f", the longest {max(self._pauses):.2f} s" if self._pauses else ""
        return f"the host stood still {len(self._pauses)} times for {_PAUSE:g} s or more{longest}"


def _workers() -> str:
    """As many as cores, four at most: each holds torch."""
    return str(min(4, len(os.sched_getaffinity(0))))


def _with_typing_path(name: str, env: dict[str, str]) -> dict[str, str]:
    # mypy reads the sources where they lie; the installed copy would be the same module twice.
    return {k: v for k, v in env.items() if k != "PYTHONPATH"} if name == "mypy" else {**os.environ, **env}
