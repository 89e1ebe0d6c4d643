"""The estimator on made-up tracks: known skew, noise of pixels, and everything that must be refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from reconvla_ros.calibration.board import BoardSpec
from reconvla_ros.calibration.geometry import bearings, board_poses, inverse, project
from reconvla_ros.calibration.skew import Glimpse, Skew, Tracker, estimate
from reconvla_ros.calibration.skew_simulated import Hand, late
from reconvla_ros.errors import CalibrationError
from reconvla_ros.types import CameraIntrinsics, Float

CAMERA = CameraIntrinsics(640, 480, 600.0, 600.0, 319.5, 239.5)
SPEC = BoardSpec()
NOISE = 0.3  # [px]
Motion = Callable[[float], Float]


def at(place: tuple[float, float, float], turn: tuple[float, float, float] = (0, 0, 0)) -> Float:
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = Rotation.from_euler("xyz", turn).as_matrix(), place
    return made


FIRST, SECOND = at((0.0, 0.0, -0.7), (0.1, 0.0, 0.0)), at((0.25, 0.05, -0.6), (0.0, -0.4, 0.5))


def hand(seed: int) -> Motion:
    moved = Hand(seed)

    def board(time: float) -> Float:
        place, (w, x, y, z) = moved.board(time)
        made = np.eye(4)
        made[:3, :3] = Rotation.from_quat([x, y, z, w]).as_matrix()
        made[:3, 3] = (place - [0.33, -0.04, 0.02]) * 1.5 - SPEC.centre
        return made

    return board


def track(board: Motion, camera: Motion, seed: int, seconds: float = 4.0) -> list[Glimpse]:
    """What a camera at `camera(t)` sees of a board at `board(t)`, 30 Hz with jitter."""
    rng, made = np.random.default_rng(seed), []
    for time in rng.uniform(0, 1 / 30) + np.arange(0, seconds, 1 / 30) + rng.normal(0, 0.002, round(seconds * 30)):
        pixels = project(SPEC.corners, inverse(camera(time)) @ board(time), CAMERA)
        pixels += rng.normal(0, NOISE, pixels.shape)
        pose = board_poses(SPEC.corners, pixels, CAMERA)[0]
        made.append(Glimpse(time, pose, SPEC.corners, bearings(pixels, CAMERA)))
    return made


def still(pose: Float) -> Motion:
    return lambda time: pose


def found(board: Motion, skew: float = 0.0, second: Motion | None = None, seconds: float = 3.0) -> Skew:
    first = track(board, still(FIRST), 101, seconds)
    return estimate(first, late(track(board, second or still(SECOND), 202, seconds), skew), CAMERA.fx)


@pytest.fixture(scope="module")
def waved() -> tuple[list[Glimpse], list[Glimpse]]:
    return track(hand(3), still(FIRST), 1), track(hand(3), still(SECOND), 2)


@pytest.mark.parametrize("skew", [0.0, 0.007, 0.02, 0.05, -0.02, 0.2])
def test_an_injected_skew_is_found(waved: tuple[list[Glimpse], list[Glimpse]], skew: float) -> None:
    result = estimate(waved[0], late(waved[1], skew), CAMERA.fx)
    assert abs(result.skew - skew) < 0.001
    assert abs(result.skew - skew) < 5 * result.spread, "it knows how well it knows"
    assert result.left_px < 1.5


def test_the_spread_is_honest() -> None:
    """Errors over several motions are as large as told."""
    errors, told = [], []
    for seed in range(5):
        first, second = track(hand(seed), still(FIRST), 100 + seed), track(hand(seed), still(SECOND), 200 + seed)
        result = estimate(first, late(second, 0.01), CAMERA.fx)
        errors.append(result.skew - 0.01)
        told.append(result.spread)
    assert 0.3 < np.sqrt(np.mean(np.square(np.array(errors) / told))) < 2.0


def test_pictures_that_are_lost_and_poses_that_are_mirrored_do_no_harm(
    waved: tuple[list[Glimpse], list[Glimpse]],
) -> None:
    first, second = waved[0], late(waved[1], 0.02)
    del second[40:48]
    for k in range(5, len(second), 11):
        pose = second[k].pose.copy()
        pose[:3, :3] = pose[:3, :3] @ Rotation.from_rotvec([0.5, 0, 0]).as_matrix()
        second[k] = Glimpse(second[k].stamp, pose, second[k].corners, second[k].rays)
    assert abs(estimate(first, second, CAMERA.fx).skew - 0.02) < 0.003


def test_a_picture_that_comes_twice_counts_once() -> None:
    picture = SPEC.charuco().generateImage((600, 400), marginSize=20)
    glimpses = Tracker(SPEC, CAMERA).track([(5, picture), (3, picture), (5, picture)])
    assert [round(g.stamp * 1e9) for g in glimpses] == [3, 5]


def test_a_board_that_rests_or_glides_evenly_says_nothing() -> None:
    for board in (still(at((-0.1, -0.1, 0.0))), lambda t: at((0.02 * t - 0.1, -0.1, 0.0))):
        with pytest.raises(CalibrationError, match=r"hardly moved|move the board (faster|less)"):
            found(board)


def test_a_regular_motion_is_ambiguous() -> None:
    with pytest.raises(CalibrationError, match="fit nearly alike; move the board less regularly"):
        found(lambda t: at((0.05 * np.sin(2 * np.pi * t / 0.4) - 0.1, -0.1, 0.0)), skew=0.2)


def test_a_camera_that_moves_is_noticed() -> None:
    with pytest.raises(CalibrationError, match="px are left, allowed 3: a camera moved"):
        found(hand(3), second=lambda t: SECOND @ at((0.0, 0.0, 0.0), (0.0, 0.05 * t, 0.0)))


def test_too_few_pictures() -> None:
    glimpses = track(hand(3), still(FIRST), 1, seconds=1.0)
    with pytest.raises(CalibrationError, match=r"30 and 30 pictures show it, \d+ of the first .*, 40 are needed"):
        estimate(glimpses, glimpses, CAMERA.fx)
    with pytest.raises(CalibrationError, match="0 and 30 pictures"):
        estimate([], glimpses, CAMERA.fx)
    with pytest.raises(CalibrationError, match="30 and 0 pictures"):
        estimate(glimpses, [], CAMERA.fx)
