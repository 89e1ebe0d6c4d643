"""Real graphs: every node a process, DDS and CAN between them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import Graph

from reconvla_ros.cli.network import free_domain, free_udp_port


@pytest.fixture
def graph(tmp_path: Path) -> Iterator[Graph]:
    """A graph of its own, not started yet."""
    made = Graph(tmp_path, free_domain(), free_udp_port())
    before = {k: os.environ.get(k) for k in ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE")}
    os.environ["ROS_DOMAIN_ID"], os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = str(made.domain), "LOCALHOST"
    yield made
    made.close()
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
