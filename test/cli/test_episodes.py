"""`reconvla episodes` on episodes made without ROS."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("rosbags")
import made_episode as made
import numpy as np
from PIL import Image

from reconvla_ros.cli.main import main
from reconvla_ros.recording.bag import BagWriter


def run(root: Path, *words: str) -> int:
    return main(["episodes", words[0], "--folder", str(root), *words[1:]])


def test_list_tells_state_flags_and_trash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, good = made.write(tmp_path, quality={"flags": ["gap"]}, dropped={"/tf": 2}, interventions=[["teleop", 0.1, 0.5]])
    _, cut = made.write(tmp_path, change=made.crash)
    assert run(tmp_path, "list", "--json", str(tmp_path / "list.json")) == 0
    rows = {row["name"]: row for row in json.loads((tmp_path / "list.json").read_text())}
    assert (rows[good]["state"], rows[cut]["state"]) == ("ok", "cut")
    assert rows[good]["flags"] == ["gap", "2 lost", "1 interventions"]
    assert run(tmp_path, "delete", cut) == 0
    capsys.readouterr()
    run(tmp_path, "list")
    assert "1 episodes in" in (out := capsys.readouterr().out)
    assert "1 in the trash" in out


def test_show_draws_pictures_and_curves(tmp_path: Path) -> None:
    _, name = made.write(tmp_path)
    picture = tmp_path / "p.png"
    assert run(tmp_path, "show", "last", "--output", str(picture)) == 0
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert pixels.shape[0] > 600
    assert pixels.shape[1] > 900
    # The first and the last picture of a camera are grey 40 and 59 of 255; both are on the sheet.
    grey = pixels[(pixels == pixels[..., :1]).all(axis=-1)][:, 0]
    shown = np.bincount(grey, minlength=256)
    assert min(shown[40], shown[59]) > 1000
    assert run(tmp_path, "show", name) == 0
    assert (tmp_path / name / "show.png").is_file()


def test_relabel_delete_restore_purge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, name = made.write(tmp_path, outcome="unlabeled")
    assert run(tmp_path, "relabel", "last", "--outcome", "success", "--tag", "good") == 0
    assert json.loads((tmp_path / name / "episode.json").read_text())["outcome"] == "success"
    assert run(tmp_path, "relabel", "last") == 2
    assert run(tmp_path, "delete", str(tmp_path / name)) == 0
    assert run(tmp_path, "restore", name) == 0
    assert (tmp_path / name).is_dir()
    run(tmp_path, "delete", "all")
    assert run(tmp_path, "purge") == 0
    assert run(tmp_path, "delete", "last") == 2
    assert "no episodes in" in capsys.readouterr().err


def test_verify_has_an_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made.write(tmp_path)
    assert run(tmp_path, "verify", "all", "--verbose") == 0
    assert "every checksum fits" in capsys.readouterr().out
    made.write(tmp_path, outcome="unlabeled")
    assert run(tmp_path, "verify", "all") == 0
    assert run(tmp_path, "verify", "all", "--strict", "--json", str(tmp_path / "v.json")) == 1
    assert [v["flawless"] for v in json.loads((tmp_path / "v.json").read_text())] == [True, False]
    made.write(tmp_path, [row for row in made.rows() if row[1] != "joint_states"])
    assert run(tmp_path, "verify", "all") == 1
    assert "missing" in capsys.readouterr().out


def test_recover_mends_what_needs_it_and_leaves_what_is_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made.write(tmp_path)
    made.write(tmp_path, change=made.crash)
    held: list[BagWriter] = []
    _, open_one = made.write(tmp_path, change=held.append)
    assert run(tmp_path, "recover") == 0
    out = capsys.readouterr().out
    assert out.count("recovered: ") == 1
    assert f"{open_one}: is being recorded; left alone" in out
    assert run(tmp_path, "delete", open_one) == 2
    held[0].close()
    assert run(tmp_path, "recover", "all") == 0
    assert run(tmp_path, "verify", "all") == 0


def test_names_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, name = made.write(tmp_path)
    assert run(tmp_path, "show", name[:-1]) == 2
    assert f"did you mean '{name}'" in capsys.readouterr().err
    assert run(tmp_path, "replay", "all", name) == 2
    assert "replay takes one episode, got 2" in capsys.readouterr().err
