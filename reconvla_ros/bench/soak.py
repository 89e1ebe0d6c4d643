"""`reconvla bench soak`: many commands, sane and insane, against the driver; a judge of its own reads the bus.

What is real and what is injected: `soak_rig`. What is asked: `soak_commands`. What is judged: `judge`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from random import Random
from typing import Any

from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.bench.judge import Bounds
from reconvla_ros.bench.soak_commands import STYLES, Commander
from reconvla_ros.bench.soak_rig import Rig

_READY_SHARE = 0.2  # of the phases begin with a way to the ready position, or the arm would lie in a corner for ever
_REPORT = 2.0  # [s] between two lines of progress


def show(line: str) -> None:
    """A line of progress, over the one before on a terminal."""
    tty = sys.stderr.isatty()
    print(f"\r{line}\x1b[K" if tty else line, end="" if tty else "\n", file=sys.stderr, flush=True)


def soak(
    commands: int,
    seed: int = 0,
    config: DriverConfig | None = None,
    bounds: Bounds | None = None,
    progress: Callable[[str], None] = show,
) -> dict[str, Any]:
    """Give the driver `commands` commands and judge every frame.

    Args:
        commands: at least this many are given.
        seed: of everything random; the same seed is the same run.
        config: of the driver. bounds: what the judge asks for; default, those of `config`.
        progress: takes a line now and then.

    Returns:
        commands, frames, ticks, seconds, violations {kind: count}, examples {kind: [words]}, and what went on:
        seed, moving_ticks, extremes, verdicts, reasons, outcome.
    """
    random, begin = Random(seed), time.monotonic()
    said = begin
    with Rig(config or DriverConfig(arm="sim", can_interface="virtual", dry_run=False), bounds) as rig:
        commander = Commander(rig, seed + 1)
        rig.step()
        rig.enable()
        while commander.sent < commands:
            if random.random() < _READY_SHARE:
                _to_ready(rig)
            style, before = random.choice(STYLES), rig.judge.ticks
            try:
                commander.phase(style, random.randint(20, 400), commands)
            except Exception as error:  # whatever ends a tick would end the driver: that is what is looked for
                rig.judge.note("exception", f"{style.name} since tick {before}: {type(error).__name__}: {error}")
            now = time.monotonic()
            if now - said >= _REPORT:
                said = now
                bad = sum(rig.judge.violations.values())
                rate = commander.sent / (now - begin)
                progress(
                    f"soak: {commander.sent}/{commands} commands, {rate:.0f}/s, {rig.judge.ticks} ticks, {bad} violations"
                )
        for _ in range(200):
            rig.step()
        rig.judge.finish()
        judge, core = rig.judge, rig.core
        return {
            "commands": commander.sent, "frames": judge.frames, "ticks": judge.ticks,
            "seconds": round(time.monotonic() - begin, 1), "violations": dict(judge.violations),
            "examples": judge.examples, "seed": seed, "moving_ticks": rig.moving, "extremes": judge.extremes,
            "verdicts": dict(core.verdicts), "reasons": dict(core.reasons), "outcome": dict(sorted(commander.outcome.items())),
        }  # fmt: skip


def _to_ready(rig: Rig) -> None:
    """Towards the ready position for two seconds, if the driver takes it."""
    rig.core.set_source("none")
    if rig.core.ready()[0]:
        for _ in range(400):
            rig.step()
