"""The CAN bus before and around the SDK, on python-can: is it there, does someone else use it.

Addresses: socketcan `can0` on steel; `udp_multicast` with a port between processes, `virtual` within one process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import can

from reconvla_ros.arm.settings import BUS_TYPES
from reconvla_ros.errors import BusError, choices

BITRATE = 1_000_000  # [bit/s], fixed by the arm
# Ids that only a host (or a leader arm) sends: mode, end pose, joint targets, gripper, MIT, enable, e-stop.
COMMAND_IDS = frozenset({*range(0x150, 0x160), 0x471})
STATUS_ID = 0x2A1
_LISTEN = 0.3  # [s] before anything is sent: about 900 frames of a live arm, and any host that streams
_NET = Path("/sys/class/net")
_ARPHRD_CAN = "280"  # linux/if_arp.h
_IFF_UP = 0x1
_defaults_lock = threading.Lock()


@dataclass(frozen=True)
class BusAddress:
    """One CAN bus. `port` tells udp_multicast buses apart (groups do not isolate); 0 for the other types."""

    bus_type: str
    channel: str
    port: int = 0

    def __post_init__(self) -> None:
        if self.bus_type not in BUS_TYPES:
            raise BusError(f"bus_type {choices(self.bus_type, BUS_TYPES)}")
        if self.bus_type == "udp_multicast" and not 1024 <= self.port <= 65535:
            raise BusError(f"udp_multicast port: must be in 1024..65535, got {self.port}")

    def __str__(self) -> str:
        return f"{self.channel}:{self.port}" if self.port else self.channel

    @property
    def key(self) -> str:
        """A name fit for a file and for the SDK's table of instances."""
        return f"{self.bus_type}-{self.channel}-{self.port}".replace("/", "_")


@contextlib.contextmanager
def bus_defaults(address: BusAddress) -> Iterator[None]:
    """Within this block every bus that is opened gets the port of `address`.

    The SDK has no way to pass a port; python-can's process-wide `rc` is the documented one. It is put back after.
    """
    with _defaults_lock:
        before = dict(can.rc)
        if address.port:
            can.rc["port"] = address.port
        try:
            yield
        finally:
            can.rc.clear()
            can.rc.update(before)


def open_bus(address: BusAddress, **options: Any) -> can.BusABC:
    """A python-can bus at `address`.

    Raises:
        BusError: it cannot be opened, with the remedy.
    """
    check_interface(address)
    try:
        with bus_defaults(address):
            return can.Bus(interface=address.bus_type, channel=address.channel, **options)
    except (can.CanError, OSError, ValueError) as error:
        hint = ""
        if address.bus_type == "udp_multicast":
            hint = "; multicast on lo needs: ip link set lo multicast on; ip route add 224.0.0.0/4 dev lo"
        raise BusError(f"CAN bus {address} ({address.bus_type}) cannot be opened: {error}{hint}") from error


def can_interfaces() -> dict[str, bool]:
    """SocketCAN interfaces of this machine and whether each is up."""
    found = {}
    for path in sorted(_NET.glob("*")):
        with contextlib.suppress(OSError, ValueError):
            if (path / "type").read_text().strip() == _ARPHRD_CAN:
                found[path.name] = bool(int((path / "flags").read_text(), 16) & _IFF_UP)
    return found


def check_interface(address: BusAddress) -> None:
    """Refuse a SocketCAN interface that is missing or down.

    Raises:
        BusError: names it, those there are, and the command that brings it up.
    """
    if address.bus_type != "socketcan":
        return
    there = can_interfaces()
    if there.get(address.channel):
        return
    what = "is down" if address.channel in there else "does not exist"
    names = ", ".join(f"{name} ({'up' if up else 'down'})" for name, up in there.items()) or "none"
    raise BusError(
        f"CAN interface {address.channel} {what}; interfaces here: {names}. Plug the adapter in, then: "
        f"sudo ip link set {address.channel} up type can bitrate {BITRATE}"
    )


class BusLock:
    """At most one driver per bus on this machine: a lock on a file that dies with its process.

    Args:
        address: the bus.
        folder: where the file lies; default the user's runtime folder, else the temporary one.
    """

    def __init__(self, address: BusAddress, folder: Path | None = None) -> None:
        base = folder or Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
        self._address = address
        self._path = base / f"reconvla_ros-{os.getuid()}-{address.key}.lock"
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            BusError: names the process that holds it.
        """
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(handle, 32).decode(errors="replace").strip() or "unknown"
            os.close(handle)
            raise BusError(
                f"CAN bus {self._address} is already driven by process {holder} on this machine; stop it first"
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        self._file = handle

    def release(self) -> None:
        """Give it back; safe to call twice."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def listen(address: BusAddress, duration: float) -> dict[int, int]:
    """Hear `duration` [s] without sending: id -> count of frames.

    Raises:
        BusError: the bus cannot be opened.
    """
    heard: dict[int, int] = {}
    bus = open_bus(address)
    try:
        end = time.monotonic() + duration
        while (left := end - time.monotonic()) > 0.0:
            message = bus.recv(left)
            if message is not None:
                heard[message.arbitration_id] = heard.get(message.arbitration_id, 0) + 1
    finally:
        bus.shutdown()
    return heard


def refuse_foreign_commands(address: BusAddress, heard: dict[int, int]) -> None:
    """Refuse a bus on which someone else commands.

    Raises:
        BusError: names the ids; says "leader" when there is no status of a follower beside them.
    """
    foreign = {i: n for i, n in heard.items() if i in COMMAND_IDS}
    if not foreign:
        return
    listing = ", ".join(f"{i:#05x} x{n}" for i, n in sorted(foreign.items()))
    who = "another host or a leader arm" if STATUS_ID in heard else "a leader arm (it sends no 0x2A1 status)"
    raise BusError(f"CAN bus {address}: foreign command frames ({listing}) from {who}; nothing was sent. Stop it first")


def await_arm(address: BusAddress, wait: float, stop: Callable[[], bool]) -> None:
    """Hear the arm, and nobody who commands it; sends nothing. `stop` ends the wait of up to `wait` [s].

    Raises:
        BusError: nothing is heard of an arm in time, somebody commands it, or the wait was ended.
    """
    end = time.monotonic() + wait
    while True:
        heard = listen(address, _LISTEN)
        refuse_foreign_commands(address, heard)
        if STATUS_ID in heard:
            return
        if stop():
            raise BusError(f"CAN bus {address}: told to end while waiting for the arm")
        if time.monotonic() >= end:
            break
    seen = ", ".join(f"{i:#05x}" for i in sorted(heard)) or "nothing"
    raise BusError(
        f"CAN bus {address}: no arm (0x2A1 not heard in {max(wait, _LISTEN):g} s, heard: {seen}); "
        "check power, cable and, in sim, that the simulator runs on the same port"
    )
