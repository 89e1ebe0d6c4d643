"""The writer thread: nothing put is lost, what is lost is counted, the disk's refusal is told."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from reconvla_ros.errors import RecordingError
from reconvla_ros.recording.bag import BagWriter
from reconvla_ros.recording.schema import MessageSchema
from reconvla_ros.recording.session import RecordingSession, Taken

STRING = MessageSchema("std_msgs/msg/String", "string data\n")


def open_bag(folder: Path) -> BagWriter:
    bag = BagWriter(folder)
    for topic in ("/a", "/b"):
        bag.add_topic(topic, STRING)
    return bag


def test_everything_put_is_written_in_order(tmp_path: Path) -> None:
    reader = pytest.importorskip("mcap.reader")
    session = RecordingSession(open_bag(tmp_path / "e"))
    for i in range(2000):
        assert session.put(Taken("/a" if i % 3 else "/b", i.to_bytes(4, "little"), i, i))
    summary = session.close()
    assert summary.counts == {"/a": 1333, "/b": 667}
    with (tmp_path / "e" / "e_0.mcap").open("rb") as stream:
        found = [int.from_bytes(m.data, "little") for _, _, m in reader.make_reader(stream).iter_messages()]
    assert found == list(range(2000))
    assert session.dropped == {}


class SlowBag(BagWriter):
    """Writes only when it is let to."""

    gate: threading.Event

    def write(self, *arguments: object, **named: object) -> None:
        assert self.gate.wait(10)
        super().write(*arguments, **named)  # type: ignore[arg-type]


def test_a_full_queue_drops_counts_and_never_waits(tmp_path: Path) -> None:
    bag = SlowBag(tmp_path / "e")
    bag.gate = threading.Event()
    bag.add_topic("/a", STRING)
    session = RecordingSession(bag, queue_bytes=1000)
    results = [session.put(Taken("/a", b"x" * 100, i, i)) for i in range(25)]
    bag.gate.set()
    summary = session.close()
    assert results == [True] * 10 + [False] * 15
    assert summary.counts["/a"] == 10
    assert session.dropped == {"/a": 15}


class BrokenBag(BagWriter):
    def write(self, *arguments: object, **named: object) -> None:
        raise RecordingError("bag x cannot be written: No space left on device")


def test_a_disk_that_refuses_is_told_and_later_messages_count_as_dropped(tmp_path: Path) -> None:
    bag = BrokenBag(tmp_path / "e")
    bag.add_topic("/a", STRING)
    session = RecordingSession(bag)
    session.put(Taken("/a", b"x", 0, 0))
    session._thread.join(10)
    assert "No space left" in session.error
    assert not session.put(Taken("/a", b"x", 1, 1))
    assert session.dropped == {"/a": 1}
    with pytest.raises(RecordingError, match="No space left"):
        session.close()


def test_put_after_close_is_dropped_and_close_twice_is_fine(tmp_path: Path) -> None:
    session = RecordingSession(open_bag(tmp_path / "e"))
    session.close()
    session.close()
    assert not session.put(Taken("/a", b"x", 0, 0))


def test_rates_are_over_the_last_second(tmp_path: Path) -> None:
    bag = open_bag(tmp_path / "e")
    session = RecordingSession(bag)
    assert session.rates(now=100.0) == {"/a": 0.0, "/b": 0.0}
    for i in range(100):
        bag.write("/a", b"x", i, i)
    assert session.rates(now=100.5)["/a"] == 200.0
    assert session.rates(now=101.0)["/a"] == 100.0
    for i in range(30):
        bag.write("/b", b"x", i, i)
    later = session.rates(now=102.0)
    assert (later["/a"], later["/b"]) == (0.0, 30.0)
    session.close()
