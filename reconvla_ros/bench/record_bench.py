"""B13: how fast the recorder writes, beside a bare `os.write` to the same disk and `rosbags` writing the same messages.

Both sides of each figure run in turns in one process; every side ends with its data on the disk (fsync).
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reconvla_ros.errors import SetupError
from reconvla_ros.graph import CAMERAS
from reconvla_ros.recording.bag import BagWriter
from reconvla_ros.recording.schema import MessageSchema, message_schema
from reconvla_ros.recording.session import RecordingSession, Taken
from reconvla_ros.recording.settings import COLOR, DEPTH

NEED = 92.2  # [MB/s] two RGB-D streams of 640x480 at 30 Hz, raw: 2 (921,600 + 614,400) B x 30
BOUND_RATIO, BOUND_NEED = 0.25, 2.0
_RATE = 30  # [Hz]
_HEADER = 60  # [B] of a serialised image beside its pixels
_SMALL = (("joint_states", "sensor_msgs/msg/JointState", 200, 330), ("arm/ee_pose", "geometry_msgs/msg/PoseStamped", 100, 92),
          ("tf", "tf2_msgs/msg/TFMessage", 50, 900))  # fmt: skip
Message = tuple[str, bytes]


@dataclass(frozen=True)
class Load:
    """One second of the graph's traffic: messages in order; `schemas` by topic; size [B]."""

    messages: tuple[Message, ...]
    schemas: dict[str, MessageSchema]
    size: int


def load() -> Load:
    """Two RGB-D streams, joints, TCP and tf for one second; pixels are noise, which nothing can squeeze."""
    noise = np.random.default_rng(0)
    frames: list[Message] = []
    schemas: dict[str, MessageSchema] = {}
    for camera in CAMERAS:
        for kind, pixel in ((COLOR, 3), (DEPTH, 2)):
            name = f"{camera}/{kind}"
            schemas[name] = message_schema("sensor_msgs/msg/Image")
            frames.append((name, noise.bytes(640 * 480 * pixel + _HEADER)))
    due: list[tuple[float, Message]] = [(k / _RATE, frame) for k in range(_RATE) for frame in frames]
    for name, kind, rate, size in _SMALL:
        schemas[name] = message_schema(kind)
        data = noise.bytes(size)
        due += [(k / rate, (name, data)) for k in range(rate)]
    messages = tuple(message for _, message in sorted(due, key=lambda entry: entry[0]))
    return Load(messages, schemas, sum(len(data) for _, data in messages))


def _repeat(given: Load, seconds: int) -> Iterator[tuple[int, Message]]:
    """Messages of so many seconds of traffic with their times [ns]."""
    begin, step = time.time_ns(), 1_000_000_000 // len(given.messages)
    for k in range(seconds * len(given.messages)):
        yield begin + k * step, given.messages[k % len(given.messages)]


def _open(folder: Path, given: Load) -> BagWriter:
    bag = BagWriter(folder)
    for name, schema in given.schemas.items():
        bag.add_topic(name, schema)
    return bag


def write_ours(folder: Path, given: Load, seconds: int) -> None:
    """As fast as the session takes it: 64 MB may wait."""
    session = RecordingSession(_open(folder, given), 64_000_000)
    for at, (name, data) in _repeat(given, seconds):
        while not session.put(Taken(name, data, at, at)):
            if session.error:
                raise SetupError(session.error)
            time.sleep(0.001)
    session.close()


def write_raw(folder: Path, given: Load, seconds: int) -> None:
    """The same bytes by os.write."""
    folder.mkdir(parents=True)
    number = os.open(folder / "raw", os.O_WRONLY | os.O_CREAT)
    try:
        for _, (_, data) in _repeat(given, seconds):
            os.write(number, data)
        os.fsync(number)
    finally:
        os.close(number)


def write_rosbags(folder: Path, given: Load, seconds: int) -> None:
    """The same messages by `rosbags`, MCAP, no compression."""
    from rosbags.rosbag2 import StoragePlugin, Writer

    with Writer(folder, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {
            name: writer.add_connection(name, s.name, msgdef=s.text, rihs01=s.type_hash or "RIHS01_" + "0" * 64)
            for name, s in given.schemas.items()
        }
        for at, (name, data) in _repeat(given, seconds):
            writer.write(connections[name], at, data)
    for file in folder.glob("*.mcap"):
        number = os.open(file, os.O_RDONLY)
        os.fsync(number)
        os.close(number)


SIDES: dict[str, Callable[[Path, Load, int], None]] = {"ours": write_ours, "raw": write_raw, "rosbags": write_rosbags}


def _median(values: Sequence[float]) -> float:
    return float(statistics.median(values))


def paced(folder: Path, given: Load, seconds: float) -> int:
    """Drops when the traffic comes at its own pace, as from the graph."""
    session = RecordingSession(_open(folder, given))
    begin, done = time.monotonic(), 0
    step = 1.0 / len(given.messages)
    while time.monotonic() - begin < seconds:
        due = int((time.monotonic() - begin) / step)
        for k in range(done, due):
            name, data = given.messages[k % len(given.messages)]
            now = time.time_ns()
            session.put(Taken(name, data, now, now))
        done = due
        time.sleep(0.002)
    session.close()
    return sum(session.dropped.values())


def measure(root: Path, rounds: int, seconds: int, pace_seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """B13 and the CPU of each side.

    Args:
        root: a folder on the disk in question; everything written is deleted again.
        rounds: of each side. seconds: of traffic a round. pace_seconds: of the run at the graph's own pace.
    """
    given = load()
    megabytes = given.size * seconds / 1e6
    need = 2.5e6 * megabytes
    if shutil.disk_usage(root).free < need:
        raise SetupError(f"bench record needs {need / 1e9:.1f} GB free in {root}; remedy: --folder, or fewer --seconds")
    rates: dict[str, list[float]] = {name: [] for name in SIDES}
    cost: dict[str, list[float]] = {name: [] for name in SIDES}
    for turn in range(rounds):
        order = list(SIDES) if turn % 2 == 0 else list(SIDES)[::-1]
        for name in order:
            folder = root / f"bench-{name}-{turn}"
            try:
                wall, cpu = time.monotonic(), time.process_time()
                SIDES[name](folder, given, seconds)
                wall, cpu = time.monotonic() - wall, time.process_time() - cpu
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            rates[name].append(megabytes / wall)
            cost[name].append(1e3 * cpu / megabytes)
            say(f"round {turn + 1} {name:<8} {megabytes / wall:7.0f} MB/s  {1e3 * cpu / megabytes:5.2f} ms CPU a MB")
    try:
        dropped = paced(root / "bench-paced", given, pace_seconds)
    finally:
        shutil.rmtree(root / "bench-paced", ignore_errors=True)
    ours, raw = _median(rates["ours"]), _median(rates["raw"])
    ratios = [o / r for o, r in zip(rates["ours"], rates["raw"], strict=True)]
    return {
        "B13": {
            "ratio": round(_median(ratios), 3), "mb_s": round(ours, 1), "dropped": dropped, "raw_mb_s": round(raw, 1),
            "of_need": round(ours / NEED, 2), "ratio_spread": [round(min(ratios), 3), round(max(ratios), 3)],
            "mb_s_spread": [round(min(rates["ours"]), 1), round(max(rates["ours"]), 1)],
            "rounds": rounds, "mb_a_round": round(megabytes), "paced_seconds": pace_seconds,
            "kept": _median(ratios) >= BOUND_RATIO and ours >= BOUND_NEED * NEED and dropped == 0,
        },
        "cpu": {
            **{f"{name}_ms_per_mb": round(_median(values), 3) for name, values in cost.items()},
            **{f"{name}_mb_s": round(_median(values), 1) for name, values in rates.items()},
            "ours_over_rosbags": round(_median([o / r for o, r in zip(cost["ours"], cost["rosbags"], strict=True)]), 3),
            "ros2_bag_record": "not measured: it takes messages from DDS" if shutil.which("ros2") else "not on this machine",
        },
    }  # fmt: skip
