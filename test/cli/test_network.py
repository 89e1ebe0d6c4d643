"""Ports and domains that nobody uses."""

from __future__ import annotations

import socket

import pytest

from reconvla_ros.cli import network
from reconvla_ros.errors import SetupError


def test_a_port_in_use_is_not_given() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 0))
        port = taken.getsockname()[1]
        with pytest.raises(SetupError, match=f"every UDP port from {port} to {port + 1}"):
            network.free_udp_port(port, port + 1)
    assert network.free_udp_port(port, port + 1) == port


def test_a_domain_whose_port_is_bound_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_DOMAINS", (57,))
    assert network.free_domain() == 57
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 7400 + 250 * 57 + 10))
        with pytest.raises(SetupError, match="every ROS domain"):
            network.free_domain()
