"""Many episodes to one data set: which, on how many processors, on from where the last run was cut, and whole or not at all.

Everything is made in a work folder beside the result, `.NAME.part`: episode by episode, each with a record when it is
done. The result gets its name in one step, when all is there. The same input gives the same bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import json
import multiprocessing
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconvla_ros.dataset import samples
from reconvla_ros.dataset.disk import write_text, writing
from reconvla_ros.dataset.frame import Info, Source
from reconvla_ros.dataset.options import Options, Place
from reconvla_ros.dataset.sources import open_source, request_of
from reconvla_ros.dataset.work import Record, Task, convert_episode, finished, remove
from reconvla_ros.errors import Cancelled, DatasetError
from reconvla_ros.policy.contract import Contract, from_mapping

FORMAT_VERSION = 1
_POLL = 0.2  # [s] how often the bar is moved and an interrupt is seen
Progress = Callable[[int, int], None]


@dataclass
class Plan:
    """What is converted and what is not.

    Attributes:
        tasks: episodes to convert, by name. skipped: the others, with the reason.
        ticks: about how many there are.
    """

    tasks: list[Task]
    skipped: dict[str, str]
    contract: Contract
    ticks: int


@dataclass
class Report:
    """What was done; `as_json` is report.json."""

    records: list[Record]
    skipped: dict[str, str]
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def used(self) -> int:
        """Frames written."""
        return sum(record.used for record in self.records)

    def as_json(self) -> dict[str, Any]:
        """Totals first, then every episode."""
        refused, notes = Counter[str](), Counter[str]()
        for record in self.records:
            refused.update(record.refused)
            notes.update(record.notes)
        kept = [record for record in self.records if not record.failed]
        return {
            "version": FORMAT_VERSION,
            "episodes": len(kept),
            "frames": self.used,
            "without_gaze": self.used - sum(record.targets for record in kept),
            "human": sum(record.human for record in kept),
            "refused": dict(sorted(refused.items())),
            "notes": dict(sorted(notes.items())),
            **self.figures,
            "skipped": {**self.skipped, **{r.name: r.failed for r in self.records if r.failed}},
            "by_episode": [
                {k: v for k, v in vars(record).items() if k not in ("data", "key", "failed")} for record in kept
            ],
        }


def plan(place: Place, source: Source, options: Options, work: Path) -> Plan:
    """Which episodes are converted: those that are labelled a success, and what was asked for besides."""
    contract = source.contract() if not options.contract else _contract(options.contract)
    if options.actions == "measured" and place.kind != "bag":
        raise DatasetError(f"actions: 'measured' is for our own episodes; {place.kind} data says what was done itself")
    wanted = {"success", *options.include}
    tasks, skipped = [], {}
    for info in source.infos():
        if info.problem:
            skipped[info.name] = info.problem
        elif info.outcome not in wanted:
            skipped[info.name] = f"labelled {info.outcome} (--include {info.outcome} takes it)"
        else:
            tasks.append(Task(place, info, options, contract, work, options.key(contract, _digest(info, place))))
    ticks = sum(max(1, round(t.info.seconds * request_of(options, contract).rate)) for t in tasks)
    return Plan(tasks, skipped, contract, ticks)


def _digest(info: Info, place: Place) -> str:
    return f"{place.kind}:{info.name}:{info.digest}"


def _contract(text: str) -> Contract:
    import yaml

    return from_mapping(yaml.safe_load(text), "--contract")


def convert(place: Place, out: Path, options: Options, workers: int = 1, progress: Progress | None = None) -> Report:
    """Make the data set `out`; a run that was cut goes on where it was.

    Args:
        workers: processes; the result is the same.
        progress: called with ticks done and about how many there are.

    Raises:
        DatasetError: `out` exists, nothing is left to convert, or the disk refuses; `out` is then not there.
    """
    out = out.absolute()
    if out.exists():
        raise DatasetError(f"{out} exists; nothing is overwritten")
    source = open_source(place)
    work = out.with_name(f".{out.name}.part")
    with _locked(work):
        todo = plan(place, source, options, work)
        if not todo.tasks:
            raise DatasetError(_nothing(todo.skipped, place))
        _clear(work, todo)
        records = _run(todo, workers, progress)
        report = Report(records, todo.skipped)
        if not report.used:
            raise DatasetError(_nothing({**todo.skipped, **{r.name: r.failed for r in records}}, place))
        _finish(work, todo, report, place, options)
        with writing(out):
            (work / "out").rename(out)
            shutil.rmtree(work)
    return report


def _nothing(skipped: dict[str, str], place: Place) -> str:
    reasons = Counter(reason for reason in skipped.values())
    words = "; ".join(f"{count}: {reason}" for reason, count in reasons.most_common(5)) or "there are no episodes"
    return f"nothing to convert in {place.root}: {words}"


@contextlib.contextmanager
def _locked(work: Path) -> Iterator[None]:
    """One converter at a time in one work folder; it is gone when it is empty."""
    with writing(work):
        work.mkdir(parents=True, exist_ok=True)
        stream = (work / "lock").open("w")
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DatasetError(f"{work} is in use by another conversion") from error
        try:
            yield
        finally:
            if work.is_dir() and {p.name for p in work.iterdir()} <= {"lock"}:
                shutil.rmtree(work, ignore_errors=True)


def _clear(work: Path, todo: Plan) -> None:
    """Throw away what is of episodes that are not asked for, or half done."""
    whole = {task.info.name for task in todo.tasks if finished(task)}
    names = {p.name for kind in ("out/images", "out/targets", "parts") for p in (work / kind).glob("*")}
    names |= {p.stem for p in (work / "episodes").glob("*.json")}
    for name in names - whole:
        remove(work, name)


def _run(todo: Plan, workers: int, progress: Progress | None) -> list[Record]:
    done = {task.info.name: record for task in todo.tasks if (record := finished(task))}
    left = [task for task in todo.tasks if task.info.name not in done]
    # The longest first: the last to end is then short, and the processors are busy to the end.
    left.sort(key=lambda task: (-task.info.seconds, task.info.name))
    before = sum(record.ticks for record in done.values())
    show = (lambda ticks: progress(before + ticks, todo.ticks)) if progress else (lambda ticks: None)
    records = _alone(left, show) if workers <= 1 or len(left) <= 1 else _together(left, workers, show)
    done |= {record.name: record for record in records}
    return [done[task.info.name] for task in todo.tasks]


def _alone(tasks: Sequence[Task], show: Callable[[int], None]) -> list[Record]:
    ticks = 0

    def step() -> None:
        nonlocal ticks
        ticks += 1
        if ticks % 10 == 0:
            show(ticks)

    return [convert_episode(task, step) for task in tasks]


def _together(tasks: Sequence[Task], workers: int, show: Callable[[int], None]) -> list[Record]:
    # A fork starts at once, but copies the locks of other threads in whatever state they are: only where there are none.
    # The image pool of model/images.py counts as none: it idles here, and a child forgets it.
    others = [t for t in threading.enumerate() if t is not threading.main_thread() and not t.name.startswith("images")]
    context: Any = multiprocessing.get_context("spawn" if others else "fork")
    ticks, stop = context.Value("q", 0), context.Event()
    pool = ProcessPoolExecutor(min(workers, len(tasks)), context, _begin, (ticks, stop))
    try:
        futures: set[Future[Record]] = {pool.submit(_worker, task) for task in tasks}
        records = []
        while futures:
            ended, futures = wait(futures, _POLL, FIRST_COMPLETED)
            records += [future.result() for future in ended]
            show(ticks.value)
        return records
    except BrokenProcessPool as error:
        raise DatasetError("a worker process died; the same command goes on where it was") from error
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


_shared: Any = None


def _begin(ticks: Any, stop: Any) -> None:
    """In every worker: the shared counter, and no interrupt of its own (the parent sets `stop`)."""
    import signal

    global _shared
    _shared = (ticks, stop, os.getppid())
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _worker(task: Task) -> Record:
    ticks, stop, parent = _shared

    def step() -> None:
        with ticks.get_lock():
            ticks.value += 1
        if stop.is_set() or os.getppid() != parent:  # a parent that was killed sets nothing
            raise Cancelled("conversion interrupted")

    return convert_episode(task, step, _opened(task.place))


# One data set a run: its files are listed once in each worker.
_opened = functools.lru_cache(maxsize=1)(open_source)


def _finish(work: Path, todo: Plan, report: Report, place: Place, options: Options) -> None:
    kept = [record for record in report.records if not record.failed]
    out = work / "out"
    out.mkdir(exist_ok=True)
    if options.to == "reconvla":
        report.figures = samples.finish(out, [r.data for r in kept], todo.contract, not options.contract)
        digests = {task.info.name: task.info.digest for task in todo.tasks}
        about = {
            "version": FORMAT_VERSION, "format": "reconvla", "source": place.kind, "actions": options.actions,
            "rate": todo.contract.rate, "options": dataclasses.asdict(options) | {"contract": bool(options.contract)},
            "contract": report.figures["contract"], "samples": report.figures["samples"],
            "episodes": {record.name: digests[record.name] for record in kept},
        }  # fmt: skip
        write_text(out / "dataset.json", json.dumps(about, indent=1, ensure_ascii=False) + "\n")
    else:
        from reconvla_ros.dataset import lerobot_writer

        report.figures = lerobot_writer.finish(work, kept, todo.contract, options)
    write_text(out / "report.json", json.dumps(report.as_json(), indent=1, ensure_ascii=False) + "\n")
