"""Views on disk come back as they were; a folder that is none says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from calibration_cases import FACTS

from reconvla_ros.calibration.folder import load, save
from reconvla_ros.calibration.views import Moment, Picture, Views
from reconvla_ros.errors import CalibrationError


def made() -> Views:
    grey = np.random.default_rng(0).integers(0, 255, (480, 640), dtype=np.uint8)
    pictures = {"camera_base": Picture(grey, 1_010_000_000), "camera_wrist": Picture(grey[::-1], 1_020_000_000)}
    return Views(
        FACTS, [Moment("first", np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), 1_000_000_000, pictures, "table-2")], 0
    )


def edited(folder: Path, change: Any) -> Path:
    save(folder, made())
    index = folder / "views.yaml"
    data = yaml.safe_load(index.read_text())
    change(data)
    index.write_text(yaml.safe_dump(data))
    return folder


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    save(tmp_path / "views", made())
    found, true = load(tmp_path / "views"), made()
    assert found.variant == 0 and found.cameras["camera_wrist"].serial == "222"
    assert found.cameras["camera_base"].parent == "base_link"
    assert found.cameras["camera_base"].intrinsics.distortion == pytest.approx(
        FACTS["camera_base"].intrinsics.distortion
    )
    moment = found.moments[0]
    assert (moment.name, moment.place, moment.stamp_ns) == ("first", "table-2", 1_000_000_000)
    assert moment.joints == pytest.approx(true.moments[0].joints, abs=1e-7)
    for camera, picture in true.moments[0].pictures.items():
        assert np.array_equal(moment.pictures[camera].grey, picture.grey)
        assert moment.pictures[camera].stamp_ns == picture.stamp_ns


def test_a_folder_that_holds_something_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(CalibrationError, match="is not empty"):
        save(tmp_path, made())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda d: d["views"][0].update(joints=[0, 0, float("nan"), 0, 0, 0]),
            r"view first: joints\[2\]: must be finite",
        ),
        (lambda d: d["views"][0].update(stamp_ns=0), r"are 1\.010 s apart, allowed 0\.05"),
        (lambda d: d["cameras"].update(camera_base=None), "camera_base: no intrinsics"),
        (lambda d: d["cameras"]["camera_base"].pop("fx"), "camera_base lacks fx"),
        (lambda d: d["cameras"]["camera_base"].update(fx=-1.0), "must be positive"),
        (lambda d: d["views"][0].update(joint=1), "view 0 has unknown joint"),
        (lambda d: d["views"][0]["pictures"]["camera_base"].update(file="gone.png"), "gone.png is not there"),
        (lambda d: d.update(dh_variant=2), "dh_variant must be 0 or 1"),
        (lambda d: d.pop("views"), "the file lacks views"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: Any, words: str) -> None:
    with pytest.raises(CalibrationError, match=words):
        load(edited(tmp_path / "views", change))


def test_a_folder_without_an_index(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"views\.yaml does not exist"):
        load(tmp_path)
