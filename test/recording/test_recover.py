"""Cut and damaged bags: everything whole is found again, by readers that are not ours."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rosbags")
import made_episode as made
from mcap.reader import make_reader
from rosbags.rosbag2 import Reader

from reconvla_ros.errors import RecordingError
from reconvla_ros.recording.bag import BagWriter
from reconvla_ros.recording.episode import EpisodeStore, read_sidecar
from reconvla_ros.recording.repair import bag_file, recover_episode, state_of


def lines(file: Path) -> list[tuple[str, int, bytes]]:
    with file.open("rb") as stream:
        found = make_reader(stream, validate_crcs=True).iter_messages(log_time_order=False)
        return [(channel.topic, message.log_time, message.data) for _, channel, message in found]


def crashed(root: Path) -> tuple[EpisodeStore, str]:
    """What a killed recorder leaves: chunks, no index, no metadata, a sidecar without an end."""
    return made.write(root, change=made.crash)


def test_a_bag_without_an_index_is_made_whole(tmp_path: Path) -> None:
    store, name = crashed(tmp_path)
    folder = tmp_path / name
    assert state_of(folder) == "cut"
    episode, found = recover_episode(store, name)
    wanted = made.rows()
    assert [data for _, _, data in lines(bag_file(folder))] == [data for _, _, data in wanted]
    assert (found.messages, found.lost_bytes, found.damaged) == (len(wanted), 0, 0)
    assert (state_of(folder), episode.outcome, episode.operator) == ("ok", "unlabeled", "Ada")
    assert episode.note.startswith(f"recovered: {len(wanted)} messages, 1.9")
    assert episode.counts["/joint_states"] == 100
    assert read_sidecar(folder) == episode
    with Reader(folder) as reader:
        assert reader.message_count == len(wanted)
        assert next(c for c in reader.connections if c.topic == "/joint_states").ext.offered_qos_profiles[0].depth == 10
    assert not list(folder.glob(".*"))


def test_recovering_twice_changes_nothing(tmp_path: Path) -> None:
    store, name = crashed(tmp_path)
    recover_episode(store, name)
    before = {p.name: p.read_bytes() for p in (tmp_path / name).iterdir()}
    _, found = recover_episode(store, name)
    assert found.whole
    assert {p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} == before


def test_a_bag_cut_anywhere_loses_less_than_a_chunk(tmp_path: Path) -> None:
    store, name = crashed(tmp_path)
    file = bag_file(tmp_path / name)
    whole, luck = file.read_bytes(), random.Random(3)
    wanted = made.rows()
    for size in [0, 3, 8, 60, *(luck.randrange(100, len(whole)) for _ in range(12))]:
        file.write_bytes(whole[:size])
        (tmp_path / name / "metadata.yaml").unlink(missing_ok=True)
        _, found = recover_episode(store, name)
        kept = lines(file)
        assert [data for _, _, data in kept] == [data for _, _, data in wanted[: len(kept)]]
        lost = sum(len(data) + 60 for _, _, data in wanted[len(kept) :])  # records and their share of the indexes
        assert lost <= (len(whole) - size) + 2 * 4000 + 3000, (size, found)


def test_a_hole_in_the_middle_is_left_out_and_the_original_stays(tmp_path: Path) -> None:
    store, name = crashed(tmp_path)
    file = bag_file(tmp_path / name)
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 5000] = bytes(5000)  # pages that never reached the disk
    file.write_bytes(data)
    episode, found = recover_episode(store, name)
    wanted, kept = [row[2] for row in made.rows()], [line[2] for line in lines(file)]
    assert found.damaged >= 1
    assert 0.6 * len(wanted) < len(kept) < len(wanted)
    assert kept[0] == wanted[0]
    assert kept[-1] == wanted[-1]
    assert set(kept) <= set(wanted)
    assert f"original kept as {file.name}.damaged" in episode.note
    assert (tmp_path / name / f"{file.name}.damaged").read_bytes() == bytes(data)


def test_a_lost_sidecar_comes_back_from_the_bag(tmp_path: Path) -> None:
    store, name = crashed(tmp_path)
    (tmp_path / name / "episode.json").unlink()
    assert store.names() == [name]
    episode, _ = recover_episode(store, name)
    assert (episode.instruction, episode.operator, episode.tags) == ("put fruit in bowl", "Ada", ("test",))


def test_a_bag_that_is_being_recorded_is_left_alone(tmp_path: Path) -> None:
    held: list[BagWriter] = []
    store, name = made.write(tmp_path, change=held.append)
    assert state_of(tmp_path / name) == "recording"
    with pytest.raises(RecordingError, match="is being recorded"):
        recover_episode(store, name)
    held[0].close()
    assert state_of(tmp_path / name) == "unfinished"
    assert recover_episode(store, name)[0].ended


def test_what_is_no_bag_is_named(tmp_path: Path) -> None:
    store, name = crashed(tmp_path)
    bag_file(tmp_path / name).write_bytes(b"PK\3\4 something else")
    with pytest.raises(RecordingError, match="is no MCAP file; it begins with"):
        recover_episode(store, name)
    bag_file(tmp_path / name).unlink()
    with pytest.raises(RecordingError, match=r"expected one \.mcap file, found 0 \(it holds \.reserve, episode\.json"):
        recover_episode(store, name)


def test_a_bag_whose_definitions_are_lost_says_so(tmp_path: Path) -> None:
    store, name = crashed(tmp_path)
    file = bag_file(tmp_path / name)
    data = bytearray(file.read_bytes())
    at = data.index(b"sensor_msgs/msg/Image")
    data[at : at + 4] = b"XXXX"  # in the first chunk, which holds the definitions
    file.write_bytes(data)
    with pytest.raises(RecordingError, match="definitions of its topics are lost"):
        recover_episode(store, name)
    assert file.read_bytes() == bytes(data)


def test_a_full_disk_while_recovering_leaves_the_original(tmp_path: Path) -> None:
    """A file size limit stands for the full disk, in a process of its own."""
    _, name = crashed(tmp_path)
    file = bag_file(tmp_path / name)
    before = file.read_bytes()
    script = f"""
import resource, signal
from pathlib import Path
from reconvla_ros.recording.recover import recover_file
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
recover_file(Path({str(file)!r}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=made.ROOT)
    assert done.returncode == 1
    assert "cannot be recovered: File too large" in done.stderr
    assert file.read_bytes() == before
    assert not list(file.parent.glob(".*.part"))
    assert json.loads((file.parent / "episode.json").read_text())["ended"] == ""
