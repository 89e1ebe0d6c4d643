"""Both sides of `bench convert` do the same work on the same made-up episode."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from reconvla_ros.recording.reading import read
from reconvla_ros.recording.repair import bag_file

pytest.importorskip("rosbags")

from reconvla_ros.bench.convert_bench import ours, plain
from reconvla_ros.bench.convert_traffic import write_episodes


def test_both_sides_make_the_same_pictures_and_targets(tmp_path: Path) -> None:
    size = write_episodes(tmp_path / "e", 1, 1.2)
    (folder,) = (tmp_path / "e").iterdir()
    contents = read(bag_file(folder))
    assert not contents.broken
    assert contents.counts["camera_base/color/image_raw"] == 36
    assert size > 90e6
    theirs = plain(tmp_path / "e", tmp_path / "plain")
    mine = ours(tmp_path / "e", tmp_path / "ours", 1)
    assert abs(theirs - mine) <= 1
    assert mine >= 10
    rows = pq.read_table(tmp_path / "plain" / folder.name / "rows.parquet").to_pylist()
    samples = json.loads((tmp_path / "ours" / "samples.json").read_text())
    row, sample = rows[3], samples[3]
    with Image.open(row["image"]) as a, Image.open(tmp_path / "ours" / sample["image"]) as b:
        assert a.size == b.size == (334, 334)
        assert abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).max() < 60
    # Targets lead the arm by a centimetre, which is half a unit, and creep on.
    assert sample["actions"][0][0] == pytest.approx(0.5, abs=0.6)
    assert row["actions"][0] == pytest.approx(sample["state"][0] + 0.01, abs=0.03)
