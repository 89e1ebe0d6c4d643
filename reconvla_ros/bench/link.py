"""Two computers and the cable between them, on one machine: two network namespaces and a veth pair (iproute2; needs root).

The processes of one side hear nothing of the other but what goes through the pair, where it can be counted, narrowed and
cut. The policy's side gets a /dev/shm of its own, so that shared memory is no way across.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from types import TracebackType

from reconvla_ros.errors import SetupError

SIDES = {"robot": "10.219.0.1", "policy": "10.219.0.2"}
_PATIENCE = 5.0  # [s]
_CLONE_NEWNET = 0x40000000  # setns(2)
_LIBC = ctypes.CDLL(None, use_errno=True)


def why_not() -> str:
    """Why there can be no such pair here; empty when there can."""
    if shutil.which("ip") is None:
        return "there is no `ip` (apt-get install iproute2)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"rv{os.getpid()}t"
    made = _ip("netns", "add", name)
    if made.returncode == 0:
        made = _ip("-n", name, "link", "add", "rv0", "type", "veth", "peer", "name", "rv1")
        _ip("netns", "del", name)
    return f"not permitted: {made.stderr.strip()}" if made.returncode else ""


def _ip(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *words], capture_output=True, text=True, timeout=20)


def _must(*words: str) -> str:
    done = _ip(*words)
    if done.returncode:
        raise SetupError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


class Link:
    """The pair, as a context manager; leaving it takes everything away."""

    def __init__(self) -> None:
        self.names = {side: f"rv{os.getpid()}{side[0]}" for side in SIDES}
        self._home = -1

    def __enter__(self) -> Link:
        """Make the pair.

        Raises:
            SetupError: not permitted, or no `ip`.
        """
        if reason := why_not():
            raise SetupError(reason)
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _make(self) -> None:
        robot, policy = self.names["robot"], self.names["policy"]
        for name in (robot, policy):
            _must("netns", "add", name)
        _must("-n", robot, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", policy)
        for side, name in self.names.items():
            _must("-n", name, "address", "add", f"{SIDES[side]}/24", "dev", "wire")
            _must("-n", name, "link", "set", "wire", "multicast", "off", "up")  # as many a switch or a VPN has it
            _must("-n", name, "link", "set", "lo", "multicast", "on", "up")
            _must("-n", name, "route", "add", "224.0.0.0/4", "dev", "lo")  # the simulated CAN bus
        # DDS takes note of the interfaces that run when a process starts, and of none that come later.
        deadline = time.monotonic() + _PATIENCE
        while not all(
            "state UP" in _must("-n", name, "-o", "link", "show", "dev", "wire") for name in self.names.values()
        ):
            if time.monotonic() > deadline:
                raise SetupError(f"the wire is not up after {_PATIENCE:g} s")
            time.sleep(0.02)

    def close(self) -> None:
        """Take the namespaces away; safe to call twice."""
        for name in self.names.values():
            _ip("netns", "del", name)
        if self._home >= 0:
            os.close(self._home)
            self._home = -1

    def command(self, side: str, words: list[str]) -> list[str]:
        """The command line that runs `words` on one side."""
        own = 'mount -t tmpfs tmpfs /dev/shm && exec "$@"' if side == "policy" else 'exec "$@"'
        return ["ip", "netns", "exec", self.names[side], "sh", "-c", own, "sh", *words]

    def environment(self, side: str) -> dict[str, str]:
        """What ROS needs to find the other side, and itself, without multicast.

        Not LOCALHOST, which allows peers too: rmw_fastrtps then adds a UDP transport of its own to that of our profile, and
        everything crosses the wire twice (seen with rmw_fastrtps 8.4, Fast DDS 2.14).
        """
        other = next(address for name, address in SIDES.items() if name != side)
        return {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET", "ROS_STATIC_PEERS": f"127.0.0.1;{other}"}

    @contextlib.contextmanager
    def inside(self, side: str) -> Iterator[None]:
        """This thread, and threads and sockets that it makes, are on one side for the length of a block."""
        there = os.open(f"/run/netns/{self.names[side]}", os.O_RDONLY)
        try:
            self._enter(there)
            yield
        finally:
            self._enter(self._home)
            os.close(there)

    @staticmethod
    def _enter(descriptor: int) -> None:
        if _LIBC.setns(descriptor, _CLONE_NEWNET):
            raise SetupError(f"setns: {os.strerror(ctypes.get_errno())}")

    def cut(self) -> None:
        """Pull the plug on the robot's side."""
        _must("-n", self.names["robot"], "link", "set", "wire", "down")

    def mend(self) -> None:
        """Plug it in again."""
        _must("-n", self.names["robot"], "link", "set", "wire", "up")

    def narrow(self, mbit: float) -> None:
        """Let no more than so many [Mbit/s] through from robot to policy; 0 = as fast as it goes.

        Raises:
            SetupError: the kernel has no token bucket (tc qdisc tbf).
        """
        qdisc = ["netns", "exec", self.names["robot"], "tc", "qdisc"]
        _ip(*qdisc, "del", "dev", "wire", "root")
        if mbit:
            # 20 ms of queue, as a small switch has; a burst holds one datagram of DDS (64 kB).
            _must(
                *qdisc,
                "add",
                "dev",
                "wire",
                "root",
                "tbf",
                "rate",
                f"{mbit:g}mbit",
                "burst",
                "128kb",
                "latency",
                "20ms",
            )

    def sent(self) -> int:
        """Bytes that went from robot to policy so far."""
        words = _must("-n", self.names["robot"], "-s", "-o", "link", "show", "dev", "wire").split()
        return int(words[words.index("TX:") + _columns(words, "TX:")])


def _columns(words: list[str], mark: str) -> int:
    """How many words after `mark` the first figure stands: a heading of names comes first."""
    after = words[words.index(mark) + 1 :]
    return 1 + next(k for k, word in enumerate(after) if word.isdigit())
