"""`reconvla bench soak`: many commands, sane and insane, against the driver; a judge of its own reads the bus.

What is real and what is injected: `soak_rig`. What is asked: `soak_commands`. What is judged: `judge`. The commands are
given in episodes, each with a driver, an arm and a seed of its own, so that processes can share them and one can be
replayed alone; the result does not depend on how many processes there are.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from random import Random
from typing import Any

from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.bench.judge_bounds import Bounds
from reconvla_ros.bench.soak_commands import STYLES, Commander
from reconvla_ros.bench.soak_rig import Rig

EPISODE = 5000  # commands
_READY_SHARE = 0.3  # of the phases begin with a way to the ready position, or the arm would lie in a corner for ever
_SEEDS = 1_000_000  # episodes of two neighbouring seeds never share one
_COUNTS = ("commands", "frames", "ticks", "moving_ticks", "freezes", "seeds")
_TABLES = ("violations", "verdicts", "reasons", "outcome")
_EXAMPLES = 10  # of each kind, over all episodes


def show(line: str) -> None:
    """A line of progress, over the one before on a terminal."""
    tty = sys.stderr.isatty()
    print(f"\r{line}\x1b[K" if tty else line, end="" if tty else "\n", file=sys.stderr, flush=True)


@contextmanager
def without_script() -> Iterator[None]:
    """Children started in here do not run the script that started this process: installed ones have no guard."""
    main = sys.modules["__main__"]
    path = main.__dict__.pop("__file__", None)
    try:
        yield
    finally:
        if path is not None:
            main.__file__ = path


def soak(
    commands: int,
    seed: int = 0,
    workers: int = 1,
    only: int | None = None,
    progress: Callable[[str], None] = show,
) -> dict[str, Any]:
    """Give the driver `commands` commands and judge every frame.

    Args:
        commands: at least this many are given.
        seed: of everything random; the same seed is the same run, however many workers there are.
        workers: processes that share the episodes.
        only: replay this episode alone, by its number.
        progress: takes a line now and then.

    Returns:
        commands, frames, ticks, seconds, violations {kind: count}, examples {kind: [words]}, freezes (stops and faults that
        brought the target to a stand within a tick), seeds (targets that started anew), and what went on: seed, episodes,
        moving_ticks, extremes, verdicts, reasons, outcome.
    """
    begin = time.monotonic()
    sizes = {k: min(EPISODE, commands - k * EPISODE) for k in range(-(-commands // EPISODE))}
    if only is not None:
        sizes = {only: sizes.get(only, EPISODE)}
    total: dict[str, Any] = dict.fromkeys(_COUNTS, 0) | {key: Counter() for key in _TABLES}
    total |= {"extremes": {}, "examples": {}}
    done = 0
    for number, result in _run(sizes, seed, workers):
        done += 1
        _merge(total, number, result)
        rate, bad = total["commands"] / (time.monotonic() - begin), sum(total["violations"].values())
        progress(f"soak: {total['commands']}/{sum(sizes.values())} commands, {rate:.0f}/s, {total['ticks']} ticks, "
                 f"{bad} violations")  # fmt: skip
    tables = {key: dict(sorted(total[key].items())) for key in _TABLES}
    return total | tables | {"seed": seed, "episodes": done, "seconds": round(time.monotonic() - begin, 1)}


def _end_with_parent() -> None:
    """A worker whose parent was killed would go on with all that waits, unseen."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _run(sizes: dict[int, int], seed: int, workers: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, result) of each episode in the order of their numbers, whoever ends first."""
    if workers <= 1 or len(sizes) == 1:
        for number, size in sizes.items():
            yield number, episode(size, seed * _SEEDS + number)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers inherit it: each has a core, not all of them
    waiting, nexts = {}, iter(sizes)
    following = next(nexts)
    # A fresh interpreter each: threads of this one (the SDK's, a pool's) do not survive a fork.
    with (
        without_script(),
        ProcessPoolExecutor(
            min(workers, len(sizes)), multiprocessing.get_context("spawn"), initializer=_end_with_parent
        ) as pool,
    ):
        futures = {pool.submit(episode, size, seed * _SEEDS + number): number for number, size in sizes.items()}
        for future in as_completed(futures):
            waiting[futures[future]] = future.result()
            while following in waiting:
                yield following, waiting.pop(following)
                following = next(nexts, -1)


def _merge(total: dict[str, Any], number: int, result: dict[str, Any]) -> None:
    for key in _COUNTS:
        total[key] += result[key]
    for key in _TABLES:
        total[key].update(result[key])
    for name, value in result["extremes"].items():
        before = total["extremes"].get(name, 0.0)
        total["extremes"][name] = before + value if name == "way" else max(before, value)
    for kind, words in result["examples"].items():
        said = total["examples"].setdefault(kind, [])
        said += [f"episode {number}, {word}" for word in words][: _EXAMPLES - len(said)]


def episode(
    commands: int, seed: int, config: DriverConfig | None = None, bounds: Bounds | None = None
) -> dict[str, Any]:
    """One driver and one arm for `commands` commands; as `soak`.

    Args:
        config: of the driver. bounds: what the judge asks for; default, those of `config`.
    """
    random = Random(seed)
    with Rig(config or DriverConfig(arm="sim", can_interface="virtual", dry_run=False), bounds) as rig:
        commander = Commander(rig, seed + _SEEDS // 2)
        rig.step()
        rig.enable()
        while commander.sent < commands:
            if random.random() < _READY_SHARE:
                _to_ready(rig, random.randint(50, 400))
            style, before = random.choice(STYLES), rig.judge.ticks
            try:
                commander.phase(style, random.randint(20, 400), commands)
            except Exception as error:  # whatever ends a tick would end the driver: that is what is looked for
                rig.judge.note("exception", f"{style.name} since tick {before}: {type(error).__name__}: {error}")
        for _ in range(200):
            rig.step()
        rig.judge.finish()
        judge, core = rig.judge, rig.core
        return {
            "commands": commander.sent, "frames": judge.frames, "ticks": judge.ticks, "violations": dict(judge.violations),
            "examples": judge.examples, "freezes": judge.freezes, "seeds": judge.seeds, "moving_ticks": rig.moving,
            "extremes": judge.extremes, "verdicts": dict(core.verdicts), "reasons": dict(core.reasons),
            "outcome": dict(commander.outcome),
        }  # fmt: skip


def _to_ready(rig: Rig, ticks: int) -> None:
    """Towards the ready position for so many ticks, if the driver takes it; what comes next may meet it on the way."""
    rig.core.set_source("none")
    if rig.core.ready()[0]:
        for _ in range(ticks):
            rig.step()
