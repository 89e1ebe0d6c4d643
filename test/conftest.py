"""Isolation: every test gets a DDS domain, a CAN port and folders of its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Where torch comes with triton (its CUDA builds), triton must be loaded before Mesa: both carry LLVM, and loading triton
# after the first OpenGL context ends the process. Nodes never have both in one process; this test run has.
with contextlib.suppress(ImportError):
    import triton  # noqa: F401

pytest_plugins = ["tiny_checkpoint", "golden_vectors"]  # in test/shared

ROOT = Path(__file__).resolve().parent.parent

# Set before anything imports a library that reads them.
os.environ.setdefault("MUJOCO_GL", "egl")
for _name in ("LP_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")


# Fixtures, and names in a test's module, that mean a firmware, a bus or nodes which keep real time.
LIVE_FIXTURES = {"domain", "sim_port", "udp_port", "address", "sim", "arm", "start"}
LIVE_NAMES = {"simulated", "SimulatedArm", "DeadlineLoop"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the cores to itself: `./reconvla test` runs it one test at a time, and the rest on every core."""
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        module = set(dir(getattr(item, "module", None)))
        if item.get_closest_marker("graph") or names & LIVE_FIXTURES or LIVE_NAMES & module:
            item.add_marker("real_time")


@pytest.fixture
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture
def sim_port() -> int:
    """A UDP port for a simulated CAN bus that nobody uses."""
    from reconvla_ros.cli.network import free_udp_port

    return free_udp_port()


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A ROS domain that nobody uses, set for this test and the processes it starts."""
    from reconvla_ros.cli.network import free_domain
    from reconvla_ros.cli.places import middleware_environment

    number = free_domain()
    monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
    for name, value in middleware_environment().items():
        monkeypatch.setenv(name, value)
    yield number
