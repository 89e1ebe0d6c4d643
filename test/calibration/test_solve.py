"""The joint solve on projected corners: exact without noise, honest with it, deaf to outliers."""

from __future__ import annotations

import numpy as np
import pytest
from calibration_cases import CAMERAS, make

from reconvla_ros.calibration import solve as s
from reconvla_ros.calibration.closed_form import Problem, begin
from reconvla_ros.calibration.detect import Corners
from reconvla_ros.calibration.geometry import apart
from reconvla_ros.calibration.views import HELD, Sighting
from reconvla_ros.errors import CalibrationError


@pytest.mark.parametrize(
    ("places", "cameras"),
    [
        (("table",), ("camera_base", "camera_wrist")),
        (("table-1", "table-2"), ("camera_base", "camera_wrist")),
        ((HELD,), ("camera_base",)),
        (("table", HELD), ("camera_base", "camera_wrist")),
    ],
)
def test_without_noise_every_camera_is_exact(places: tuple[str, ...], cameras: tuple[str, ...]) -> None:
    problem, _, _ = make(8, places, cameras=cameras)
    solution = s.solve(problem)
    assert set(solution.cameras) == set(cameras) and set(solution.boards) == set(places)
    for camera in cameras:
        assert solution.cameras[camera] == pytest.approx(CAMERAS[camera], abs=1e-6)
    assert not solution.dropped


def test_slopes_are_the_derivative_of_the_residuals() -> None:
    problem, _, _ = make(3, ("table", HELD), noise=0.3)
    fit = s._Fit(problem, *begin(problem), list(problem.sightings), with_scale=True)
    at = np.random.default_rng(0).normal(0.0, 0.02, fit.size)
    numeric = np.array([
        (fit.flat(at + 1e-6 * e) - fit.flat(at - 1e-6 * e)) / 2e-6 for e in np.eye(fit.size)
    ]).T  # fmt: skip
    slopes = fit.slopes(at)
    assert np.abs(slopes - numeric).max() < 1e-4 * np.abs(numeric).max()


def test_the_stated_spread_is_that_of_the_errors() -> None:
    """Errors of 8 runs over the standard deviation stated: one, within what 8 runs tell."""
    ratios = []
    for seed in range(8):
        solution = s.solve(make(12, noise=0.2, joint_noise=2e-4, seed=seed)[0])
        off = apart(solution.cameras["camera_wrist"], CAMERAS["camera_wrist"])[0]
        ratios.append(off / np.sqrt(np.trace(s.covariance(solution, "camera_wrist")[3:, 3:])))
    assert 0.5 < np.sqrt(np.mean(np.square(ratios))) < 1.8


def test_an_outlier_is_left_out_and_does_no_harm() -> None:
    problem, _, _ = make(10, noise=0.1)
    bad = problem.sightings[5]
    shifted = Sighting(bad.camera, bad.moment, bad.place, Corners(bad.corners.ids, bad.corners.pixels + 25.0))
    sightings = [shifted if x is bad else x for x in problem.sightings]
    # one corner of another picture, as on the edge of a finger
    sightings[8].corners.pixels[3] += 8.0
    solution = s.solve(Problem(problem.cameras, problem.flanges, problem.grid, sightings))
    assert solution.dropped == [shifted]
    assert any(len(u.corners.ids) == 14 for u in solution.used)
    for camera, true in CAMERAS.items():
        far, turn = apart(solution.cameras[camera], true)
        assert far < 1e-3 and np.degrees(turn) < 0.1


def test_the_size_of_the_board_follows_from_the_motion() -> None:
    solution = s.solve(make(10, size=0.97, noise=0.1)[0], with_scale=True)
    assert solution.scale == pytest.approx(0.97, abs=0.002)
    assert solution.scale_spread < 0.002


def test_a_camera_that_nothing_ties_to_the_arm_is_named() -> None:
    problem, _, _ = make(8, cameras=("camera_base",))
    with pytest.raises(
        CalibrationError, match="camera_base: it saw the board only in places that nothing else locates"
    ):
        s.solve(problem)
