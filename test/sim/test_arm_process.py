"""The simulated arm as a process: what is left when it ends well, and when it is killed."""

from __future__ import annotations

import signal
import subprocess
import time
from typing import Any

import pytest

from reconvla_ros.sim.bus import BusConfig
from reconvla_ros.sim.shared_state import StateReader, path_for

pytestmark = pytest.mark.graph


def test_sigterm_leaves_nothing(udp_port: int, arm: subprocess.Popen[str]) -> None:
    path = path_for(BusConfig(port=udp_port).name)
    assert path.exists()
    arm.terminate()
    assert arm.wait(10) == 0
    assert not path.exists()


def test_after_kill_9_the_next_one_starts_and_takes_over(start: Any, udp_port: int, arm: subprocess.Popen[str]) -> None:
    path = path_for(BusConfig(port=udp_port).name)
    old = StateReader(path)
    arm.send_signal(signal.SIGKILL)
    arm.wait(10)
    last = old.latest()
    again = start("arm_process.py", udp_port)
    assert again.stdout.readline() == "ready\n", again.communicate()[1]
    new = StateReader(path)
    assert new.pid == again.pid != old.pid
    until = time.monotonic() + 10
    while new.latest() is None and time.monotonic() < until:
        time.sleep(0.01)
    fresh, stale = new.latest(), old.latest()
    assert fresh is not None
    # Killed in the middle of writing one, the old process left no whole sample behind.
    assert (last is None) == (stale is None)
    if last is not None and stale is not None:
        assert fresh.monotonic_ns > last.monotonic_ns == stale.monotonic_ns
    again.terminate()
    again.wait(10)
    assert not path.exists()
