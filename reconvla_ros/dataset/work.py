"""One episode's conversion, as a worker process does it: frames in, files out, and a record that says it is done.

The record is written last and by rename, so an episode whose record is there is whole, and one without is done again.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from reconvla_ros.dataset.disk import DiskError, writing
from reconvla_ros.dataset.frame import Frame, Info, Source
from reconvla_ros.dataset.gaze import read_gaze
from reconvla_ros.dataset.options import Options, Place
from reconvla_ros.dataset.samples import IMAGES, TARGETS, SampleWriter
from reconvla_ros.dataset.sources import open_source, request_of
from reconvla_ros.errors import Cancelled, DatasetError, ReconVlaError
from reconvla_ros.policy.contract import Contract
from reconvla_ros.recording.metadata import replace_file

RECORDS = "episodes"
Step = Callable[[], None]


class Writer(Protocol):
    """Takes the frames of one episode."""

    def add(self, frame: Frame) -> None:
        """One frame."""

    def close(self) -> Any:
        """What `finish` of the format needs to know of the episode; JSON."""


@dataclass(frozen=True)
class Task:
    """One episode to convert: where from, how, where to; `key` names the result."""

    place: Place
    info: Info
    options: Options
    contract: Contract
    work: Path
    key: str


@dataclass
class Record:
    """What became of one episode.

    Attributes:
        key: of the task. used: frames written. ticks: of the episode.
        refused: ticks without a frame, by reason, and the first `examples` of each.
        notes: messages left out, by reason. failed: why the whole episode is left out; empty when it is not.
        targets: frames with a gaze region. human: frames in which a person had the arm.
        data: of the format.
    """

    name: str
    key: str
    instruction: str = ""
    outcome: str = ""
    used: int = 0
    ticks: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    failed: str = ""
    targets: int = 0
    human: int = 0
    data: Any = None


def record_path(work: Path, name: str) -> Path:
    """Where the record of an episode lies."""
    return work / RECORDS / f"{name}.json"


def finished(task: Task) -> Record | None:
    """The record of an episode that was converted before in the same way; None when there is none."""
    try:
        data = json.loads(record_path(task.work, task.info.name).read_text(encoding="utf-8"))
        record = Record(**data)
    except (OSError, ValueError, TypeError):
        return None
    return record if record.key == task.key else None


def remove(work: Path, name: str) -> None:
    """Delete what an episode left in the work folder.

    Raises:
        DiskError: the file system refuses.
    """
    with writing(work):
        record_path(work, name).unlink(missing_ok=True)
        for folder in (work / "out" / IMAGES / name, work / "out" / TARGETS / name, work / "parts" / name):
            if folder.exists():
                shutil.rmtree(folder)


def convert_episode(task: Task, step: Step, source: Source | None = None) -> Record:
    """Convert one episode; what is wrong with the episode itself is in the record, what is wrong with the disk is raised.

    Args:
        step: called at every tick; it may raise Cancelled.

    Raises:
        DiskError: the result cannot be written. Cancelled: by `step`.
    """
    remove(task.work, task.info.name)
    source = source or open_source(task.place)
    record = Record(task.info.name, task.key, task.info.instruction, task.info.outcome)
    try:
        with writing(task.work):
            _fill(record, task, source, step)
    except (Cancelled, DiskError):
        raise
    except ReconVlaError as error:
        remove(task.work, task.info.name)
        record = Record(record.name, record.key, record.instruction, record.outcome, failed=str(error))
    if not record.used and not record.failed:
        remove(task.work, task.info.name)
        record.failed = "no usable frame"
    path = record_path(task.work, record.name)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps(vars(record), ensure_ascii=False))
    return record


def _fill(record: Record, task: Task, source: Source, step: Step) -> None:
    options, refused = task.options, Counter[str]()
    record.instruction = record.instruction or source.instruction(record.name)
    if not record.instruction.strip():
        raise DatasetError("no instruction")
    writer, gaze = _writer(task, source, record.instruction)
    for found in source.frames(record.name, request_of(options, task.contract)):
        step()
        record.ticks += 1
        if not isinstance(found, Frame):
            reason, detail = found.reason, found.detail
        elif options.interventions == "drop" and found.human:
            reason, detail = "human", "a person had the arm (--interventions drop)"
        elif options.interventions == "only" and not found.human:
            reason, detail = "policy", "no person had the arm (--interventions only)"
        else:
            writer.add(found)
            record.used += 1
            record.human += found.human
            record.targets += gaze is not None and gaze.at(found.stamp_ns) is not None
            continue
        refused[reason] += 1
        record.examples.setdefault(reason, detail)
    record.refused = dict(sorted(refused.items()))
    record.examples = dict(sorted(record.examples.items()))
    record.notes = source.notes(record.name)
    record.data = writer.close()


def _writer(task: Task, source: Source, text: str) -> tuple[Writer, Any]:
    folder = getattr(source, "folder", None)
    gaze = read_gaze(folder(task.info.name)) if folder is not None else None
    out, name = task.work / "out", task.info.name
    if task.options.to == "reconvla":
        return SampleWriter(out, name, text, task.contract, task.options, gaze), gaze
    from reconvla_ros.dataset.lerobot_writer import EpisodeWriter  # pyarrow and PyAV, only where they are needed

    return EpisodeWriter(task.work / "parts" / name, task.contract, task.options), None
