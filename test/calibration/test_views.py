"""What is no view, by name."""

from __future__ import annotations

import math

import numpy as np
import pytest
from calibration_cases import FACTS, PINHOLE, SPEC

from reconvla_ros.calibration.detect import Detector
from reconvla_ros.calibration.views import HELD, Moment, Picture, Views, facts, sight, turn_spread
from reconvla_ros.errors import CalibrationError

BLANK = np.full((480, 640), 200, np.uint8)


def test_joints_that_are_not_finite() -> None:
    with pytest.raises(CalibrationError, match=r"view 7: joints\[2\]: must be finite, got nan"):
        Moment("7", np.array([0, 0, math.nan, 0, 0, 0]), 0, {})
    with pytest.raises(CalibrationError, match=r"view 7: joints: expected shape \(6,\)"):
        Moment("7", np.zeros(5), 0, {})


def test_a_picture_and_joints_that_are_apart() -> None:
    with pytest.raises(
        CalibrationError, match=r"view 3: picture of camera_base and joints are 0\.200 s apart, allowed 0\.05"
    ):
        Moment("3", np.zeros(6), 1_000_000_000, {"camera_base": Picture(BLANK, 1_200_000_000)})


def test_a_camera_without_intrinsics_or_of_another_name() -> None:
    with pytest.raises(CalibrationError, match="camera_base: no intrinsics"):
        facts("camera_base", None)
    with pytest.raises(CalibrationError, match="did you mean 'camera_wrist'"):
        facts("camera_wirst", PINHOLE)


def test_a_board_that_is_in_no_picture() -> None:
    views = Views(FACTS, [Moment("1", np.zeros(6), 0, {"camera_base": Picture(BLANK, 0)})])
    with pytest.raises(
        CalibrationError, match=r"is in none of 1 pictures; e\.g\. view 1, camera_base: no marker is seen"
    ):
        sight(views, Detector(SPEC))


def test_a_picture_of_another_size_than_the_intrinsics() -> None:
    views = Views(FACTS, [Moment("1", np.zeros(6), 0, {"camera_base": Picture(BLANK[:240], 0)})])
    with pytest.raises(CalibrationError, match="camera_base is 640x240, its intrinsics are for 640x480"):
        sight(views, Detector(SPEC))


def test_the_wrist_camera_learns_nothing_from_a_board_in_the_gripper() -> None:
    board = np.full((480, 640), 255, np.uint8)
    board[100:260, 100:340] = SPEC.charuco().generateImage((240, 160))
    pictures = {c: Picture(board, 0) for c in FACTS}
    found = sight(Views(FACTS, [Moment("1", np.zeros(6), 0, pictures, HELD)]), Detector(SPEC))
    assert [s.camera for s in found] == ["camera_base"]


def test_turning_about_one_axis_is_no_spread() -> None:
    from calibration_cases import pose

    one = [pose((0, 0, 0), (0, 0, a)) for a in np.linspace(-1, 1, 7)]
    two = [pose((0, 0, 0), (a, 0, b)) for a in (-0.3, 0.3) for b in (-0.3, 0.3)]
    assert turn_spread(one) == pytest.approx(0.0, abs=1e-9)
    assert turn_spread(two) == pytest.approx(0.3, rel=0.1)
    assert [turn_spread(two[:n]) for n in (0, 1, 2)] == [0.0, 0.0, 0.0]  # once an IndexError at the first view
