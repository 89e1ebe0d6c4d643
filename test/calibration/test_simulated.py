"""Rendered pictures of a scene whose cameras sit elsewhere than nominal, end to end: calibrate, store, check, bump, check."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from reconvla_ros.calibration import store
from reconvla_ros.calibration.board import BoardSpec
from reconvla_ros.calibration.check import Verdict, check
from reconvla_ros.calibration.detect import Corners, Detector, Grey
from reconvla_ros.calibration.geometry import apart, matrix
from reconvla_ros.calibration.landmarks import Landmark
from reconvla_ros.calibration.run import Result, calibrate
from reconvla_ros.calibration.simulated import Studio, spec_of_scene
from reconvla_ros.calibration.trial import PLACES
from reconvla_ros.calibration.views import Views, sight
from reconvla_ros.camera.sim import mounting
from reconvla_ros.errors import CalibrationError, ConfigError
from reconvla_ros.sim.scenes import MARKERS

SPEC = spec_of_scene()


@pytest.fixture(scope="module")
def studio() -> Iterator[Studio]:
    made = Studio(3)
    yield made
    made.close()


@pytest.fixture(scope="module")
def views(studio: Studio) -> Views:
    return studio.table_views(6, PLACES[:2])


@pytest.fixture(scope="module")
def result(studio: Studio, views: Views) -> Result:
    return calibrate(views, SPEC, None, studio.blur(sight(views, Detector(SPEC))))


@pytest.fixture
def record(result: Result, views: Views, tmp_path: Path) -> store.Record:
    """As it comes back from the disk."""
    path = tmp_path / "calibration.yaml"
    assert store.write(path, store.cameras_of(result, views, "now"), result.landmarks, SPEC) is None
    return store.read(path)


def later(studio: Studio, views: Views, cameras: tuple[str, ...] = ("camera_base", "camera_wrist")) -> Views:
    moments = [studio.moment(str(k), views.moments[k].joints, "later", cameras) for k in (1, 4)]
    return Views({c: views.cameras[c] for c in cameras}, moments)


def test_the_board_of_the_scene_is_the_default_board() -> None:
    assert BoardSpec() == SPEC


def test_both_cameras_are_found_where_they_are(studio: Studio, result: Result) -> None:
    for report in result.cameras:
        before = apart(matrix(mounting(report.camera).pose), studio.truth(report.camera))
        far, turn = apart(report.transform, studio.truth(report.camera))
        assert before[0] > 0.01 and np.degrees(before[1]) > 1.0  # elsewhere than tf says
        assert far < 2e-3 and np.degrees(turn) < 0.3


def test_the_markers_of_the_table_are_located(result: Result) -> None:
    assert len(result.landmarks) >= 2
    for landmark in result.landmarks:
        x, y = next((x, y) for n, x, y in MARKERS if n == landmark.number)
        assert landmark.corners.mean(axis=0) == pytest.approx([x, y, 0.0012], abs=0.004)


def test_nothing_moved(studio: Studio, views: Views, record: store.Record) -> None:
    found = check(record, later(studio, views))
    assert found.verdict is Verdict.FITS, found.words
    assert all(f.mm < 1.5 for f in found.findings)


@pytest.mark.parametrize(("camera", "axis"), [("camera_base", (0.0, 0.0, 1.0)), ("camera_wrist", (1.0, 0.0, 0.0))])
def test_a_bumped_camera_is_named(
    studio: Studio, views: Views, record: store.Record, camera: str, axis: tuple[float, float, float]
) -> None:
    turn = np.radians(1.5) * np.array(axis)
    studio.bump(camera, (0.0, 0.0, 0.0), turn)
    try:
        found = check(record, later(studio, views))
    finally:
        studio.bump(camera, (0.0, 0.0, 0.0), -turn)
    assert found.verdict is Verdict.MOVED
    text = "\n".join(found.words)
    other = "camera_wrist" if camera == "camera_base" else "camera_base"
    assert f"{camera}: MOVED" in text or "one of them MOVED" in text
    assert f"{other}: MOVED" not in text
    assert "reconvla calibrate" in text


def test_the_board_is_compared_where_both_cameras_see_it(
    studio: Studio, views: Views, record: store.Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond what the wrist camera sees of it, its pose of the board is extrapolated."""
    now = Views(
        views.cameras, [studio.moment(str(k), views.moments[k].joints, "later") for k in (7, 10)]
    )  # the place it lies in
    assert any(f.thing == "board" for f in check(record, now).findings)
    wrist, whole = {id(m.pictures["camera_wrist"].grey) for m in now.moments}, Detector.board

    def halves(self: Detector, grey: Grey) -> Corners | None:
        found = whole(self, grey)
        if found is None:
            return None
        kept = found.ids < 8 if id(grey) in wrist else found.ids >= 8
        return Corners(found.ids[kept], found.pixels[kept])

    monkeypatch.setattr(Detector, "board", halves)
    assert not any(f.thing == "board" for f in check(record, now).findings)


def test_a_marker_that_was_moved_is_not_the_camera(studio: Studio, views: Views, record: store.Record) -> None:
    moved = [
        Landmark(m.number, m.corners + np.array([0.02, 0.0, 0.0]) * (k == 0), m.only)
        for k, m in enumerate(record.landmarks)
    ]
    found = check(store.Record(record.cameras, moved, SPEC), later(studio, views, ("camera_base",)))
    assert found.verdict is Verdict.FITS
    assert any(f"marker {moved[0].number} alone is" in w for w in found.words)


def test_nothing_in_view_is_no_verdict(studio: Studio, views: Views, record: store.Record) -> None:
    with pytest.raises(CalibrationError, match=r"nothing in view tells .* \(known: none\)"):
        check(store.Record(record.cameras, [], SPEC), later(studio, views, ("camera_base",)))


def test_another_camera_than_the_calibrated_one(record: store.Record, views: Views) -> None:
    from dataclasses import replace

    others = {c: replace(f, serial="999") for c, f in views.cameras.items()}
    with pytest.raises(CalibrationError, match="camera_base: calibrated was camera simulated, this is 999"):
        check(record, Views(others, []))


def test_the_file_keeps_other_cameras_and_the_one_before(result: Result, views: Views, tmp_path: Path) -> None:
    path, found = tmp_path / "calibration.yaml", store.cameras_of(result, views, "first")
    store.write(path, found, result.landmarks, SPEC)
    before = path.read_bytes()
    again = {"camera_base": store.cameras_of(result, views, "second")["camera_base"]}
    kept = store.write(path, again, result.landmarks, SPEC)
    assert kept is not None and kept.read_bytes() == before
    assert {n: c.date for n, c in store.read(path).cameras.items()} == {
        "camera_base": "second",
        "camera_wrist": "first",
    }
    path.write_text("format: 9")
    with pytest.raises(ConfigError):
        store.write(path, again, result.landmarks, SPEC)
    assert path.read_text() == "format: 9"


def test_a_board_in_the_gripper_finds_the_base_camera(studio: Studio) -> None:
    views = studio.held_views(8)
    (report,) = calibrate(views, SPEC, None, studio.blur(sight(views, Detector(SPEC)))).cameras
    far, turn = apart(report.transform, studio.truth("camera_base"))
    assert far < 2e-3 and np.degrees(turn) < 0.3
