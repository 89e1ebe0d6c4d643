"""Gaze regions: found by stamp, cut to the picture, refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from reconvla_ros.dataset.gaze import Gaze, read_gaze
from reconvla_ros.errors import DatasetError

MS = 1_000_000


def write(folder: Path, **change: object) -> None:
    data = {"version": 1, "camera": "camera_base", "width": 8, "height": 6, "frames": [
        {"stamp_ns": 200 * MS, "box": None}, {"stamp_ns": 100 * MS, "box": [1, 2, 5, 5], "label": "lime"}]}  # fmt: skip
    (folder / "gaze.json").write_text(json.dumps(data | change))


def test_an_entry_is_found_by_its_stamp_within_fifty_milliseconds(tmp_path: Path) -> None:
    write(tmp_path)
    gaze = read_gaze(tmp_path)
    assert gaze is not None
    assert gaze.at(100 * MS) == gaze.at(60 * MS) == gaze.at(149 * MS) == (1.0, 2.0, 5.0, 5.0)
    assert gaze.at(49 * MS) is None
    assert gaze.at(200 * MS) is None  # nothing to look at
    assert read_gaze(tmp_path / "elsewhere") is None


def test_a_crop_is_whole_pixels_inside_the_picture() -> None:
    base = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    gaze = Gaze(8, 6, (), ())
    np.testing.assert_array_equal(gaze.crop(base, (1.2, 2.0, 4.5, 5.0)), base[2:5, 1:5])
    np.testing.assert_array_equal(gaze.crop(base, (-3.0, -3.0, 100.0, 100.0)), base)
    np.testing.assert_array_equal(Gaze(16, 12, (), ()).crop(base, (2.0, 4.0, 10.0, 10.0)), base[2:5, 1:5])
    with pytest.raises(DatasetError, match="0 x 3 pixels of it lie in the 8 x 6 image"):
        gaze.crop(base, (20.0, 1.0, 25.0, 4.0))


@pytest.mark.parametrize(("change", "words"), [
    ({"version": 2}, "version 2"), ({"frames": [{"stamp_ns": 1, "box": [5, 2, 1, 5]}]}, "x0 < x1"),
    ({"frames": [{"box": None}]}, "stamp_ns"), ({"width": 0}, "positive"),
    ({"frames": [{"stamp_ns": 1, "box": [0, 0, float("nan"), 5]}]}, "finite")])  # fmt: skip
def test_a_file_that_is_none_is_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    write(tmp_path, **change)
    with pytest.raises(DatasetError, match=words):
        read_gaze(tmp_path)
