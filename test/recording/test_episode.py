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
