"""Whole or not at all, the same bytes whoever does it, on from where it was cut, and every omission named."""

from __future__ import annotations

import errno
import fcntl
import hashlib
from collections.abc import Callable
from pathlib import Path

import made_episode as made
import pytest

from reconvla_ros.dataset import convert as engine
from reconvla_ros.dataset import samples, work
from reconvla_ros.dataset.convert import convert
from reconvla_ros.dataset.options import Options, Place
from reconvla_ros.errors import Cancelled, DatasetError


def tree(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(folder.rglob("*")) if p.is_file()}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Place:
    root = tmp_path / "episodes"
    for outcome in ("success", "success", "failure", "unlabeled"):
        made.write(root, made.rows(1.2), outcome=outcome)
    return Place("bag", root)


@pytest.mark.parametrize("to", ["reconvla", "lerobot"])
def test_the_bytes_do_not_depend_on_the_number_of_workers(place: Place, tmp_path: Path, to: str) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    convert(place, one, Options(to), 1)
    seen: list[tuple[int, int]] = []
    convert(place, two, Options(to), 2, lambda done, total: seen.append((done, total)))
    assert tree(one) == tree(two)
    assert seen
    assert seen[-1][0] >= 20


@pytest.mark.parametrize("to", ["reconvla", "lerobot"])
def test_a_run_that_was_cut_goes_on_and_ends_with_the_same_bytes(
    place: Place, tmp_path: Path, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    convert(place, whole, Options(to))
    real, steps, done = work.convert_episode, [0], []

    def interrupted(task: work.Task, step: Callable[[], None]) -> work.Record:
        def counted() -> None:
            steps[0] += 1
            if steps[0] == 18:  # within the second episode
                raise Cancelled("interrupted")

        done.append(task.info.name)
        return real(task, counted)

    monkeypatch.setattr(engine, "convert_episode", interrupted)
    with pytest.raises(Cancelled):
        convert(place, cut, Options(to))
    assert not cut.exists()
    assert len(done) == 2
    convert(place, cut, Options(to))
    assert len(done) == 3, "the finished episode was done again"
    assert tree(cut) == tree(whole)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut", "episodes", "whole"]


def test_other_options_do_not_take_over_what_was_done_before(place: Place, tmp_path: Path) -> None:
    out, part = tmp_path / "out", tmp_path / ".out.part"
    source = engine.open_source(place)
    todo = engine.plan(place, source, Options(quality=75), part)
    work.convert_episode(todo.tasks[0], lambda: None)
    convert(place, out, Options(quality=95))
    fresh = tmp_path / "fresh"
    convert(place, fresh, Options(quality=95))
    assert tree(out) == tree(fresh)


def test_a_full_disk_leaves_no_data_set_and_the_next_run_goes_on(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, real, count = tmp_path / "out", samples.Image.Image.save, [0]

    def full(*words: object, **more: object) -> None:
        count[0] += 1
        if count[0] == 15:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(*words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(samples.Image.Image, "save", full)
    with pytest.raises(DatasetError, match="No space left on device"):
        convert(place, out, Options())
    assert not out.exists()
    convert(place, out, Options())
    whole = tmp_path / "whole"
    convert(place, whole, Options())
    assert tree(out) == tree(whole)


def test_labels_decide_and_what_is_left_out_is_named(place: Place, tmp_path: Path) -> None:
    report = convert(place, tmp_path / "some", Options()).as_json()
    assert report["episodes"] == 2
    assert sorted(report["skipped"].values()) == [
        "labelled failure (--include failure takes it)", "labelled unlabeled (--include unlabeled takes it)"]  # fmt: skip
    every = convert(place, tmp_path / "all", Options(include=("failure", "unlabeled"))).as_json()
    assert every["episodes"] == 4
    assert not every["skipped"]


def test_a_broken_episode_is_left_out_by_name_and_the_rest_is_made(place: Place, tmp_path: Path) -> None:
    _, name = made.write(place.root, [row for row in made.rows(1.2) if row[1] != "joint_states"])
    report = convert(place, tmp_path / "out", Options()).as_json()
    assert report["skipped"][name] == "streams missing: joint_states"
    assert report["episodes"] == 2
    assert not (tmp_path / "out" / "images" / name).exists()


def test_people_may_be_left_out_or_alone(tmp_path: Path) -> None:
    rows = made.rows(2.0)
    rows += [(made.T0 + ms * 1_000_000, "arm/status", made.status(made.T0, who))
             for ms, who in ((50, "policy"), (800, "teleop"), (1200, "policy"))]  # fmt: skip
    made.write(tmp_path / "episodes", sorted(rows, key=lambda r: r[0]))
    place = Place("bag", tmp_path / "episodes")
    keep, drop, only = (convert(place, tmp_path / how, Options(interventions=how)).as_json()
                        for how in ("keep", "drop", "only"))  # fmt: skip
    assert keep["human"] == only["human"] == only["frames"] == drop["refused"]["human"] > 2
    assert drop["human"] == 0
    assert drop["frames"] + only["frames"] == keep["frames"]


def test_what_stands_in_the_way_is_said(place: Place, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(DatasetError, match="exists; nothing is overwritten"):
        convert(place, tmp_path / "there", Options())
    with pytest.raises(DatasetError, match=r"did you mean 'lerobot'\?"):
        Options("lerobt")
    with pytest.raises(DatasetError, match=r"quality: must be in 0\.\.100, got 101"):
        Options(quality=101)
    with pytest.raises(DatasetError, match="there are no episodes"):
        convert(Place("bag", tmp_path / "nowhere"), tmp_path / "out", Options())
    assert not (tmp_path / ".out.part").exists()
    with pytest.raises(DatasetError, match=r"whole number, got 7\.5 Hz"):
        convert(place, tmp_path / "out", Options("lerobot", rate=7.5))


def test_two_at_a_time_are_refused(place: Place, tmp_path: Path) -> None:
    part = tmp_path / ".out.part"
    part.mkdir()
    with (part / "lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(DatasetError, match="in use by another conversion"):
            convert(place, tmp_path / "out", Options())
