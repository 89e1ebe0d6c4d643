"""The simulated arm's end of a CAN bus: python-can, with the cost of 3040 frames a second taken down.

On ``udp_multicast`` every socket hears every frame, our own included, and python-can packs each frame anew. So there
the kernel drops the arm's own ids before they wake us (a socket filter), and the frames of a cycle go out as ready-made
datagrams (`Datagrams`). Other interfaces use plain ``can.Bus``; both ways carry the same frames.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import can

from reconvla_ros.arm.socket_filter import drop_ids
from reconvla_ros.errors import BusError, ConfigError, choices
from reconvla_ros.sim.datagrams import Datagrams
from reconvla_ros.sim.frames import FAST_IDS, FEEDBACK_IDS, SLOW_IDS

INTERFACES = ("udp_multicast", "socketcan", "virtual")
DEFAULT_GROUP = "239.74.163.2"  # python-can's own IPv4 group
DEFAULT_PORT = 43113  # python-can's own port; groups do not keep two arms apart, ports do
LISTEN = 0.25  # [s] an arm that is alive sends hundreds of frames in this time


@dataclass(frozen=True)
class BusConfig:
    """Which CAN bus: a python-can interface, its channel (group, netdev or name) and the port for udp_multicast."""

    interface: str = "udp_multicast"
    channel: str = DEFAULT_GROUP
    port: int = DEFAULT_PORT

    def __post_init__(self) -> None:
        if self.interface not in INTERFACES:
            raise ConfigError(f"CAN interface: {choices(self.interface, INTERFACES)}")
        if not 1 <= self.port <= 65535:
            raise ConfigError(f"CAN port: must be in 1..65535, got {self.port}")

    @property
    def name(self) -> str:
        """A name that is the same for everyone on this bus; groups are left out because they do not isolate."""
        if self.interface == "udp_multicast":
            return f"udp_multicast:{self.port}"
        return f"{self.interface}:{self.channel}"

    def open(self) -> can.BusABC:
        """The python-can bus.

        Raises:
            BusError: it cannot be opened.
        """
        extra = {"port": self.port, "fd": False} if self.interface == "udp_multicast" else {}
        try:
            return can.Bus(interface=self.interface, channel=self.channel, **extra)
        except (can.CanError, OSError, ValueError) as error:
            hint = ""
            if self.interface == "udp_multicast":
                hint = " (no multicast route? ip link set lo multicast on; ip route add 224.0.0.0/4 dev lo)"
            raise BusError(f"CAN bus {self.name} cannot be opened: {error}{hint}") from error


class ArmBus:
    """Sends feedback, receives everyone else's frames; refuses a bus on which an arm already talks.

    Raises:
        BusError: the bus cannot be opened, or another arm sends feedback on it.
    """

    def __init__(self, config: BusConfig):
        self.config = config
        self._bus = config.open()
        self._fast: socket.socket | None = None
        try:
            self._refuse_second_arm()
        except BusError:
            self._bus.shutdown()
            raise
        self._cycles: dict[tuple[int, ...], Datagrams] = {}
        if config.interface == "udp_multicast" and ":" not in config.channel:  # an IPv6 group goes the plain way
            self._fast = socket.socket(fileno=os.dup(self._bus.fileno()))
            for ids in (FAST_IDS, SLOW_IDS):
                self._cycles[ids] = Datagrams(self._fast, config.channel, config.port, ids)
            drop_ids(self._bus, 0x251, 0x2AF)  # only arms send those

    def _refuse_second_arm(self) -> None:
        until = time.monotonic() + LISTEN
        while (left := until - time.monotonic()) > 0:
            message = self._bus.recv(left)
            if message is not None and message.arbitration_id in FEEDBACK_IDS:
                raise BusError(
                    f"another arm already sends feedback (0x{message.arbitration_id:X}) on CAN bus "
                    f"{self.config.name}; stop it or choose another port"
                )

    def send_cycle(self, can_ids: tuple[int, ...], block: bytes) -> None:
        """Send the frames of one cycle: `can_ids` is `FAST_IDS` or `SLOW_IDS`, `block` eight bytes for each in turn.

        Raises:
            BusError: the bus refuses.
        """
        cycle = self._cycles.get(can_ids)
        if cycle is None:
            self.send((can_id, block[8 * i : 8 * i + 8]) for i, can_id in enumerate(can_ids))
            return
        try:
            cycle.send(block)
        except OSError as error:
            raise BusError(f"CAN bus {self.config.name}: sending failed: {error}") from error

    def send(self, frames: Iterable[tuple[int, bytes]]) -> None:
        """Send (id, eight bytes) in order.

        Raises:
            BusError: the bus refuses.
        """
        try:
            for can_id, data in frames:
                self._bus.send(can.Message(arbitration_id=can_id, data=data, is_extended_id=False))
        except (can.CanError, OSError) as error:
            raise BusError(f"CAN bus {self.config.name}: sending failed: {error}") from error

    def received(self) -> Iterator[tuple[int, bytes]]:
        """Everything that others sent since the last call, as (id, data); does not wait.

        Raises:
            BusError: the bus is gone.
        """
        while True:
            try:
                message = self._bus.recv(0)
            except can.CanError as error:
                raise BusError(f"CAN bus {self.config.name}: receiving failed: {error}") from error
            if message is None:
                return
            if message.arbitration_id not in FEEDBACK_IDS and not message.is_error_frame:
                yield message.arbitration_id, bytes(message.data)

    def close(self) -> None:
        """Leave the bus; safe to call twice."""
        if self._fast is not None:
            self._fast.close()
            self._fast = None
        self._bus.shutdown()
