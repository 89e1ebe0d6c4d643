"""`reconvla calibrate` on files: prints boards, stores, checks, and says what is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from reconvla_ros.calibration import folder
from reconvla_ros.calibration.simulated import Studio
from reconvla_ros.calibration.trial import PLACES
from reconvla_ros.calibration.views import Views
from reconvla_ros.camera.extrinsics import read_cameras
from reconvla_ros.cli import calibrate
from reconvla_ros.cli.main import main


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered views of two places of the board, and in `later` two with the base camera bumped."""
    where = tmp_path_factory.mktemp("calibration")
    studio = Studio(5)
    made = studio.table_views(6, PLACES[:2])
    folder.save(where / "views", made)
    studio.bump("camera_base", (0.0, 0.0, 0.0), (0.0, 0.0, 0.03))
    moments = [studio.moment(str(k), made.moments[k].joints, "later") for k in (1, 4)]
    folder.save(where / "later", Views(made.cameras, moments))
    studio.close()
    return where


def test_a_folder_becomes_a_calibration_and_a_bump_is_seen(
    views: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, report = tmp_path / "new" / "calibration.yaml", tmp_path / "report.json"
    stored = ["--output", str(output)]
    assert main(["calibrate", "--folder", str(views / "views"), *stored, "--json", str(report)]) == 0
    shown = capsys.readouterr().out
    assert "camera_wrist: in link6 at" in shown and "standard deviation" in shown and f"calibration:={output}" in shown
    assert set(read_cameras(output)) == {"camera_base", "camera_wrist"}
    found = json.loads(report.read_text())
    assert len(found["views"]) >= 20 and found["board_scale"] == pytest.approx(1.0, abs=0.01)
    assert main(["calibrate", "--check", "--folder", str(views / "views"), *stored]) == 0
    assert main(["calibrate", "--check", "--folder", str(views / "later"), *stored, "--json", str(report)]) == 1
    assert "camera_base: MOVED" in capsys.readouterr().out
    assert json.loads(report.read_text())["moved"] is True


def test_one_camera_alone_and_nothing_written(views: Path, tmp_path: Path) -> None:
    output = tmp_path / "calibration.yaml"
    words = ["--folder", str(views / "views"), "--output", str(output), "--camera", "camera_wrist"]
    assert main(["calibrate", *words, "--no-write"]) == 0
    assert not output.exists()
    assert main(["calibrate", *words]) == 0
    assert set(read_cameras(output)) == {"camera_wrist"}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--square-mm", "44", "--marker-mm", "33.2"], "told 44 mm; measure the print"),
        (["--dictionary", "DICT_5X5_50"], "markers of DICT_4X4_50 are seen, not of DICT_5X5_50"),
        (["--camera", "camera_base"], "camera_base: the board lay on the table"),
        (["--max-residual", "0.01"], "px, allowed 0.01"),
        (["--squares", "6by4"], "COLUMNSxROWS"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    views: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], why: str
) -> None:
    output = tmp_path / "calibration.yaml"
    assert main(["calibrate", "--folder", str(views / "views"), "--output", str(output), *words]) == 2
    assert why in capsys.readouterr().err
    assert not output.exists()


def test_too_few_views_and_a_missing_calibration(
    views: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few"
    shutil.copytree(views / "views", few)
    data = yaml.safe_load((few / "views.yaml").read_text())
    data["views"] = data["views"][:4]
    (few / "views.yaml").write_text(yaml.safe_dump(data))
    assert main(["calibrate", "--folder", str(few), "--no-write"]) == 2
    assert "too few views" in capsys.readouterr().err
    assert main(["calibrate", "--check", "--folder", str(few), "--output", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml does not exist" in capsys.readouterr().err


def test_the_board_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--print-board", str(tmp_path / "board.pdf"), "--squares", "5x4"]) == 0
    assert (tmp_path / "board.pdf").stat().st_size > 1000
    assert "5x4 squares, 45/34 mm" in capsys.readouterr().out
    assert main(["calibrate", "--print-board", str(tmp_path / "board.pdf"), "--squares", "9x4"]) == 2
    assert "does not fit A4" in capsys.readouterr().err


def test_simulated_runs_are_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--sim", "--seeds", "0"]) == 2
    assert "--seeds must be in 1..1000" in capsys.readouterr().err
    words = ["--squares", "7x5", "--square-mm", "30", "--marker-mm", "22"]
    assert calibrate.board_of(calibrate._parser().parse_args(words)).columns == 7
