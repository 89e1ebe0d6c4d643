from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import can
import pytest

from reconvla_ros.arm.bus import BusAddress, BusLock, bus_defaults, check_interface, refuse_foreign_commands
from reconvla_ros.errors import BusError

SIM = BusAddress("udp_multicast", "239.74.163.2", 43999)


def test_addresses_are_checked() -> None:
    with pytest.raises(BusError, match="did you mean 'socketcan'"):
        BusAddress("socketcn", "can0")
    with pytest.raises(BusError, match=r"port: must be in 1024..65535, got 0"):
        BusAddress("udp_multicast", "239.74.163.2")
    assert str(SIM) == "239.74.163.2:43999" and str(BusAddress("socketcan", "can0")) == "can0"


def test_the_port_is_set_for_the_block_only() -> None:
    before = dict(can.rc)
    with bus_defaults(SIM):
        assert can.rc["port"] == 43999
    assert dict(can.rc) == before


def test_one_lock_per_bus(tmp_path: Path) -> None:
    first, second = BusLock(SIM, tmp_path), BusLock(SIM, tmp_path)
    other = BusLock(BusAddress("udp_multicast", "239.74.163.2", 44000), tmp_path)
    first.acquire()
    other.acquire()
    with pytest.raises(BusError, match=rf"239.74.163.2:43999 is already driven by process {os.getpid()}"):
        second.acquire()
    first.release()
    first.release()
    second.acquire()


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from reconvla_ros.arm.bus import *\n"
        f"BusLock(BusAddress('udp_multicast', '239.74.163.2', 43999), pathlib.Path({str(tmp_path)!r})).acquire()\n"
        "import os; os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[2], check=False)
    assert list(tmp_path.iterdir())
    BusLock(SIM, tmp_path).acquire()


def test_a_missing_interface_is_named_with_the_remedy() -> None:
    with pytest.raises(BusError, match=r"CAN interface can77 does not exist; .* bitrate 1000000"):
        check_interface(BusAddress("socketcan", "can77"))
    check_interface(SIM)


def test_feedback_alone_is_fine_and_commands_are_named() -> None:
    refuse_foreign_commands(SIM, {0x2A1: 60, 0x2A5: 60})
    with pytest.raises(BusError, match=r"0x151 x5\) from another host"):
        refuse_foreign_commands(SIM, {0x2A1: 60, 0x151: 5})
    with pytest.raises(BusError, match="leader"):
        refuse_foreign_commands(SIM, {0x155: 60})
