from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def udp_port() -> int:
    """A UDP port that nothing on this machine uses; ports, not groups, keep two simulated arms apart."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a script of this folder with arguments; whatever still runs afterwards is ended."""
    running: list[subprocess.Popen[str]] = []

    def launch(script: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(HERE / script), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        running.append(process)
        return process

    yield launch
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def arm(start: Start, udp_port: int) -> subprocess.Popen[str]:
    """A simulated arm in a process of its own on `udp_port`, sending."""
    process = start("arm_process.py", udp_port)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line == "ready\n", process.communicate()[1]
    return process
