"""A DDS domain and a UDP port that nobody on this machine uses."""

from __future__ import annotations

import os
import random
import socket

from reconvla_ros.errors import SetupError

# RTPS maps a domain to UDP ports: 7400 + 250 * domain is its multicast discovery port (DDSI-RTPS 2.2, 9.6.1.1).
_BASE, _GAIN = 7400, 250
_DOMAINS = range(1, 102)  # up to 101 they stay below Linux's ephemeral ports


def free_domain() -> int:
    """A domain on whose ports nobody listens here.

    Raises:
        SetupError: all of them are in use.
    """
    candidates = list(_DOMAINS)
    random.Random(os.getpid()).shuffle(candidates)
    for domain in candidates:
        first = _BASE + _GAIN * domain
        if all(_is_free(first + offset) for offset in (0, 10, 12, 14)):
            return domain
    raise SetupError("every ROS domain from 1 to 101 is in use on this machine")


def free_udp_port(low: int = 43200, high: int = 44800) -> int:
    """A UDP port for a simulated CAN bus.

    Raises:
        SetupError: all of them are in use.
    """
    candidates = list(range(low, high))
    random.Random(os.getpid()).shuffle(candidates)
    for port in candidates:
        if _is_free(port):
            return port
    raise SetupError(f"every UDP port from {low} to {high} is in use on this machine")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
