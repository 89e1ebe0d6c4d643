"""Bags as a source: what a frame says is what the messages say."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import made_episode as made
import numpy as np
import pytest
from source_contract import SourceContract, frames

from reconvla_ros.dataset.bag import BagSource
from reconvla_ros.dataset.frame import Frame, Refused, Request
from reconvla_ros.dataset.tracks import target_of
from reconvla_ros.errors import DatasetError, ReconVlaError
from reconvla_ros.recording.reading import read
from reconvla_ros.recording.repair import bag_file

MS = 1_000_000


class TestContract(SourceContract):
    @pytest.fixture
    def source(self, tmp_path: Path) -> BagSource:
        made.write(tmp_path)
        return BagSource(tmp_path)


def read_rows(tmp_path: Path, rows: list[made.Row], **request: object) -> tuple[list[Frame], Counter[str], BagSource]:
    _, name = made.write(tmp_path, rows)
    source = BagSource(tmp_path)
    found = list(source.frames(name, Request(**request)))  # type: ignore[arg-type]
    refused = Counter(f.reason for f in found if isinstance(f, Refused))
    return [f for f in found if isinstance(f, Frame)], refused, source


def without(rows: list[made.Row], topic: str, begin: float, end: float) -> list[made.Row]:
    low, high = made.T0 + round(begin * 1e9), made.T0 + round(end * 1e9)
    return [row for row in rows if not (row[1] == topic and low <= row[0] < high)]


def test_a_frame_holds_pictures_state_and_where_the_arm_was_sent(tmp_path: Path) -> None:
    found, refused, _ = read_rows(tmp_path, made.rows())
    assert refused == {"missing": 1}  # the first tick is before the first message has come
    frame = found[5]
    k = (frame.stamp_ns - made.T0) // (100 * MS)
    assert frame.base.shape == (6, 8, 3)
    assert (frame.base == 40 + k).all()
    assert frame.tcp.position[0] == pytest.approx(0.3 + 2e-4 * 5 * k)
    assert frame.joints is not None
    np.testing.assert_allclose(frame.joints, 0.1)
    # Targets of made_episode: from 0.2 s on, every 0.1 s, 1 mm further.
    np.testing.assert_allclose(frame.positions[:, 0], 0.3 + 1e-3 * (k + np.arange(1, 6) - 2), atol=1e-12)
    assert frame.opens.all()
    assert frame.commands is not None
    np.testing.assert_allclose(frame.commands.applied, [0.1] * 6 + [0.05], atol=1e-7)


def test_measured_actions_are_the_path_that_was_gone(tmp_path: Path) -> None:
    found, _, _ = read_rows(tmp_path, made.rows(), actions="measured")
    np.testing.assert_allclose(found[5].positions[:, 0], found[5].tcp.position[0] + 1e-3 * np.arange(1, 6), atol=1e-9)


def test_without_a_command_the_arm_holds_where_it_is(tmp_path: Path) -> None:
    rows = [row for row in made.rows() if row[1] != "arm/action_trace"]
    found, _, _ = read_rows(tmp_path, rows)
    np.testing.assert_allclose(found[5].positions[:, 0], found[5].tcp.position[0] + 1e-3 * np.arange(1, 6), atol=1e-9)
    assert found[5].commands is None


def test_a_refused_target_is_no_target(tmp_path: Path) -> None:
    rows = [(at, topic, made.trace(at, 0.5, 2) if topic == "arm/action_trace" else data)
            for at, topic, data in made.rows()]  # fmt: skip
    found, _, _ = read_rows(tmp_path, rows)
    assert max(f.positions[:, 0].max() for f in found) < 0.33


def test_traces_are_read_as_an_independent_reader_reads_them(tmp_path: Path) -> None:
    store, name = made.write(tmp_path)
    theirs = read(bag_file(store.root / name)).traces
    ours = [target_of(data) for _, topic, data in made.rows() if topic == "arm/action_trace"]
    assert len(ours) == len(theirs) > 5
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.commands.requested[:7], b.requested)
        np.testing.assert_array_equal(a.commands.filtered, np.append(b.filtered, b.filtered_gripper))
        np.testing.assert_array_equal(a.commands.applied[:6], b.applied)


@pytest.mark.parametrize("cut", [3, 40, 100, 200])
def test_a_trace_that_is_cut_off_is_refused(cut: int) -> None:
    with pytest.raises(ReconVlaError, match=r"cut off|not plain CDR"):
        target_of(made.trace(made.T0, 0.3)[:cut])


def test_joints_that_are_not_finite_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [(at, topic, made.joints(at - MS, math.nan) if topic == "joint_states" and 500 <= (at - made.T0) // MS < 900
             else data) for at, topic, data in made.rows()]  # fmt: skip
    found, refused, source = read_rows(tmp_path, rows)
    assert source.notes(source.infos()[0].name) == {"joint_states: not finite": 20}
    assert refused["stale"] >= 1
    assert all(np.isfinite(f.joints).all() for f in found if f.joints is not None)


def test_a_gap_in_the_pose_costs_the_frames_whose_steps_it_hides(tmp_path: Path) -> None:
    found, refused, _ = read_rows(tmp_path, without(made.rows(3.0), "arm/ee_pose", 1.0, 1.6), steps=2)
    assert refused["gap"] >= 1
    assert refused["stale"] >= 1
    assert any(f.at_ns > made.T0 + 2_000 * MS for f in found)


def test_a_camera_that_stalls_repeats_and_then_is_stale(tmp_path: Path) -> None:
    _, refused, _ = read_rows(tmp_path, without(made.rows(3.0), "camera_wrist/color/image_raw", 1.0, 2.0))
    assert refused["repeat"] >= 3  # the last pair is shown until it is too old
    assert refused["stale"] >= 1


def test_repeats_are_given_where_they_are_wanted(tmp_path: Path) -> None:
    rows = without(made.rows(3.0), "camera_wrist/color/image_raw", 1.0, 2.0)
    few, before, _ = read_rows(tmp_path, rows)
    many = [f for f in BagSource(tmp_path).frames(made_name(tmp_path), Request(repeats=2)) if isinstance(f, Frame)]
    assert before["repeat"] > 2
    assert len(many) == len(few) + 2


def made_name(root: Path) -> str:
    return BagSource(root).infos()[0].name


def test_skew_is_refused(tmp_path: Path) -> None:
    late = [(at, topic, made.image(at - 65 * MS) if topic == "camera_wrist/color/image_raw" else data)
            for at, topic, data in made.rows()]  # fmt: skip
    # Every second picture only: 60 ms apart and no nearer one in between.
    rows = [row for row in late if "color" not in row[1] or (row[0] - made.T0) // (100 * MS) % 2 == 0]
    found, refused, _ = read_rows(tmp_path, rows)
    assert not found
    assert refused["skew"] >= 5


def test_stamps_that_go_back_cut_the_episode_in_two(tmp_path: Path) -> None:
    early, late = made.rows(2.0), made.rows(2.0, begin=made.T0 - 10_000 * MS)
    jump = [(at + 12_000 * MS, topic, data) for at, topic, data in late]
    found, refused, source = read_rows(tmp_path, [*early, *jump])
    assert source.notes(made_name(tmp_path))["stamps went back"] >= 1
    assert refused["backwards"] >= 1
    # Nothing of before is used with anything of after: stamps after the jump are 12 s behind the clock, too old.
    assert all(f.at_ns < made.T0 + 2_000 * MS for f in found)
    assert refused["stale"] + refused["missing"] >= 10


def test_a_stream_that_is_missing_is_named(tmp_path: Path) -> None:
    rows = [row for row in made.rows() if row[1] not in ("arm/ee_pose", "camera_wrist/color/image_raw")]
    _, name = made.write(tmp_path, rows)
    with pytest.raises(DatasetError, match="streams missing: camera_wrist/color/image_raw, arm/ee_pose"):
        frames(BagSource(tmp_path), name)


def test_a_bag_that_was_cut_says_what_to_do(tmp_path: Path) -> None:
    made.write(tmp_path, change=made.crash)
    (info,) = BagSource(tmp_path).infos()
    assert "reconvla episodes recover" in info.problem


def test_a_damaged_bag_is_not_half_read(tmp_path: Path) -> None:
    store, name = made.write(tmp_path)
    file = bag_file(store.root / name)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)
    with pytest.raises(ReconVlaError, match="cannot be read"):
        frames(BagSource(tmp_path), name)


def test_who_had_the_arm(tmp_path: Path) -> None:
    rows = made.rows(2.0)
    status = [(made.T0 + ms * MS, "arm/status", made.status(made.T0 + ms * MS, who))
              for ms, who in ((100, "policy"), (800, "teleop"), (1200, "policy"))]  # fmt: skip
    found, _, _ = read_rows(tmp_path, sorted([*rows, *status], key=lambda r: r[0]))
    human = [(f.at_ns - made.T0) // MS for f in found if f.human]
    assert human
    assert min(human) >= 800
    assert max(human) <= 1210


def test_discarded_episodes_are_found_only_when_asked_for(tmp_path: Path) -> None:
    store, name = made.write(tmp_path)
    store.delete(name)
    assert BagSource(tmp_path).infos() == []
    (info,) = BagSource(tmp_path, discarded=True).infos()
    assert info.outcome == "discarded"
    assert len(frames(BagSource(tmp_path, discarded=True), name)) > 10


def test_the_gripper_command_is_the_last_that_was_one(tmp_path: Path) -> None:
    from reconvla_ros.dataset.tracks import Tracks

    tracks = Tracks()
    openings = [math.nan, 0.05, math.nan, math.nan, 0.0, math.nan]
    for k, opening in enumerate(openings):
        tracks.take_trace(made.trace(made.T0 + k * MS, 0.3, gripper=opening))
    asked = [tracks.grip(made.T0 + at * MS) for at in (5, 3, 0, 4, 1, 2, 5, 9)]
    assert asked == pytest.approx([0.0, 0.05, None, 0.0, 0.05, 0.05, 0.0, 0.0])
    assert tracks.grip(made.T0 - 1) is None


def test_a_trace_that_cannot_be_read_costs_the_frames_that_need_it(tmp_path: Path) -> None:
    rows = made.rows()
    place = [k for k, row in enumerate(rows) if row[1] == "arm/action_trace"][7]
    rows[place] = (*rows[place][:2], rows[place][2][:60])
    found, refused, _ = read_rows(tmp_path, rows)
    assert refused["unreadable"] >= 1
    assert len(found) > 8
