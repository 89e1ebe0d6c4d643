"""LeRobotDataset v3.0: an episode's pieces by a worker, then all of them put together.

LeRobot knows no holes: frame k lies at k / fps. So where a tick of ours has no frame the episode is cut there, and each piece
becomes an episode of its own; pieces that are too short are left out and counted.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reconvla_ros.dataset import lerobot_format as form
from reconvla_ros.dataset.disk import writing
from reconvla_ros.dataset.frame import Frame, Rgb
from reconvla_ros.dataset.options import Options
from reconvla_ros.dataset.video import VideoWriter, join
from reconvla_ros.errors import DatasetError
from reconvla_ros.policy.contract import Contract

if TYPE_CHECKING:
    from reconvla_ros.dataset.work import Record

MIN_FRAMES = 5  # of a piece
_SPARSE = 4  # every so many-th row and column goes into the picture statistics
_NAN8, _NAN7 = np.full(8, np.nan), np.full(7, np.nan)


def rate_of(contract: Contract, options: Options) -> int:
    """Frames per second.

    Raises:
        DatasetError: LeRobot's must be a whole number.
    """
    rate = options.rate or contract.rate
    if rate != int(rate):
        raise DatasetError(f"rate: LeRobot's fps is a whole number, got {rate:g} Hz; give --rate")
    return int(rate)


@dataclass
class _Piece:
    """A stretch without a hole, while it is written."""

    stem: str
    videos: dict[str, VideoWriter]
    rows: list[dict[str, Any]] = field(default_factory=list)
    histograms: dict[str, np.ndarray] = field(default_factory=dict)
    size: dict[str, tuple[int, int]] = field(default_factory=dict)


class EpisodeWriter:
    """Writes the pieces of one episode into `folder`."""

    def __init__(self, folder: Path, contract: Contract, options: Options) -> None:
        self._folder, self._options, self._fps = folder, options, rate_of(contract, options)
        self._piece: _Piece | None = None
        self._tick = -2
        self._done: list[dict[str, Any]] = []
        self._short = 0
        folder.mkdir(parents=True)

    def add(self, frame: Frame) -> None:
        """One frame; the first after a hole begins a new piece.

        Raises:
            DatasetError: no joints or wrist view in this data. DiskError: the disk refuses.
        """
        if frame.joints is None or frame.wrist is None:
            raise DatasetError("LeRobot: this data has no joints or no wrist view; --to reconvla takes it")
        if self._piece is None or frame.tick != self._tick + 1:
            self._end()
            stem = f"{frame.tick:06d}"
            videos = {name: VideoWriter(self._folder / f"{stem}-{name}.mp4", self._fps, self._options.codec,
                                        self._options.crf) for name in form.CAMERAS}  # fmt: skip
            self._piece = _Piece(stem, videos)
        self._tick = frame.tick
        for name, pixels in (("base", frame.base), ("wrist", frame.wrist)):
            self._piece.videos[name].add(pixels)
            self._piece.size[name] = (pixels.shape[0], pixels.shape[1])
            histogram = self._piece.histograms.setdefault(name, np.zeros((3, 256), np.int64))
            histogram += _histogram(pixels)
        self._piece.rows.append(_row(frame))

    def close(self) -> dict[str, Any]:
        """The pieces, and how many frames were in those that were too short."""
        self._end()
        return {"pieces": self._done, "short": self._short}

    def _end(self) -> None:
        piece, self._piece = self._piece, None
        if piece is None:
            return
        for video in piece.videos.values():
            video.close()
        if len(piece.rows) < MIN_FRAMES:
            self._short += len(piece.rows)
            for path in self._folder.glob(f"{piece.stem}-*"):
                path.unlink()
            return
        columns = {name: np.array([row[name] for row in piece.rows]) for name in piece.rows[0]}
        np.savez(self._folder / f"{piece.stem}-rows.npz", **columns)  # type: ignore[arg-type]
        self._done.append({
            "stem": piece.stem, "frames": len(piece.rows), "size": {k: list(v) for k, v in piece.size.items()},
            "histograms": {name: h.tolist() for name, h in piece.histograms.items()},
        })  # fmt: skip


def _histogram(pixels: Rgb) -> np.ndarray:
    sparse = pixels[::_SPARSE, ::_SPARSE]
    return np.stack([np.bincount(sparse[..., c].ravel(), minlength=256) for c in range(3)])


def _row(frame: Frame) -> dict[str, Any]:
    assert frame.joints is not None
    commands = frame.commands
    state = np.append(frame.joints, frame.gripper)
    target = np.concatenate((frame.positions[0], frame.quaternions[0], frame.openings[:1]))
    applied = _NAN7 if commands is None else commands.applied
    goal = frame.goal if frame.goal is not None else state
    return {
        "observation.state": state,
        "observation.ee_pose": np.concatenate((frame.tcp.position, frame.tcp.quaternion)),
        "action": np.where(np.isfinite(applied), applied, goal),
        "target.ee_pose": target,
        "requested.ee_pose": _NAN8 if commands is None else commands.requested,
        "filtered.ee_pose": _NAN8 if commands is None else commands.filtered,
        "applied.joints": applied,
        "human": frame.human,
        "stamp_ns": frame.stamp_ns,
    }


@dataclass
class _Part:
    """One piece on its way into the data set."""

    folder: Path
    task: str
    source: str
    outcome: str
    data: dict[str, Any]
    place: dict[str, Any] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        """How many."""
        return int(self.data["frames"])

    def file(self, kind: str) -> Path:
        """rows.npz, base.mp4, wrist.mp4."""
        return self.folder / f"{self.data['stem']}-{kind}"


def finish(work: Path, records: Sequence[Record], contract: Contract, options: Options) -> dict[str, Any]:
    """Put the pieces together below `work/out`.

    Raises:
        DatasetError: views of different sizes. DiskError: the disk refuses.
    """
    out, fps = work / "out", rate_of(contract, options)
    with writing(out):
        shutil.rmtree(out, ignore_errors=True)
        parts = [_Part(work / "parts" / r.name, r.instruction, r.name, r.outcome, piece)
                 for r in records for piece in r.data["pieces"]]  # fmt: skip
        if not parts:
            raise DatasetError(f"LeRobot: no stretch of {MIN_FRAMES} frames without a hole")
        tasks = list(dict.fromkeys(part.task for part in parts))
        sizes = _sizes(parts)
        for name, key in form.CAMERAS.items():
            _videos(out, parts, name, key, fps)
        columns = _data(out, parts, tasks, fps)
        _episodes(out, parts, columns)
        _meta(out, parts, tasks, columns, sizes, fps, options)
    frames = sum(part.frames for part in parts)
    return {"pieces": len(parts), "fps": fps, "frames": frames, "short": sum(r.data["short"] for r in records)}


def _sizes(parts: Sequence[_Part]) -> dict[str, list[int]]:
    first = parts[0].data["size"]
    for part in parts:
        if part.data["size"] != first:
            raise DatasetError(f"LeRobot: views must have one size; {parts[0].source} has {first}, {part.source} "
                               f"has {part.data['size']}")  # fmt: skip
    return dict(first)


def _grouped(parts: Sequence[_Part], sizes: Sequence[int], limit_mb: int) -> list[list[_Part]]:
    """Consecutive parts, as many in a group as fit below the limit; at least one."""
    groups: list[list[_Part]] = []
    held = 0
    for part, size in zip(parts, sizes, strict=True):
        if not groups or held + size > limit_mb * 1_000_000:
            groups.append([])
            held = 0
        groups[-1].append(part)
        held += size
    return groups


def _place(number: int) -> dict[str, int]:
    return {"chunk_index": number // form.CHUNK, "file_index": number % form.CHUNK}


def _videos(out: Path, parts: Sequence[_Part], name: str, key: str, fps: int) -> None:
    sizes = [part.file(f"{name}.mp4").stat().st_size for part in parts]
    for number, group in enumerate(_grouped(parts, sizes, form.VIDEO_MB)):
        path = out / form.VIDEO_PATH.format(video_key=key, **_place(number))
        path.parent.mkdir(parents=True, exist_ok=True)
        join([(part.file(f"{name}.mp4"), part.frames) for part in group], path, fps)
        at = 0
        for part in group:
            part.place |= {f"videos/{key}/{k}": v for k, v in _place(number).items()}
            part.place |= {f"videos/{key}/from_timestamp": at / fps,
                           f"videos/{key}/to_timestamp": (at + part.frames) / fps}  # fmt: skip
            at += part.frames


def _data(out: Path, parts: Sequence[_Part], tasks: Sequence[str], fps: int) -> list[dict[str, np.ndarray]]:
    found, index = [], 0
    for number, part in enumerate(parts):
        with np.load(part.file("rows.npz")) as rows:
            columns = {name: rows[name] for name in rows.files}
        count = np.arange(part.frames)
        columns |= {
            "timestamp": (count / fps).astype(np.float32), "frame_index": count, "index": index + count,
            "episode_index": np.full(part.frames, number), "task_index": np.full(part.frames, tasks.index(part.task)),
        }  # fmt: skip
        part.place |= {"dataset_from_index": index, "dataset_to_index": index + part.frames}
        index += part.frames
        found.append(columns)
    tables = [form.table(columns) for columns in found]
    by_part = {id(part): table for part, table in zip(parts, tables, strict=True)}
    for number, group in enumerate(_grouped(parts, [t.nbytes for t in tables], form.DATA_MB)):
        path = out / form.DATA_PATH.format(**_place(number))
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.concat_tables(by_part[id(part)] for part in group), path)
        for part in group:
            part.place |= {f"data/{k}": v for k, v in _place(number).items()}
    return found


def _statistics(columns: dict[str, np.ndarray]) -> dict[str, dict[str, list[Any]]]:
    return {name: form.column_statistics(columns[name], column.dtype) for name, column in form.COLUMNS.items()}


def _pictures(parts: Sequence[_Part]) -> dict[str, dict[str, list[Any]]]:
    frames = sum(part.frames for part in parts)
    return {
        key: form.picture_statistics(sum(np.array(part.data["histograms"][name]) for part in parts), frames)  # type: ignore[arg-type]
        for name, key in form.CAMERAS.items()
    }


def _episodes(out: Path, parts: Sequence[_Part], columns: Sequence[dict[str, np.ndarray]]) -> None:
    rows = []
    for number, (part, held) in enumerate(zip(parts, columns, strict=True)):
        row: dict[str, Any] = {"episode_index": number, "tasks": [part.task], "length": part.frames, **part.place}
        row |= {"source_episode": part.source, "outcome": part.outcome}
        for name, figures in (_statistics(held) | _pictures([part])).items():
            row |= {f"stats/{name}/{figure}": value for figure, value in figures.items()}
        rows.append(row | {f"meta/episodes/{k}": v for k, v in _place(0).items()})
    path = out / form.EPISODES_PATH.format(**_place(0))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def _meta(
    out: Path, parts: Sequence[_Part], tasks: Sequence[str], columns: Sequence[dict[str, np.ndarray]],
    sizes: dict[str, list[int]], fps: int, options: Options,
) -> None:  # fmt: skip
    together = {name: np.concatenate([held[name] for held in columns]) for name in form.COLUMNS}
    statistics = _statistics(together) | _pictures(parts)
    features: dict[str, Any] = {
        key: form.video_feature(sizes[name][0], sizes[name][1], fps, options.codec)
        for name, key in form.CAMERAS.items()
    }
    features |= {name: column.feature for name, column in form.COLUMNS.items()}
    frames = sum(part.frames for part in parts)
    pq.write_table(form.tasks_table(tasks), out / "meta" / "tasks.parquet")
    about = form.info(features, fps, len(parts), frames, len(tasks))
    for name, value in (("info", about), ("stats", statistics)):
        (out / "meta" / f"{name}.json").write_text(json.dumps(value, indent=4) + "\n", encoding="utf-8")
