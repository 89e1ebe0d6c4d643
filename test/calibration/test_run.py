"""From views to a result; everything that speaks against it is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from calibration_cases import CAMERAS, SPEC, make

from reconvla_ros.calibration.detect import Corners
from reconvla_ros.calibration.geometry import apart
from reconvla_ros.calibration.run import Rules, calibrate
from reconvla_ros.calibration.views import Sighting, Views
from reconvla_ros.errors import CalibrationError

ALIKE = Rules(turn=float(np.radians(5.0)))  # made-up views of one place turn a little less than is wanted


def test_a_report_per_camera_and_per_view() -> None:
    problem, views, _ = make(8, ("table-1", "table-2"), noise=0.2, joint_noise=1e-4)
    result = calibrate(views, SPEC, None, problem.sightings)
    assert [c.camera for c in result.cameras] == ["camera_base", "camera_wrist"] and len(result.rows) == 32
    for report in result.cameras:
        far, turn = apart(report.transform, CAMERAS[report.camera])
        assert far < 2e-3 and np.degrees(turn) < 0.3
        assert 0.1 < report.px < 0.6 and 0.0 < report.spread_mm < 2.0 and report.views == 16
    assert result.scale == pytest.approx(1.0, abs=0.005)
    assert any("no single marker" in note for note in result.notes)


def test_one_place_of_the_board_is_remarked() -> None:
    problem, views, _ = make(12, noise=0.2)
    assert any("one place of the board" in n for n in calibrate(views, SPEC, ALIKE, problem.sightings).notes)


def test_too_few_views() -> None:
    problem, views, _ = make(4)
    with pytest.raises(CalibrationError, match=r"too few views.*in 4 pictures.*6 are needed"):
        calibrate(views, SPEC, None, problem.sightings)


def test_views_that_are_too_much_alike() -> None:
    joints = make(1)[2][0] + np.outer(np.linspace(-0.2, 0.2, 8), (0.0, 0.0, 0.0, 0.0, 0.0, 1.0))  # only joint 6 turns
    problem, views, _ = make(8, joints=joints)
    with pytest.raises(CalibrationError, match=r"too much alike: the flange turned by 0\.0 deg .* 8 are needed"):
        calibrate(views, SPEC, None, problem.sightings)


def test_a_board_of_another_size_than_told() -> None:
    problem, views, _ = make(12, size=0.97, noise=0.1)
    with pytest.raises(CalibrationError, match=r"its squares measure 43\.6\d mm .* told 45 mm; measure the print"):
        calibrate(views, SPEC, ALIKE, problem.sightings)


def test_views_that_do_not_agree() -> None:
    problem, views, _ = make(12, noise=3.0)
    with pytest.raises(CalibrationError, match=r"camera_(base|wrist): residual .* px, allowed 1"):
        calibrate(views, SPEC, Rules(scale=1.0, turn=ALIKE.turn), problem.sightings)


def test_a_camera_that_never_saw_the_board() -> None:
    problem, views, _ = make(8)
    mine = [s for s in problem.sightings if s.camera == "camera_wrist"]
    with pytest.raises(
        CalibrationError, match=r"camera_base: the board is in none of its pictures.*--camera camera_wrist"
    ):
        calibrate(views, SPEC, None, mine)


def test_a_board_that_moved_between_views_is_no_calibration() -> None:
    """Half of the views of the board elsewhere, and nobody said so."""
    problem, views, _ = make(8, ("table-1", "table-2"))
    said = [Sighting(s.camera, s.moment, "table", Corners(s.corners.ids, s.corners.pixels)) for s in problem.sightings]
    with pytest.raises(CalibrationError):
        calibrate(Views(views.cameras, views.moments), SPEC, None, said)
