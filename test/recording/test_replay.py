"""What a replay asks for, and the comparison of two paths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags")
import made_episode as made

from reconvla_ros.errors import RecordingError
from reconvla_ros.recording.reading import read
from reconvla_ros.recording.repair import bag_file
from reconvla_ros.recording.replay import Plan, compare, plan


def planned(root: Path, rows: list[made.Row] | None = None) -> Plan:
    store, name = made.write(root, rows)
    return plan(read(bag_file(store.root / name), images=False))


def test_the_plan_holds_what_was_let_through_at_its_pace(tmp_path: Path) -> None:
    rows = made.rows()
    late = made.T0 + 1_750_000_000
    rows = sorted([*rows, (late, "arm/action_trace", made.trace(late, 9.0, verdict=2))])
    found = planned(tmp_path, rows)
    assert found.times.tolist() == pytest.approx([0.1 * k for k in range(15)])
    assert found.poses[:, 0].tolist() == pytest.approx([0.3 + 1e-3 * k for k in range(15)])
    assert found.refused == 1
    assert found.start[0] == pytest.approx(0.302)
    assert found.opening == pytest.approx(0.1)
    assert found.duration == pytest.approx(1.4)


def test_without_targets_there_is_nothing_to_replay(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"nothing to replay; the bag holds arm/ee_pose"):
        planned(tmp_path, [row for row in made.rows() if row[1] != "arm/action_trace"])


def test_deviation_is_measured_at_the_same_times(tmp_path: Path) -> None:
    wanted = planned(tmp_path)
    times = wanted.path_times[::3] + 0.004
    shifted = np.stack([np.interp(times, wanted.path_times, wanted.path[:, k]) for k in range(7)], axis=1)
    shifted[:, 1] += 0.003
    found = compare(wanted, times, shifted)
    assert (found.rms, found.largest) == (pytest.approx(0.003), pytest.approx(0.003))
    assert found.largest_angle == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(RecordingError, match="does not overlap"):
        compare(wanted, times + 100.0, shifted)
