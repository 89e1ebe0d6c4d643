"""Corners to a fraction of a pixel, and why there are none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from reconvla_ros.calibration.board import BoardSpec
from reconvla_ros.calibration.detect import Detector, Grey, grey_of
from reconvla_ros.errors import ShapeError

SPEC = BoardSpec()
H = np.array([[1.9, 0.3, 60.0], [-0.2, 1.5, 90.0], [4e-4, 2e-4, 1.0]])  # of the flat board to the picture


def picture(spec: BoardSpec = SPEC) -> Grey:
    """A board seen at a slant."""
    flat = spec.charuco().generateImage((240, 160))
    return np.asarray(cv2.warpPerspective(flat, H, (640, 480), flags=cv2.INTER_AREA, borderValue=255), dtype=np.uint8)


def test_corners_are_where_they_were_drawn() -> None:
    found = Detector(SPEC).board(picture())
    assert found is not None and len(found.ids) == 15
    flat = SPEC.corners[found.ids][:, :2] / SPEC.square * 40 - 0.5
    true = np.column_stack([flat, np.ones(len(flat))]) @ H.T
    off = found.pixels - true[:, :2] / true[:, 2:]
    assert np.sqrt(np.mean(off**2)) < 0.4  # what drawing with 40 px a square leaves


def test_other_markers_are_found_apart_from_the_board() -> None:
    view = picture()
    view[400:460, 500:560] = 255
    view[408:452, 508:552] = cv2.aruco.generateImageMarker(SPEC.words, 40, 44)
    found = Detector(SPEC).markers(view)
    assert set(found) == {40}
    assert found[40].mean(axis=0) == pytest.approx([529.5, 429.5], abs=0.5)


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (np.full((480, 640), 128, np.uint8), "no marker is seen"),
        (
            picture(BoardSpec(dictionary="DICT_5X5_50")),
            "markers of DICT_5X5_50 are seen, not of DICT_4X4_50: another board?",
        ),
        (np.where(np.arange(640) < 190, picture(), 255).astype(np.uint8), "markers are seen clearly"),
    ],
)
def test_why_a_board_is_not_seen(view: Grey, words: str) -> None:
    detector = Detector(SPEC)
    assert detector.board(view) is None
    assert words in detector.why_not(view)


def test_a_row_of_corners_is_no_view_of_the_board() -> None:
    wide = BoardSpec(columns=12, rows=3)
    flat = wide.charuco().generateImage((960, 240))
    view = np.full((480, 1100), 255, np.uint8)
    view[100:222, 50:1010] = flat[:122]  # one row of inner corners
    assert Detector(wide).board(view) is None


def test_pictures_of_another_kind_are_refused() -> None:
    assert grey_of(np.zeros((4, 5, 3), np.uint8)).shape == (4, 5)
    with pytest.raises(ShapeError, match="expected uint8"):
        grey_of(np.zeros((4, 5, 4), np.uint8))
