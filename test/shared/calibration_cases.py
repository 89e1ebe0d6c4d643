"""Made-up calibrations: cameras at known poses, corners projected instead of rendered."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.calibration.board import BoardSpec
from reconvla_ros.calibration.closed_form import Problem
from reconvla_ros.calibration.detect import Corners
from reconvla_ros.calibration.geometry import inverse, project
from reconvla_ros.calibration.planner import SPAN
from reconvla_ros.calibration.views import BASE, HELD, CameraFacts, Moment, Sighting, Views
from reconvla_ros.types import CameraIntrinsics, Float

SPEC = BoardSpec()
PINHOLE = CameraIntrinsics(640, 480, 600.0, 602.0, 320.0, 238.0, np.array([0.08, -0.15, 0.001, -0.002, 0.03]))


def pose(position: Sequence[float] | Float, turn: Sequence[float] | Float) -> Float:
    """(4, 4) of a position [m] and extrinsic xyz angles [rad]."""
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = Rotation.from_euler("xyz", turn).as_matrix(), position
    return made


def _axes(position: Sequence[float], x: Sequence[float] | Float, y: Sequence[float] | Float) -> Float:
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = np.column_stack([x, y, np.cross(x, y)]), position
    return made


def _looking(eye: Sequence[float], at: Sequence[float]) -> Float:
    forward = np.subtract(at, eye) / np.linalg.norm(np.subtract(at, eye))
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    return _axes(eye, right, np.cross(forward, right))


CAMERAS = {  # true poses in their parents
    "camera_base": _looking((0.88, 0.22, 0.52), (0.28, 0.0, 0.1)),
    "camera_wrist": _axes((-0.07, 0.01, 0.04), (0.0, -1.0, 0.0), (0.9063078, 0.0, -0.4226183)),
}
TABLE = (((0.30, 0.0, 0.0), 0.3), ((0.26, 0.1, 0.0), -0.6), ((0.33, -0.1, 0.0), 1.2))  # middle [m], yaw [rad] by place
FACTS = {
    "camera_base": CameraFacts(PINHOLE, BASE, "111"),
    "camera_wrist": CameraFacts(PINHOLE, "link6", "222"),
}
HAND = pose((-0.13, 0.09, 0.15), (np.pi, 0.05, 0.1))  # the board in the gripper, in link6
_SPANS = np.array([(-0.8, 0.8), *SPAN])


def on_table(middle: Sequence[float], yaw: float) -> Float:
    """Board frame (4, 4) of a board lying with its middle there: z down."""
    made = pose(middle, (np.pi, 0.0, yaw))
    made[:3, 3] -= made[:3, :3] @ SPEC.centre
    return made


def _seen(board_in_camera: Float, size: float) -> Float | None:
    """Pixels when the whole printed side is in the picture."""
    points = size * SPEC.corners @ board_in_camera[:3, :3].T + board_in_camera[:3, 3]
    if points[:, 2].min() < 0.08 or board_in_camera[:3, 2] @ points.mean(axis=0) < 0.5 * np.linalg.norm(
        points.mean(axis=0)
    ):
        return None
    pixels = project(size * SPEC.corners, board_in_camera, PINHOLE)
    return pixels if np.all(pixels > 0) and np.all(pixels < (639, 479)) else None


def _joints(count: int, rng: np.random.Generator, sees: Callable[[Float], bool]) -> list[Float]:
    found = list[Float]()
    while len(found) < count:
        drawn = rng.uniform(_SPANS[:, 0], _SPANS[:, 1])
        if sees(drawn):
            found.append(drawn)
    return found


def make(
    count: int = 10,
    places: Sequence[str] = ("table",),
    noise: float = 0.0,
    joint_noise: float = 0.0,
    seed: int = 0,
    cameras: Sequence[str] = ("camera_base", "camera_wrist"),
    size: float = 1.0,
    joints: Float | None = None,
) -> tuple[Problem, Views, Float]:
    """(problem, views without pictures, true joints): `count` moments in each place.

    Every camera sees the whole board in every moment. `size`: of the real board against SPEC.
    """
    rng, kinematics = np.random.default_rng(seed), Kinematics()
    sightings, moments, true = list[Sighting](), list[Moment](), list[Float]()
    for number, place in enumerate(places):
        held = place == HELD
        table = on_table(*TABLE[number])

        def board_in(camera: str, q: Float, held: bool = held, table: Float = table) -> Float:
            flange = kinematics.flange(q)
            eye = CAMERAS[camera] if camera == "camera_base" else flange @ CAMERAS[camera]
            return np.asarray(inverse(eye) @ (flange @ HAND if held else table))

        mover = "camera_base" if held else "camera_wrist"

        def sees(q: Float, mover: str = mover, at: Callable[[str, Float], Float] = board_in) -> bool:
            return _seen(at(mover, q), size) is not None

        some = joints if joints is not None else _joints(count, rng, sees)
        for q in some:
            for camera in cameras:
                if held and camera == "camera_wrist":
                    continue
                pixels = project(size * SPEC.corners, board_in(camera, q), PINHOLE)
                pixels = pixels + rng.normal(0.0, noise, pixels.shape) if noise else pixels
                sightings.append(Sighting(camera, len(moments), place, Corners(np.arange(len(pixels)), pixels)))
            moments.append(Moment(str(len(moments)), q + rng.normal(0.0, joint_noise, 6), 0, {}, place))
            true.append(q)
    flanges = [kinematics.flange(m.joints) for m in moments]
    facts = {c: FACTS[c] for c in cameras}
    return Problem(facts, flanges, SPEC.corners, sightings), Views(facts, moments), np.array(true)
