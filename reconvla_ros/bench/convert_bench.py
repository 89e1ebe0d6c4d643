"""Conversion to ReconVLA samples beside the same work done plainly: mcap, Pillow and pyarrow in one process.

The plain side is what a person writes in an afternoon: no checks, no refusals, no resuming; but it decodes only the messages
that it uses. Both make the same number of pictures of the same size and quality from the same bags, in turns. Starting our
worker processes is part of our time.
"""

from __future__ import annotations

import bisect
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from PIL import Image

from reconvla_ros.bench.convert_traffic import write_episodes
from reconvla_ros.dataset.convert import convert
from reconvla_ros.dataset.options import MORE, Options, Place
from reconvla_ros.errors import SetupError
from reconvla_ros.recording.episode import EpisodeStore
from reconvla_ros.recording.repair import bag_file

BOUND = 1.5
RATE, STEPS, QUALITY = 10, 5, 95
_TOPICS = (
    "camera_base/color/image_raw",
    "camera_wrist/color/image_raw",
    "joint_states",
    "arm/ee_pose",
    "arm/action_trace",
)
_GB_A_SECOND = 0.1  # of two RGB-D streams, with room


class _Plain:
    """One bag, read plainly: the newest of each stream at every tenth of a second."""

    def __init__(self, file: Path) -> None:
        self._factory = DecoderFactory()
        self._decoders: dict[str, Any] = {}
        self.ticks: list[dict[str, tuple[int, bytes]]] = []
        self.traces: list[tuple[int, bytes]] = []
        self._file = file

    def rows(self, out: Path) -> list[dict[str, Any]]:
        """Pictures at once, the figures as rows; a row waits until its steps have been seen."""
        newest: dict[str, bytes] = {}
        waiting: list[dict[str, Any]] = []
        rows, due, number = [], None, 0
        with self._file.open("rb") as stream:
            reader = make_reader(stream)
            names = {
                c.id: next((t for t in _TOPICS if c.topic.endswith(t)), "")
                for c in reader.get_summary().channels.values()
            }  # type: ignore[union-attr]
            full = [c.topic for c in reader.get_summary().channels.values() if names[c.id]]  # type: ignore[union-attr]
            for schema, channel, message in reader.iter_messages(full):
                name = names[channel.id]
                due = due or message.log_time
                while message.log_time > due:
                    if len(newest) == len(_TOPICS):
                        waiting.append(self._row(newest, due, number, out))
                        number += 1
                    due += 10**9 // RATE
                if name not in self._decoders:
                    self._decoders[name] = self._factory.decoder_for(channel.message_encoding, schema)
                newest[name] = message.data
                if name == "arm/action_trace":
                    self.traces.append((message.log_time, message.data))
        for row in waiting:
            rows.append(row | {"actions": self._actions(row)})
        return rows

    def _row(self, newest: dict[str, bytes], at: int, number: int, out: Path) -> dict[str, Any]:
        canvas = Image.new("RGB", (334, 334))
        for topic, height, row in zip(_TOPICS[:2], (173, 161), (0, 173), strict=True):
            message = self._decoders[topic](newest[topic])
            view = Image.frombytes("RGB", (message.width, message.height), bytes(message.data))
            canvas.paste(view.resize((334, height), Image.Resampling.LANCZOS), (0, row))
        path = out / f"{number:06d}.jpg"
        canvas.save(path, "JPEG", quality=QUALITY, subsampling=0)
        joints, tcp = (self._decoders[topic](newest[topic]) for topic in _TOPICS[2:4])
        p, q = tcp.pose.position, tcp.pose.orientation
        return {
            "image": str(path),
            "at": at,
            "joints": list(joints.position),
            "tcp": [p.x, p.y, p.z, q.x, q.y, q.z, q.w],
        }

    def _actions(self, row: dict[str, Any]) -> list[float]:
        stamps, found = [at for at, _ in self.traces], []
        for k in range(1, STEPS + 1):
            place = max(0, bisect.bisect_right(stamps, row["at"] + k * 10**9 // RATE) - 1)
            trace = self._decoders["arm/action_trace"](self.traces[place][1])
            p = trace.filtered_pose.position
            found += [p.x, p.y, p.z, trace.filtered_gripper]
        return found


def plain(root: Path, out: Path) -> int:
    """The plain side; returns the frames."""
    frames = 0
    for name in EpisodeStore(root).names():
        folder = out / name
        folder.mkdir(parents=True)
        rows = _Plain(bag_file(root / name)).rows(folder)
        pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
        frames += len(rows)
    return frames


def ours(root: Path, out: Path, workers: int) -> int:
    """Our side; returns the frames."""
    return convert(Place("bag", root), out, Options(quality=QUALITY, include=MORE[:2]), workers).used


def measure(
    folder: Path,
    rounds: int,
    episodes: int,
    seconds: float,
    workers: int,
    given: Path | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Both sides in turns, ABBA.

    Args:
        folder: for temporary files. rounds: of each side. given: episodes to convert, instead of `episodes` of `seconds`.

    Raises:
        SetupError: no room for the episodes.
    """
    root = given or folder / "episodes"
    if given is None:
        need = 2e9 * _GB_A_SECOND * episodes * seconds
        if shutil.disk_usage(folder).free < need:
            raise SetupError(
                f"bench convert needs {need / 1e9:.1f} GB free in {folder}; remedy: --folder, or fewer --seconds"
            )
        size = write_episodes(root, episodes, seconds)
        say(f"{episodes} episodes of {seconds:g} s, {size / 1e9:.1f} GB")
    sides: dict[str, Callable[[Path], int]] = {
        "ours": lambda out: ours(root, out, workers),
        "one": lambda out: ours(root, out, 1),
        "plain": lambda out: plain(root, out),
    }
    rates: dict[str, list[float]] = {name: [] for name in sides}
    cost: dict[str, list[float]] = {name: [] for name in sides}  # CPU of this process
    frames: dict[str, int] = {}
    for turn in range(rounds):
        for name in list(sides) if turn % 2 == 0 else list(sides)[::-1]:
            out = folder / f"{name}-{turn}"
            begin, cpu = time.monotonic(), time.process_time()
            frames[name] = sides[name](out)
            rates[name].append(frames[name] / (time.monotonic() - begin))
            cost[name].append(1e3 * (time.process_time() - cpu) / frames[name])
            shutil.rmtree(out)
            say(f"round {turn + 1} {name:<6} {rates[name][-1]:7.1f} frames/s, {frames[name]} frames")
    ratios = [a / b for a, b in zip(rates["ours"], rates["plain"], strict=True)]
    return {"convert": {
        "ratio": _median(ratios), "ratio_spread": [round(min(ratios), 3), round(max(ratios), 3)],
        "frames_s": _median(rates["ours"]), "plain_frames_s": _median(rates["plain"]),
        "one_worker_frames_s": _median(rates["one"]),
        "one_worker_ratio": _median([a / b for a, b in zip(rates["one"], rates["plain"], strict=True)]),
        "one_worker_cpu_ms_per_frame": _median(cost["one"]), "plain_cpu_ms_per_frame": _median(cost["plain"]),
        "frames": frames["ours"], "plain_frames": frames["plain"], "workers": workers, "rounds": rounds,
        "episodes": len(EpisodeStore(root).names()), "kept": bool(np.median(ratios) >= BOUND),
    }}  # fmt: skip


def _median(values: Sequence[float]) -> float:
    return round(float(statistics.median(values)), 3)
