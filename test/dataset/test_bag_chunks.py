"""Read in place as `mcap` reads it: the same messages in the same order."""

from __future__ import annotations

import random
from pathlib import Path

import made_episode as made
import pytest
from mcap.reader import make_reader

from reconvla_ros.dataset.bag_chunks import messages
from reconvla_ros.errors import RecordingError
from reconvla_ros.recording.repair import bag_file


@pytest.mark.parametrize("shuffled", [False, True])
def test_messages_and_their_order_are_those_of_mcap(tmp_path: Path, shuffled: bool) -> None:
    rows = made.rows()
    if shuffled:  # chunks then overlap in time
        random.Random(3).shuffle(rows)
    store, name = made.write(tmp_path, rows)
    file = bag_file(store.root / name)
    with file.open("rb") as stream:
        reader = make_reader(stream)
        summary = reader.get_summary()
        assert summary is not None
        assert len(summary.chunk_indexes) > 10
        some = [c.topic for c in summary.channels.values() if "depth" not in c.topic]
        theirs = [(m.log_time, c.id, m.data) for _, c, m in reader.iter_messages(some)]
    numbers = {c.id for c in summary.channels.values() if c.topic in some}
    ours = [(log, channel, bytes(data)) for log, channel, data in messages(file, summary, numbers)]
    assert [log for log, _, _ in ours] == [log for log, _, _ in theirs]
    assert sorted(ours) == sorted(theirs)


def test_every_chunk_is_checked(tmp_path: Path) -> None:
    store, name = made.write(tmp_path)
    file = bag_file(store.root / name)
    with file.open("rb") as stream:
        summary = make_reader(stream).get_summary()
    assert summary is not None
    data = bytearray(file.read_bytes())
    data[summary.chunk_indexes[-1].chunk_start_offset + 200] ^= 1
    file.write_bytes(data)
    with pytest.raises(RecordingError, match="checksum of the chunk"):
        list(messages(file, summary, set(summary.channels)))
