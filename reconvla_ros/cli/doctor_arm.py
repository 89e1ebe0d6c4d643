"""`reconvla doctor --arm`: the preflight of an arm, without a driver. Only listens and asks; nothing moves, no motor gets
power, nothing is written. Ends in GO (status 0) or NO-GO (status 1).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from reconvla_ros.arm import bus as can_bus
from reconvla_ros.arm.gate import PreflightGate
from reconvla_ros.arm.piper import PiperArm
from reconvla_ros.arm.preflight import Check, Level, failures
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.cli import arguments, places
from reconvla_ros.config import load
from reconvla_ros.errors import ArmError, ConfigError, choices

_LISTEN = 0.5  # [s]
_FEEDBACK_IDS = frozenset({*range(0x2A1, 0x2A9), *range(0x251, 0x257), *range(0x261, 0x267)})
_SHIFTED = frozenset({*range(0x2B1, 0x2B9), *range(0x2C1, 0x2C9)})
_NOT_READABLE = "mounting and payload cannot be read from the arm; see config/piper.yaml and AgileX's tool"


def inspect(config: DriverConfig) -> tuple[Check, ...]:
    """Listen, then ask. What makes asking impossible (no bus, no arm, someone else commands) is a failed check, too."""
    address = can_bus.BusAddress(*config.bus)
    try:
        heard = can_bus.listen(address, _LISTEN)
    except ArmError as error:
        return (Check("bus", Level.FAIL, str(error), "plug the adapter in, bring the interface up at 1 Mbit/s"),)
    first = (judge_bus(address, heard), judge_sender(heard))
    if failures(first):
        return first
    arm = PiperArm(address)
    try:
        arm.open()
        return (*first, *PreflightGate(arm, config).checks)
    except ArmError as error:
        return (*first, Check("connection", Level.FAIL, str(error), "stop whoever uses the bus; arm off and on"))
    finally:
        arm.close()


def judge_bus(address: can_bus.BusAddress, heard: dict[int, int]) -> Check:
    """Is an arm heard, and does the adapter count errors?"""
    frames = sum(n for i, n in heard.items() if i in _FEEDBACK_IDS)
    words = f"{address}: {frames / _LISTEN:.0f} feedback frames a second"
    if any(i in _SHIFTED for i in heard):
        return Check("bus", Level.FAIL, f"{address}: feedback ids are shifted (0x2Bx, 0x2Cx), the SDK does not decode them",
                     "set the offset of 0x470 back with AgileX's tool, then switch the arm off and on")  # fmt: skip
    if not heard:
        return Check("bus", Level.FAIL, f"{address}: nothing is heard", "power, wiring, bit rate 1 Mbit/s; in "
                     "simulation the port of the simulator")  # fmt: skip
    errors = _counters(address)
    if any(errors.values()):
        found = ", ".join(f"{name} {value}" for name, value in errors.items())
        return Check(
            "bus", Level.WARN, f"{words}; {found}", "check wiring and termination; the counters run since boot"
        )
    return Check("bus", Level.OK, words + ("" if not errors else ", no error counted"))


def judge_sender(heard: dict[int, int]) -> Check:
    """Leader or follower, and does anybody command it?"""
    foreign = ", ".join(f"{i:#05x}" for i in sorted(heard) if i in can_bus.COMMAND_IDS)
    if can_bus.STATUS_ID in heard and not foreign:
        return Check("sender", Level.OK, "a follower, and nobody commands it")
    if can_bus.STATUS_ID in heard:
        return Check("sender", Level.FAIL, f"command frames of another host or of a leader arm ({foreign})",
                     "stop the other host; a leader arm needs a bus of its own")  # fmt: skip
    if foreign:
        return Check("sender", Level.FAIL, f"leader mode: commands ({foreign}) and no status 0x2A1; it obeys nobody",
                     "set it back to follower (0x470 FC, AgileX's tool), hold it up, switch it off and on")  # fmt: skip
    return Check("sender", Level.FAIL, "no status 0x2A1: no arm that follows", "power, wiring; the arm's own mode")


def _counters(address: can_bus.BusAddress) -> dict[str, int]:
    """Errors the adapter has counted; empty where there is no adapter."""
    if address.bus_type != "socketcan":
        return {}
    folder = Path("/sys/class/net") / address.channel / "statistics"
    names = ("rx_errors", "tx_errors", "rx_dropped", "tx_dropped")
    return {name: int((folder / name).read_text()) for name in names if (folder / name).exists()}


def report(checks: tuple[Check, ...]) -> str:
    """Every check, and the word at the end."""
    lines = []
    for check in checks:
        lines.append(f"{check.level.value:<5} {check.name:<16} {check.finding}")
        if check.remedy:
            lines.append(f"      {'':<16} remedy: {check.remedy}")
    lines.append(f"note  {'':<16} {_NOT_READABLE}")
    bad = [check.name for check in failures(checks)]
    warned = sum(check.level is Level.WARN for check in checks)
    hint = f" ({warned} to look at)" if warned else ""
    lines.append(f"\nNO-GO: {', '.join(bad)}" if bad else f"\nGO{hint}: the driver may power this arm")
    return "\n".join(lines)


def main(words: list[str]) -> int:
    """0 = GO, 1 = NO-GO."""
    parser = argparse.ArgumentParser(
        "reconvla doctor --arm",
        description="Look at an arm without moving it: listens and asks, then says GO or NO-GO. Stop the driver first.",
    )
    parser.add_argument("launch", nargs="*", metavar="can_port:=can0", help="CAN interface of the real arm")
    parser.add_argument("--sim-port", type=int, help="UDP port of a simulated arm instead")
    parser.add_argument("--config", type=Path, help="parameters of the driver; default config/piper.yaml")
    options = parser.parse_args(words)
    given = arguments.split(options.launch)
    if wrong := [name for name in given if name != "can_port"]:
        raise ConfigError(f"doctor --arm takes {choices(wrong[0], ['can_port'])}")
    config = load(DriverConfig, options.config or places.share() / "config" / "piper.yaml", "driver")
    if options.sim_port is not None:
        config = replace(config, can_interface="udp_multicast", sim_port=options.sim_port)
    else:
        config = replace(config, can_interface="socketcan", can_port=given.get("can_port", config.can_port))
    checks = inspect(config)
    print(report(checks))
    return 1 if failures(checks) else 0
