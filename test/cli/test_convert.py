"""`reconvla convert` and `reconvla import` as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import made_episode as made
import pytest
from bridge_records import episode
from PIL import Image

from reconvla_ros.cli.convert import place_of
from reconvla_ros.cli.main import main
from reconvla_ros.dataset import tfrecord
from reconvla_ros.errors import DatasetError


def test_convert_makes_a_data_set_and_says_what_was_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made.write(tmp_path / "e")
    made.write(tmp_path / "e", outcome="failure")
    sheet, report = tmp_path / "s.png", tmp_path / "r.json"
    words = ["convert", str(tmp_path / "e"), "--to", "reconvla", "--out", str(tmp_path / "out"), "--workers", "1"]
    assert main([*words, "--sheet", str(sheet), "--json", str(report)]) == 0
    said = capsys.readouterr().out
    assert "labelled failure (--include failure takes it)" in said
    assert "19 samples without a gaze region" in said
    assert json.loads(report.read_text())["frames"] == 19
    with Image.open(sheet) as picture:
        assert picture.width > 500
        assert len(picture.convert("RGB").getcolors(1 << 20) or ()) > 20
    assert main(words) == 2
    assert "exists; nothing is overwritten" in capsys.readouterr().err


def test_import_takes_record_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tfrecord.write(tmp_path / "x-train.tfrecord-00000-of-00001", [episode(), episode()])
    words = ["import", "--from", "bridge", str(tmp_path), "--out", str(tmp_path / "out"), "--workers", "1"]
    assert main([*words, "--episode", "x-train-00000-00001"]) == 0
    assert "7 frames of 1 episodes" in capsys.readouterr().out
    assert main(["import", "--from", "bridge", str(tmp_path), "--out", str(tmp_path / "b"), "--episode", "x"]) == 2
    assert "episode 'x' (valid: x-train-00000-00000" in capsys.readouterr().err


def test_episodes_are_named_by_folder_by_path_or_by_name(tmp_path: Path) -> None:
    store, first = made.write(tmp_path)
    _, second = made.write(tmp_path)
    assert place_of([str(tmp_path)], None, False).names == ()
    assert place_of([str(tmp_path / first)], None, False).names == (first,)
    assert place_of([second, first], tmp_path, False).names == (second, first)
    assert place_of(["last"], tmp_path, False).names == (store.names()[-1],)
    with pytest.raises(DatasetError, match="neither a folder nor an episode"):
        place_of(["nothing"], tmp_path, False)
    with pytest.raises(DatasetError, match="must lie in one folder"):
        place_of([str(tmp_path), str(tmp_path.parent)], None, False)
