"""The runs of the fault bench: a graph that is kept up, a moving arm, a fault, the judge, the recovery; again and again."""

from __future__ import annotations

import os
import random
import sys
import time
from dataclasses import replace
from pathlib import Path

from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.bench.faults_judge import STILL, Instants, Row, aftermath, by_host, judge
from reconvla_ros.cli import places
from reconvla_ros.cli.client import wait_until
from reconvla_ros.cli.fault_list import Fault, faults
from reconvla_ros.cli.fault_rig import FaultRig
from reconvla_ros.cli.network import free_domain, free_udp_port
from reconvla_ros.config import load, node_parameters
from reconvla_ros.errors import ReconVlaError, SetupError, choices
from reconvla_ros.policy.settings import PolicyConfig

_START_UP = 40.0  # [s] of the graph, for the estimate
_PHASE = 0.25  # [s] a fault comes at any time of the chunk in force
_ANSWER = 1.0  # [s] for the arm to say again, after a fault, that it has its power
_ATTEMPTS = 3  # at a run whose arm does not get to move


def chosen(only: list[str]) -> list[Fault]:
    """The faults named, or all.

    Raises:
        SetupError: there is none of that name.
    """
    config = places.share() / "config"
    known = faults(load(DriverConfig, config / "piper.yaml", "driver"), _policy(config / "policy.yaml"))
    names = [fault.name for fault in known]
    for name in only:
        if name not in names:
            raise SetupError(f"--only {choices(name, names)}")
    return [fault for fault in known if not only or fault.name in only]


def _policy(path: Path) -> PolicyConfig:
    values = node_parameters(path, "policy")
    return PolicyConfig(max_image_age=values.get("max_image_age", PolicyConfig.max_image_age))


def run_all(wanted: list[Fault], runs: int, realtime: str = "auto") -> list[Row]:
    """Every fault so many times, with progress on stderr; one graph in a domain and on a bus of its own.

    `realtime` is the launch argument. Where the driver may have a real-time turn, busy cores do not trouble it.
    """
    seconds = _START_UP + runs * sum(fault.costs for fault in wanted)
    _say(f"{len(wanted)} faults, {runs} runs each: about {seconds / 60.0:.0f} minutes")
    os.environ["ROS_DOMAIN_ID"] = str(free_domain())
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    rows = []
    rig = FaultRig(places.state() / "faults", free_udp_port(), realtime)
    try:
        for number, fault in enumerate(wanted, 1):
            rows.append(_row(rig, fault, runs, f"[{number}/{len(wanted)}]"))
    finally:
        rig.close()
    return rows


def _row(rig: FaultRig, fault: Fault, runs: int, place: str) -> Row:
    began = time.monotonic()
    row = Row(fault.name, fault.rules, fault.note)
    rig.start(policy=fault.policy, jumping=fault.jumping)
    phase = random.Random(fault.name)
    for number in range(runs):
        _begin(rig, fault, row)
        time.sleep(phase.uniform(0.0, _PHASE))
        rig.log.forget()
        when = fault.strike(rig, number)
        _one(rig, fault, row, when)
        newest = row.outcomes[-1]
        _say(f"{place} {fault.name} {number + 1}/{runs}: {1e3 * newest.last:.1f} ms, step {newest.step:.5f} rad"
             + (f", {newest.old} OLD COMMANDS" if newest.old else "") + "".join(f", {w}" for w in newest.drops),
             last=number + 1 == runs)  # fmt: skip
    verdict = "; ".join(row.broken()) or "ok"
    _say(f"{place} {fault.name}: {verdict} ({time.monotonic() - began:.0f} s)")
    return row


def _begin(rig: FaultRig, fault: Fault, row: Row) -> None:
    """Get the arm to move; a graph that does not is built anew."""
    for attempt in range(_ATTEMPTS):
        try:
            rig.begin(policy=fault.policy)
            return
        except ReconVlaError as error:
            if attempt + 1 == _ATTEMPTS:
                raise
            _rebuild(rig, fault, row, str(error))


def _rebuild(rig: FaultRig, fault: Fault, row: Row, why: str) -> None:
    row.restarts += 1
    _say(f"{fault.name}: not recovered by services ({why}); the graph is started anew")
    rig.rebuild(policy=fault.policy, jumping=fault.jumping)


def _one(rig: FaultRig, fault: Fault, row: Row, when: Instants) -> None:
    """Watch and judge; then repair and recover, while forbidden chunks go on to come: none may be executed then either."""
    time.sleep(fault.watch)
    wait_until(
        lambda: not rig.log.changed(2.0 * STILL), max(0.0, (fault.rules.deadline or 0.0) + _ANSWER - fault.watch)
    )
    until = time.time()
    recording = rig.log.recording(when.since, until)
    if fault.blinds:
        recording = by_host(recording)
    rig.cancel()
    rig.repair()
    if not wait_until(rig.log.powered, _ANSWER):
        recording.drops.append((until, "a motor has no power after the fault"))
    outcome = judge(recording, when, fault.rules)
    why = rig.recover(policy=fault.policy, jumping=fault.jumping)
    late = aftermath(rig.log.recording(until, time.time()))
    row.outcomes.append(replace(outcome, old=outcome.old + late.old, drops=outcome.drops + late.drops))
    if why:
        _rebuild(rig, fault, row, why)


def _say(text: str, *, last: bool = True) -> None:
    """One line; on a terminal those that are not `last` are written over."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="\n" if last else "", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)
