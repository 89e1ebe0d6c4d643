"""Rough poses of cameras and boards in closed form, from which least squares begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reconvla_ros.calibration.geometry import board_poses, hand_eye, inverse, mean_transform, project, rms
from reconvla_ros.calibration.views import BASE, HELD, CameraFacts, Sighting
from reconvla_ros.errors import CalibrationError
from reconvla_ros.types import Float


@dataclass(frozen=True, eq=False)
class Problem:
    """Sightings of a board with corners `grid` (N, 3) [m]; `flanges` (4, 4) in base_link by moment."""

    cameras: Mapping[str, CameraFacts]
    flanges: Sequence[Float]
    grid: Float
    sightings: Sequence[Sighting]

    def chain(self, sighting: Sighting) -> tuple[Float, Float]:
        """(parent of the camera, parent of the board) in base_link (4, 4) at the sighting's moment."""
        flange = self.flanges[sighting.moment]
        camera = np.eye(4) if self.cameras[sighting.camera].parent == BASE else flange
        return camera, flange if sighting.place == HELD else np.eye(4)


def board_in_camera(
    problem: Problem, cameras: Mapping[str, Float], boards: Mapping[str, Float], sighting: Sighting
) -> Float:
    """Where the board was in the camera (4, 4) by these poses."""
    camera, board = problem.chain(sighting)
    return np.asarray(inverse(camera @ cameras[sighting.camera]) @ board @ boards[sighting.place])


def begin(problem: Problem) -> tuple[dict[str, Float], dict[str, Float]]:
    """Rough poses of every camera and board, in closed form.

    Raises:
        CalibrationError: as `solve`.
    """
    seen: dict[int, list[Float]] = {}
    for index, s in enumerate(problem.sightings):
        intrinsics = problem.cameras[s.camera].intrinsics
        seen[index] = board_poses(problem.grid[s.corners.ids], s.corners.pixels, intrinsics)
    cameras: dict[str, Float] = {}
    boards: dict[str, Float] = {}
    for camera, place in sorted({(s.camera, s.place) for s in problem.sightings}):
        if (problem.cameras[camera].parent == BASE) != (place == HELD):
            continue  # board and camera do not move against each other by the arm
        mine = [i for i, s in enumerate(problem.sightings) if (s.camera, s.place) == (camera, place) and seen[i]]
        if len(mine) < 3 or camera in cameras:
            continue
        movers = [_mover(problem, problem.sightings[i]) for i in mine]
        cameras[camera], boards[place] = hand_eye(movers, [seen[i][0] for i in mine])
    while True:
        before = len(cameras) + len(boards)
        _carry_over(problem, seen, cameras, boards)
        if len(cameras) + len(boards) == before:
            break
    lost = sorted({s.camera for s in problem.sightings} - set(cameras))
    if lost:
        raise CalibrationError(
            f"{lost[0]}: it saw the board only in places that nothing else locates ({_places(problem, lost[0])}); let "
            "camera_wrist see the board from at least 3 moments in the same place, or put the board into the gripper"
        )
    return cameras, boards


def _places(problem: Problem, camera: str) -> str:
    return ", ".join(sorted({s.place for s in problem.sightings if s.camera == camera}))


def _mover(problem: Problem, sighting: Sighting) -> Float:
    """M of M X N = Y: what carries the camera's parent to the board's parent."""
    camera, board = problem.chain(sighting)
    return np.asarray(inverse(board) @ camera)


def _carry_over(
    problem: Problem, seen: Mapping[int, list[Float]], cameras: dict[str, Float], boards: dict[str, Float]
) -> None:
    """Boards that a known camera saw become known, and cameras that saw a known board."""
    for place in sorted({s.place for s in problem.sightings} - set(boards)):
        known = [
            _mover(problem, s) @ cameras[s.camera] @ seen[i][0]
            for i, s in enumerate(problem.sightings)
            if s.place == place and s.camera in cameras and seen[i]
        ]
        if known:
            boards[place] = mean_transform(known)
    for camera in sorted({s.camera for s in problem.sightings} - set(cameras)):
        mine = [(i, s) for i, s in enumerate(problem.sightings) if s.camera == camera and s.place in boards]
        wishes = [
            inverse(_mover(problem, s)) @ boards[s.place] @ inverse(pose) for i, s in mine for pose in seen[i]
        ]  # the mirror images too: the one that fits every sighting best is taken
        if wishes:
            cameras[camera] = min(wishes, key=lambda x: _misfit(problem, {camera: x}, boards, [s for _, s in mine]))


def _misfit(
    problem: Problem, cameras: Mapping[str, Float], boards: Mapping[str, Float], some: Sequence[Sighting]
) -> float:
    errors = [
        rms(project(problem.grid[s.corners.ids], board_in_camera(problem, cameras, boards, s),
                    problem.cameras[s.camera].intrinsics) - s.corners.pixels)
        for s in some
    ]  # fmt: skip
    return float(np.median(errors))
