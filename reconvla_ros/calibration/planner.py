"""Where to bring the arm so that a camera sees the board from many sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation
from scipy.stats import qmc

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.calibration.board import BoardSpec
from reconvla_ros.calibration.geometry import inverse, project
from reconvla_ros.errors import CalibrationError
from reconvla_ros.types import CameraIntrinsics, Float, Pose

START = (0.0, 1.0, -0.87, 0.0, 0.92, 0.0)  # [rad] config/piper.yaml: where arm/ready goes
SAMPLES = 1 << 15  # joint positions looked at; of those that see the board about one in a hundred is left
JOINT1 = 0.9  # [rad] most that joint 1 looks past the board
SPAN = ((0.3, 2.3), (-2.3, -0.3), (-1.6, 1.6), (-1.1, 1.1), (-1.95, 1.95))  # [rad] of joints 2..6
NEAR, FAR = 0.14, 0.45  # [m] from the camera to the middle of the board
OBLIQUE = 1.0  # [rad] most between the line of sight and the board's normal
COVERED = 0.5  # share of the height below which the fingers cover much
EDGE = 25.0  # [px] corners nearer to the edge do not count: the mounting is not known better before calibrating
LEAST = 8  # corners that must be in view
MARGIN = 0.12  # [rad] from the limits of the joints: the driver refuses motion outwards within 0.1
BOX = ((0.10, -0.40, 0.05), (0.58, 0.40, 0.60))  # [m] for the TCP, inside the driver's workspace
HELD_HEIGHT = 0.25  # [m] least height of the flange with a board in the gripper
HEIGHT = 0.10  # [m] least height of the flange above the table: the wide part of the gripper is below it


@dataclass(frozen=True, eq=False)
class Stop:
    """One pose to visit: joints (6,) [rad] and the TCP in base_link."""

    joints: Float
    tcp: Pose


def candidates(
    kinematics: Kinematics, camera: Float, intrinsics: CameraIntrinsics, board: Float, spec: BoardSpec
) -> list[Stop]:
    """Poses within the joint limits from which the wrist camera sees a board on the table; always the same ones.

    Joint positions are drawn evenly (Sobol) instead of poses: where a table stands at the height of the arm's base, joint
    5 leaves few of the poses one would wish for.

    Args:
        camera: nominal pose of the optical frame in the flange (4, 4). board: nominal pose in base_link (4, 4).
    """
    middle = board @ np.append(spec.centre, 1.0)
    towards = float(np.arctan2(middle[1], middle[0]))

    def look(flange: Float) -> Float | None:
        # Cheap looks first: most of the samples end here.
        return inverse(flange @ camera) @ board if flange[2, 3] >= HEIGHT else None

    return _sample(kinematics, look, intrinsics, spec, (towards - JOINT1, towards + JOINT1), (NEAR, FAR), COVERED)


def held_candidates(
    kinematics: Kinematics, camera: Float, intrinsics: CameraIntrinsics, board: Float, spec: BoardSpec
) -> list[Stop]:
    """Poses from which a camera at the base sees the board in the gripper.

    Args:
        camera: nominal pose of the optical frame in base_link (4, 4). board: nominal pose in the flange (4, 4).
    """

    def look(flange: Float) -> Float | None:
        return inverse(camera) @ flange @ board if flange[2, 3] >= HELD_HEIGHT else None

    towards = float(np.arctan2(camera[1, 3], camera[0, 3]))
    return _sample(kinematics, look, intrinsics, spec, (towards - JOINT1, towards + JOINT1), (2 * NEAR, 2.0), 1.0)


def _sample(
    kinematics: Kinematics, look: Callable[[Float], Float | None], intrinsics: CameraIntrinsics, spec: BoardSpec,
    joint1: tuple[float, float], far: tuple[float, float], covered: float,
) -> list[Stop]:  # fmt: skip
    spans = np.array([joint1, *SPAN])
    found = []
    for joints in spans[:, 0] + qmc.Sobol(6, scramble=False).random(SAMPLES) * (spans[:, 1] - spans[:, 0]):
        board = look(kinematics.flange(joints))
        if board is None:
            continue
        middle = board[:3, :3] @ spec.centre + board[:3, 3]
        away = float(np.linalg.norm(middle))
        # In front of the camera, in its picture more or less, not too oblique; then exactly.
        if not far[0] <= away <= far[1] or middle[2] < 0.8 * away or board[:3, 2] @ middle < away * np.cos(OBLIQUE):
            continue
        if _inside(kinematics, joints) and _in_view(spec, board, intrinsics, covered) >= LEAST:
            found.append(Stop(joints, kinematics.tcp(joints)))
    return found


def _inside(kinematics: Kinematics, joints: Float) -> bool:
    tip = kinematics.tcp_matrix(joints)[:3, 3]
    free = float(np.min(kinematics.limit_distance(joints))) >= MARGIN
    return bool(free and np.all(tip >= BOX[0]) and np.all(tip <= BOX[1]))


def _in_view(spec: BoardSpec, board_in_camera: Float, intrinsics: CameraIntrinsics, covered: float) -> int:
    pixels = project(spec.corners, board_in_camera, intrinsics)
    inside = (pixels > EDGE) & (
        pixels < (intrinsics.width - EDGE, covered * intrinsics.height - (EDGE if covered == 1.0 else 0.0))
    )
    return int(np.sum(inside.all(axis=1)))


def tour(found: list[Stop], count: int, first: Float | None = None) -> list[Stop]:
    """`count` of them that turn the flange most differently, in an order of short ways.

    Raises:
        CalibrationError: fewer are reachable.
    """
    if len(found) < count:
        raise CalibrationError(
            f"only {len(found)} poses from which the camera would see the board are within reach, {count} are asked for; "
            "a board on the table belongs to the middle of the workspace (x 0.2..0.4 m, y -0.15..0.15 m)"
        )
    turns = Rotation.from_quat(np.array([s.tcp.quaternion for s in found]))
    places = np.array([s.tcp.position for s in found])
    chosen = [0]
    apart = np.full(len(found), np.inf)
    while len(chosen) < count:
        last = chosen[-1]
        step = (turns[last].inv() * turns).magnitude() + np.linalg.norm(places - places[last], axis=1)
        apart = np.minimum(apart, step)  # one metre counts as one radian
        chosen.append(int(np.argmax(apart)))
    here = np.array(START) if first is None else first
    left, order = [found[i] for i in chosen], list[Stop]()
    while left:
        order.append(min(left, key=lambda s: float(np.max(np.abs(s.joints - here)))))
        here = order[-1].joints
        left = [s for s in left if s is not order[-1]]
    return order
