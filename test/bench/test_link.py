"""Two namespaces and a wire."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from reconvla_ros.bench import link as module
from reconvla_ros.bench.link import SIDES, Link, why_not
from reconvla_ros.errors import SetupError

permitted = pytest.mark.skipif(bool(why_not()), reason=f"two network namespaces: {why_not()}")


def test_why_not_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    assert "iproute2" in why_not()
    monkeypatch.undo()
    monkeypatch.setattr(module.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(module.shutil, "which", lambda name: "/sbin/ip")
    assert why_not() == "network namespaces need root"
    with pytest.raises(SetupError, match="need root"), Link():
        pass


@permitted
def test_what_goes_through_the_wire_is_counted_until_it_is_cut_and_nothing_is_left_behind() -> None:
    home = Path("/proc/thread-self/ns/net").readlink()
    with Link() as link:
        names = list(link.names.values())
        with link.inside("policy"):
            assert Path("/proc/thread-self/ns/net").readlink() != home
            ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            ear.bind((SIDES["policy"], 45000))
            ear.settimeout(2.0)
        with link.inside("robot"):
            mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        assert Path("/proc/thread-self/ns/net").readlink() == home
        with ear, mouth:
            before = link.sent()
            mouth.sendto(bytes(1000), (SIDES["policy"], 45000))
            assert len(ear.recv(2000)) == 1000
            assert 1000 < link.sent() - before < 2000
            link.narrow(1.0)
            mouth.sendto(bytes(500), (SIDES["policy"], 45000))
            assert len(ear.recv(2000)) == 500
            link.narrow(0.0)
            link.cut()
            with pytest.raises(OSError):
                mouth.sendto(bytes(1000), (SIDES["policy"], 45000))
                ear.recv(2000)
            link.mend()
            mouth.sendto(bytes(10), (SIDES["policy"], 45000))
            assert len(ear.recv(2000)) == 10
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
    assert not any(name in listed for name in names)


@permitted
def test_a_command_runs_on_its_side_with_shared_memory_of_its_own() -> None:
    with Link() as link:
        shown = {
            side: subprocess.run(
                link.command(side, ["sh", "-c", "ip -o -4 address show dev wire; ls /dev/shm | wc -l"]),
                capture_output=True, text=True,
            ).stdout
            for side in SIDES
        }  # fmt: skip
    for side, address in SIDES.items():
        assert address in shown[side]
    assert shown["policy"].split()[-1] == "0"
