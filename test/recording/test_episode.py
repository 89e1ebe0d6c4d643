"""Episodes on disk."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from reconvla_ros.errors import RecordingError
from reconvla_ros.recording.episode import EpisodeStore, check_outcome, episode_name, read_sidecar

AT = datetime.datetime(2026, 1, 31, 14, 25, 1, tzinfo=datetime.timezone.utc)


def begin(root: Path, instruction: str = "put fruit in bowl") -> tuple[EpisodeStore, str]:
    store = EpisodeStore(root)
    episode = store.plan(instruction, "Ada", ["demo"], AT)
    store.folder(episode).mkdir(parents=True)
    store.begin(episode)
    return store, episode.name


def test_the_name_sorts_and_speaks() -> None:
    assert episode_name("Put Fruit, in bowl!", AT) == "20260131T142501Z_put-fruit-in-bowl"
    assert episode_name("果物", AT) == "20260131T142501Z_episode"
    assert len(episode_name("x" * 500, AT)) == 17 + 40


def test_a_taken_name_gets_a_number(tmp_path: Path) -> None:
    _, first = begin(tmp_path)
    _, second = begin(tmp_path)
    assert second == first + "-2"


def test_the_sidecar_exists_from_the_start_as_unlabeled(tmp_path: Path) -> None:
    store, name = begin(tmp_path)
    got = read_sidecar(tmp_path / name)
    assert (got.outcome, got.ended, got.instruction, got.operator, got.tags) == (
        "unlabeled",
        "",
        "put fruit in bowl",
        "Ada",
        ("demo",),
    )
    done = store.finish(got, "success", AT + datetime.timedelta(seconds=9), counts={"/a": 3}, duration=8.5, bytes=10)
    assert read_sidecar(tmp_path / name) == done
    assert (done.outcome, done.ended, done.counts) == ("success", "2026-01-31T14:25:10.000+00:00", {"/a": 3})


@pytest.mark.parametrize(("text", "length"), [("", 0), ("   ", 0), ("x" * 501, 501)])
def test_instruction_bounds(tmp_path: Path, text: str, length: int) -> None:
    with pytest.raises(RecordingError, match=f"1 to 500 characters, got {length}"):
        EpisodeStore(tmp_path).plan(text, "", [], AT)


def test_outcomes() -> None:
    assert check_outcome("") == "unlabeled"
    with pytest.raises(RecordingError, match="did you mean 'success'"):
        check_outcome("succes")


def test_relabel(tmp_path: Path) -> None:
    store, name = begin(tmp_path)
    store.relabel(name, "failure")
    assert read_sidecar(tmp_path / name).outcome == "failure"
    with pytest.raises(RecordingError, match="is not in"):
        store.relabel("nothing", "failure")


def test_discard_removes_the_folder_and_only_it(tmp_path: Path) -> None:
    store, name = begin(tmp_path)
    _, other = begin(tmp_path)
    (tmp_path / name / "big.mcap").write_bytes(b"x")
    store.discard(name)
    assert store.names() == [other]
    assert [p.name for p in tmp_path.iterdir()] == [other]


def test_a_deletion_cut_short_leaves_no_episode_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, name = begin(tmp_path)

    def crash(path: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("shutil.rmtree", crash)
    with pytest.raises(RecordingError, match="cannot be deleted: Input/output error"):
        store.discard(name)
    assert store.names() == []
    assert (tmp_path / f".discarded-{name}").is_dir()


@pytest.mark.parametrize("name", ["../x", ".discarded-a", "", "a/b"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecordingError, match="is not in"):
        EpisodeStore(tmp_path).discard(name)


def test_bad_sidecars_are_named(tmp_path: Path) -> None:
    store, name = begin(tmp_path)
    path = tmp_path / name / "episode.json"
    data = json.loads(path.read_text())
    for text, message in (
        ("{", "cannot be read"),
        ("[]", "expected a mapping, got list"),
        (json.dumps({**data, "outcom": "x"}), "did you mean 'outcome'"),
        (json.dumps({"name": "x"}), "'instruction' is missing"),
    ):
        path.write_text(text)
        with pytest.raises(RecordingError, match=message):
            read_sidecar(tmp_path / name)
    assert store.names() == [name]


def test_delete_is_a_rename_that_can_be_undone(tmp_path: Path) -> None:
    store, name = begin(tmp_path)
    (tmp_path / name / "big.mcap").write_bytes(b"x")
    store.delete(name)
    assert (store.names(), store.trashed()) == ([], [name])
    assert store.restore(name) == tmp_path / name
    assert (store.names(), store.trashed()) == ([name], [])
    store.delete(name)
    _, again = begin(tmp_path)
    assert again == name
    with pytest.raises(RecordingError, match="exists; nothing is overwritten"):
        store.restore(name)
    store.delete(again)
    assert store.trashed() == [name, f"{name}-2"]
    (tmp_path / ".discarded-old").mkdir()  # a discard that was cut short
    assert store.purge() == 3
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RecordingError, match="is not in"):
        store.restore(name)


def test_relabel_changes_what_is_given_and_keeps_the_rest(tmp_path: Path) -> None:
    store, name = begin(tmp_path)
    changed = store.relabel(name, "success", "put lime in bowl", ["good", "demo"])
    assert (changed.outcome, changed.instruction, changed.tags) == ("success", "put lime in bowl", ("demo", "good"))
    assert store.relabel(name, tags=["late"]).outcome == "success"
    with pytest.raises(RecordingError, match="give an outcome"):
        store.relabel(name)
    with pytest.raises(RecordingError, match="1 to 500"):
        store.relabel(name, instruction="x" * 501)
    assert read_sidecar(tmp_path / name).instruction == "put lime in bowl"


def test_a_sidecar_of_version_1_can_still_be_read(tmp_path: Path) -> None:
    _, name = begin(tmp_path)
    path = tmp_path / name / "episode.json"
    new = ("contract_digest", "checkpoint", "calibration", "parameters", "quality", "interventions", "started_ns")
    data = {key: value for key, value in json.loads(path.read_text()).items() if key not in new}
    path.write_text(json.dumps({**data, "version": 1}))
    assert (read_sidecar(tmp_path / name).version, read_sidecar(tmp_path / name).contract_digest) == (1, "")


def test_a_sidecar_of_a_version_to_come_is_refused(tmp_path: Path) -> None:
    _, name = begin(tmp_path)
    path = tmp_path / name / "episode.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 99}))
    with pytest.raises(RecordingError, match="version 99, this software knows up to 2"):
        read_sidecar(tmp_path / name)
