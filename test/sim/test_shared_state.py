from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from reconvla_ros.errors import ArmError, BusError, ShapeError
from reconvla_ros.sim import shared_state
from reconvla_ros.sim.shared_state import Identity, StateReader, StateWriter, path_for

IDENTITY = Identity("fruit", 3, "ab" * 32, 36, 32)
ROOT = Path(__file__).parents[2]
WRITER = """
import sys, time
from pathlib import Path
import numpy as np
from reconvla_ros.sim.shared_state import Identity, StateWriter
writer = StateWriter(Path(sys.argv[1]), Identity("fruit", 3, "ab" * 32, 36, 32))
writer.publish(1, 0.0, np.zeros(36), np.zeros(32))
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def writer(path: Path) -> Iterator[StateWriter]:
    one = StateWriter(path, IDENTITY)
    yield one
    one.close()


def publish(writer: StateWriter, value: float) -> None:
    writer.publish(int(value), value / 200, np.full(36, value), np.full(32, -value))


def other_writer(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def test_a_reader_gets_the_newest_sample_and_the_identity(path: Path, writer: StateWriter) -> None:
    reader = StateReader(path)
    assert reader.identity == IDENTITY and reader.pid == os.getpid()
    assert reader.latest() is None
    for value in range(1, 3 * shared_state.SLOTS):
        publish(writer, value)
    sample = reader.latest()
    assert sample is not None
    assert (sample.stamp_ns, sample.time) == (3 * shared_state.SLOTS - 1, (3 * shared_state.SLOTS - 1) / 200)
    assert np.all(sample.position == sample.stamp_ns) and np.all(sample.velocity == -sample.stamp_ns)
    assert abs(time.monotonic_ns() - sample.monotonic_ns) < 5e9
    with pytest.raises(ValueError, match="read-only"):
        sample.position[0] = 1.0


def test_torn_samples_are_never_seen(path: Path, writer: StateWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, stop = StateReader(path), threading.Event()

    def write() -> None:
        value = 0.0
        while not stop.is_set():
            value += 1
            publish(writer, value)

    thread = threading.Thread(target=write)
    thread.start()
    last, seen = 0, 0
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        sample = reader.latest()
        if sample is not None:
            assert np.all(sample.position == sample.stamp_ns) and np.all(sample.velocity == -sample.stamp_ns)
            assert sample.stamp_ns >= last
            last, seen = sample.stamp_ns, seen + 1
    stop.set()
    thread.join()
    assert seen > 100


def test_a_half_written_slot_is_refused(path: Path, writer: StateWriter) -> None:
    publish(writer, 1)
    reader = StateReader(path)
    raw = bytearray(path.read_bytes())
    at = shared_state._RING_AT + writer._slot + 60  # inside the body of slot 1
    raw[at] ^= 0xFF
    with path.open("r+b") as file:
        file.seek(at)
        file.write(raw[at : at + 1])
    assert reader.latest() is None
    publish(writer, 2)
    assert reader.latest() is not None


def test_the_end_is_announced_and_nothing_is_left(path: Path) -> None:
    writer = StateWriter(path, IDENTITY)
    publish(writer, 1)
    reader = StateReader(path)
    assert not reader.closed
    writer.close()
    writer.close()
    assert reader.closed and not list(path.parent.iterdir())
    reader.close()
    reader.close()


def test_a_state_of_another_model_is_refused(writer: StateWriter) -> None:
    with pytest.raises(ShapeError, match="35 positions"):
        writer.publish(1, 0.0, np.zeros(35), np.zeros(32))


def test_one_writer_only(path: Path, writer: StateWriter) -> None:
    with pytest.raises(BusError, match=str(os.getpid())):
        StateWriter(path, IDENTITY)
    publish(writer, 1)
    sample = StateReader(path).latest()
    assert sample is not None  # the refused one changed nothing


def test_a_killed_writer_is_replaced_and_readers_see_it_is_old(path: Path) -> None:
    process = other_writer(path)
    with pytest.raises(BusError, match=str(process.pid)):
        StateWriter(path, IDENTITY)
    old = StateReader(path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert path.exists() and not old.closed  # nobody was there to say goodbye: age tells
    writer = StateWriter(path, IDENTITY)
    publish(writer, 5)
    new, before = StateReader(path).latest(), old.latest()
    assert new is not None and before is not None
    assert (new.stamp_ns, before.stamp_ns) == (5, 1)
    writer.close()
    assert not list(path.parent.iterdir())


def test_a_reader_that_ends_leaves_the_map(path: Path, writer: StateWriter) -> None:
    code = "import sys, pathlib, reconvla_ros.sim.shared_state as s; s.StateReader(pathlib.Path(sys.argv[1])).latest()"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert path.exists()


def test_nothing_there_or_something_else(path: Path) -> None:
    with pytest.raises(ArmError, match="start the simulator"):
        StateReader(path)
    path.write_bytes(b"")
    with pytest.raises(ArmError, match="not ready"):
        StateReader(path)
    path.write_bytes(b"x" * 4096)
    with pytest.raises(ArmError, match="not a map"):
        StateReader(path)


def test_names_follow_the_bus() -> None:
    assert path_for("udp_multicast:43113") != path_for("udp_multicast:43114")
    assert path_for("socketcan:can0").name.endswith("socketcan_can0")
