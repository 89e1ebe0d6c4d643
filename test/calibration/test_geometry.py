"""Transforms, slopes against differences, and the closed form of hand-eye calibration."""

from __future__ import annotations

import numpy as np
import pytest
from calibration_cases import CAMERAS, PINHOLE, SPEC, pose
from scipy.optimize import approx_fprime
from scipy.spatial.transform import Rotation

from reconvla_ros.calibration import geometry as g

BOARD = pose((-0.1, 0.05, 0.5), (0.3, -0.4, 0.2))


def test_matrix_and_pose_and_inverse() -> None:
    assert g.matrix(g.pose_of(BOARD)) == pytest.approx(BOARD)
    assert g.inverse(BOARD) @ BOARD == pytest.approx(np.eye(4))
    far, turn = g.apart(BOARD, g.moved(BOARD, np.array([0.0, 0.1, 0.0, 0.003, 0.0, 0.004])))
    assert (far, turn) == pytest.approx((0.005, 0.1))


def test_pixels_and_bearings_undo_each_other() -> None:
    pixels = g.project(SPEC.corners, BOARD, PINHOLE)
    seen = SPEC.corners @ BOARD[:3, :3].T + BOARD[:3, 3]
    assert g.bearings(pixels, PINHOLE) == pytest.approx(seen[:, :2] / seen[:, 2:], abs=1e-6)


def test_slope_is_the_derivative_of_project() -> None:
    def shifted(by: np.ndarray) -> np.ndarray:
        moved = BOARD.copy()
        moved[:3, 3] += by
        return g.project(SPEC.corners, moved, PINHOLE).ravel()

    numeric = np.array([approx_fprime(np.zeros(3), lambda s, k=k: shifted(s)[k], 1e-7) for k in range(30)])
    assert g.slope(SPEC.corners, BOARD, PINHOLE).reshape(-1, 3) == pytest.approx(numeric, abs=0.01, rel=1e-4)


@pytest.mark.parametrize("step", [np.zeros(6), np.array([0.3, -0.2, 0.4, 0.1, 0.05, -0.02])])
def test_step_slope_is_the_derivative_of_moved(step: np.ndarray) -> None:
    here = g.moved(BOARD, step)
    for k in range(6):
        more = step.copy()
        more[k] += 1e-6
        change = g.inverse(here) @ g.moved(BOARD, more)
        numeric = np.concatenate([Rotation.from_matrix(change[:3, :3]).as_rotvec(), change[:3, 3]]) / 1e-6
        assert g.step_slope(step)[:, k] == pytest.approx(numeric, abs=1e-5)


def test_the_board_pose_is_found_from_one_picture_and_its_mirror_image_comes_second() -> None:
    found = g.board_poses(SPEC.corners, g.project(SPEC.corners, BOARD, PINHOLE), PINHOLE)
    assert found[0] == pytest.approx(BOARD, abs=1e-4)
    assert len(found) == 2


def test_hand_eye_finds_both_unknowns() -> None:
    rng = np.random.default_rng(1)
    x, y = CAMERAS["camera_wrist"], pose((0.3, 0.0, 0.0), (3.0, 0.1, 0.4))
    movers = [pose(rng.uniform(-0.3, 0.3, 3), rng.uniform(-0.8, 0.8, 3)) for _ in range(6)]
    boards = [g.inverse(m @ x) @ y for m in movers]
    for found, true in zip(g.hand_eye(movers, boards), (x, y), strict=True):
        assert found == pytest.approx(true, abs=1e-6)
