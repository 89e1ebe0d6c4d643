"""Markers that stay on the table: where they are, so that a camera that was bumped shows later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reconvla_ros.calibration.detect import Detector
from reconvla_ros.calibration.geometry import bearings, inverse, project, rms
from reconvla_ros.calibration.views import BASE, Views
from reconvla_ros.types import Float

PARALLAX = np.radians(8.0)  # least angle between two lines of sight that locate a point
FITS = 2.0  # [px] a marker whose corners fit worse in the middle of its sightings was moved, or is not one


@dataclass(frozen=True, eq=False)
class Landmark:
    """A marker by its `number`, corners (4, 3) [m] in base_link.

    `only` names the one camera at the base that saw it, always from the same side: its corners are then where that camera's
    lines of sight meet the table, good enough for the same camera to be checked by, and for no other.
    """

    number: int
    corners: Float
    only: str = ""


def locate(
    views: Views, detector: Detector, cameras: Mapping[str, Float], flanges: list[Float], table: float = 0.0
) -> list[Landmark]:
    """Markers on the table, seen by cameras at known poses (4, 4) in their parents; `table`: its height in base_link [m]."""
    seen: dict[int, list[tuple[str, int, Float]]] = {}
    for index, moment in enumerate(views.moments):
        for camera, picture in moment.pictures.items():
            for number, pixels in detector.markers(picture.grey).items() if camera in cameras else ():
                seen.setdefault(number, []).append((camera, index, pixels))
    found = []
    for number, sightings in sorted(seen.items()):
        eyes = [camera_in_base(views, cameras, camera, flanges[index]) for camera, index, _ in sightings]
        rays = [
            np.column_stack([bearings(pixels, views.cameras[camera].intrinsics), np.ones(4)]) @ eye[:3, :3].T
            for (camera, _, pixels), eye in zip(sightings, eyes, strict=True)
        ]
        corners, seers = (
            _meet(np.array([e[:3, 3] for e in eyes]), np.array(rays)),
            {camera for camera, _, _ in sightings},
        )
        only = next(iter(seers)) if corners is None and len(seers) == 1 else ""
        if only and views.cameras[only].parent == BASE:
            corners = _on_plane(eyes[0][:3, 3], np.median(np.array(rays), axis=0), table)
        if corners is None:
            continue
        misfits = [
            rms(project(corners, inverse(eye), views.cameras[camera].intrinsics) - pixels)
            for (camera, _, pixels), eye in zip(sightings, eyes, strict=True)
        ]
        if float(np.median(misfits)) <= FITS:
            found.append(Landmark(number, corners, only))
    return found


def camera_in_base(views: Views, cameras: Mapping[str, Float], camera: str, flange: Float) -> Float:
    """Pose of a camera in base_link (4, 4) with the flange at `flange`."""
    return cameras[camera] if views.cameras[camera].parent == BASE else flange @ cameras[camera]


def _on_plane(eye: Float, rays: Float, height: float) -> Float | None:
    """Where rays (4, 3) from `eye` (3,) meet a level plane (4, 3); None when one does not, or very far away."""
    down = (eye[2] - height) / np.maximum(-rays[:, 2:], 1e-9)
    return eye + rays * down if np.all((down > 0.0) & (down < 5.0)) else None


def _meet(origins: Float, rays: Float) -> Float | None:
    """Where lines of sight meet: origins (S, 3), rays (S, 4, 3) -> corners (4, 3); None when they are nearly parallel."""
    rays = rays / np.linalg.norm(rays, axis=2, keepdims=True)
    cosine = rays[:, 0] @ rays[:, 0].T
    if float(np.arccos(np.clip(cosine.min(), -1.0, 1.0))) < PARALLAX:
        return None
    corners = []
    for k in range(4):
        across = np.eye(3) - rays[:, k, :, None] * rays[:, k, None, :]
        corners.append(np.linalg.solve(across.sum(axis=0), (across @ origins[:, :, None]).sum(axis=0)).ravel())
    return np.array(corners)
