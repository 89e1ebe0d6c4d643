"""Faults from another process: a UNIX datagram socket beside the simulator's shared state. Never over CAN.

A request is the JSON of all faults that shall hold (`Faults.to_json`; "{}" = healthy); the answer is a JSON object with
`monotonic_ns`, when they came into effect (CLOCK_MONOTONIC, the same for every process of the machine), or `error`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

from reconvla_ros.errors import ArmError, ConfigError
from reconvla_ros.sim.faults import Faults, from_json
from reconvla_ros.sim.shared_state import path_for

_LONGEST = 4096  # [bytes]


def channel_for(bus: str) -> Path:
    """The socket of the simulator on CAN bus `bus` (`BusConfig.name`, for example "udp_multicast:43113")."""
    return Path(f"{path_for(bus)}.faults")


class FaultChannel:
    """The simulator's end; whoever makes it owns the bus, so what lies at the path is a dead one's."""

    def __init__(self, bus: str) -> None:
        self._path = channel_for(bus)
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(str(self._path))
        self._path.chmod(0o600)

    def serve(self, put: Callable[[Faults], int]) -> None:
        """Answer what has come in; `put` takes the faults and says when they came into effect [ns]. Does not wait."""
        while True:
            try:
                raw, sender = self._socket.recvfrom(_LONGEST)
            except BlockingIOError:
                return
            try:
                answer: dict[str, object] = {"monotonic_ns": put(from_json(raw.decode(errors="replace")))}
            except ConfigError as error:
                answer = {"error": str(error)}
            if sender:
                with contextlib.suppress(OSError):  # the asker is gone
                    self._socket.sendto(json.dumps(answer).encode(), sender)

    def close(self) -> None:
        """Remove the socket; safe to call twice."""
        if self._socket.fileno() >= 0:
            self._socket.close()
            self._path.unlink(missing_ok=True)


def inject(bus: str, faults: Faults, timeout: float = 2.0) -> int:
    """Give the simulator on `bus` these faults and take every other back; when they came into effect [ns, monotonic].

    Raises:
        ArmError: no simulator is there, or it does not answer within `timeout` [s].
        ConfigError: it refuses them.
    """
    path = channel_for(bus)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asker:
        asker.settimeout(timeout)
        asker.bind("")  # Linux: an abstract name of its own
        try:
            asker.sendto(faults.to_json().encode(), os.fspath(path))
            answer = json.loads(asker.recv(_LONGEST))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise ArmError(f"no simulated arm takes faults at {path}: {error}") from error
        except TimeoutError:
            raise ArmError(f"the simulated arm at {path} did not answer within {timeout:g} s") from None
    if "error" in answer:
        raise ConfigError(answer["error"])
    return int(answer["monotonic_ns"])
