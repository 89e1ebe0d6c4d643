"""What the user sees while things are made ready."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bootstrap.paths import HOME, STATE, SetupError

_COLOUR = sys.stderr.isatty()


def say(text: str) -> None:
    """One line to the terminal. On stderr, so that a command's own output stays clean."""
    print(f"\033[36m{text}\033[0m" if _COLOUR else text, file=sys.stderr, flush=True)


@contextmanager
def stage(name: str, title: str) -> Iterator[None]:
    """Say what begins, and how long it took; remember the seconds for the demo's report."""
    say(f"== {title}")
    begin = time.monotonic()
    yield
    seconds = time.monotonic() - begin
    remember(name, round(seconds, 1))
    say(f"   {name}: {seconds:.1f} s")


def remember(name: str, seconds: float) -> None:
    """Keep the seconds of a stage."""
    HOME.mkdir(parents=True, exist_ok=True)
    known = json.loads(STATE.read_text()) if STATE.exists() else {}
    known[name] = seconds
    STATE.write_text(json.dumps(known, indent=1))


def run(command: list[str], log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
    """Run a command, show its progress as short lines, keep all of it in `log`.

    Raises:
        SetupError: with the end of the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    shown = 0.0
    with log.open("w") as out:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=env, cwd=cwd
        )
        assert process.stdout is not None
        for line in process.stdout:
            out.write(line)
            text = line.strip()
            begins = (
                "Collecting",
                "Downloading",
                "Installing",
                "Building",
                "Starting",
                "Finished",
                "Summary",
                "Get:",
                "Setting up",
                "--- ",
            )
            # A line now and then shows that it lives; every line would bury what matters.
            if text.startswith(begins) and (time.monotonic() - shown > 0.7 or text.startswith(("Finished", "Summary"))):
                shown = time.monotonic()
                say("   " + text[:110])
    if process.wait() != 0:
        tail = [t for t in log.read_text(errors="replace").splitlines() if t.strip() and "is ignored" not in t][-25:]
        raise SetupError("\n".join(["failed: " + " ".join(command)[:300], *tail, f"(the whole log: {log})"]))
