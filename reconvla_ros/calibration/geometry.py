"""Rigid transforms as (4, 4) matrices, the pinhole, and the pose of a board in one picture."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from reconvla_ros.types import CameraIntrinsics, Float, Pose


def matrix(pose: Pose) -> Float:
    """Pose -> (4, 4)."""
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = Rotation.from_quat(pose.quaternion).as_matrix(), pose.position
    return made


def pose_of(transform: Float) -> Pose:
    """(4, 4) -> Pose."""
    return Pose(transform[:3, 3], Rotation.from_matrix(transform[:3, :3]).as_quat(canonical=True))


def inverse(transform: Float) -> Float:
    """Of a rigid transform (4, 4)."""
    made = np.eye(4)
    made[:3, :3] = transform[:3, :3].T
    made[:3, 3] = -transform[:3, :3].T @ transform[:3, 3]
    return made


def moved(transform: Float, step: Float) -> Float:
    """`transform` after a small step in its own frame: rotation vector [rad] (3,), then translation [m] (3,)."""
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = Rotation.from_rotvec(step[:3]).as_matrix(), step[3:]
    return transform @ made


def apart(a: Float, b: Float) -> tuple[float, float]:
    """Distance [m] and angle [rad] between two transforms (4, 4)."""
    return float(np.linalg.norm(a[:3, 3] - b[:3, 3])), Rotation.from_matrix(a[:3, :3].T @ b[:3, :3]).magnitude()


def camera_matrix(intrinsics: CameraIntrinsics) -> Float:
    """(3, 3) [px]."""
    i = intrinsics
    return np.array([[i.fx, 0.0, i.cx], [0.0, i.fy, i.cy], [0.0, 0.0, 1.0]])


def project(points: Float, board_in_camera: Float, intrinsics: CameraIntrinsics) -> Float:
    """Points (N, 3) [m] of a frame at `board_in_camera` (4, 4) -> pixels (N, 2), plumb_bob distortion."""
    turn = Rotation.from_matrix(board_in_camera[:3, :3]).as_rotvec()
    pixels, _ = cv2.projectPoints(
        points, turn, board_in_camera[:3, 3], camera_matrix(intrinsics), intrinsics.distortion
    )
    return np.asarray(pixels, dtype=np.float64).reshape(-1, 2)


def slope(points: Float, board_in_camera: Float, intrinsics: CameraIntrinsics) -> Float:
    """Derivative of `project` by the place of each point in the camera (N, 2, 3) [px/m]."""
    turn = Rotation.from_matrix(board_in_camera[:3, :3]).as_rotvec()
    _, by = cv2.projectPoints(points, turn, board_in_camera[:3, 3], camera_matrix(intrinsics), intrinsics.distortion)
    return np.asarray(by[:, 3:6], dtype=np.float64).reshape(-1, 2, 3)  # columns: turn 3, place 3, pinhole


def cross(vectors: Float) -> Float:
    """(N, 3) -> (N, 3, 3) with cross(a) b = a x b."""
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)


def step_slope(step: Float) -> Float:
    """How a change of `step` moves `moved(T, step)` in its own frame (6, 6): turn, then place, by turn, then place."""
    angle, made = float(np.linalg.norm(step[:3])), np.zeros((6, 6))
    skew = cross(step[None, :3])[0]
    a, b = (0.5, 1 / 6) if angle < 1e-4 else ((1 - np.cos(angle)) / angle**2, (angle - np.sin(angle)) / angle**3)
    made[:3, :3] = np.eye(3) - a * skew + b * skew @ skew  # right Jacobian of the rotation group
    made[3:, 3:] = Rotation.from_rotvec(step[:3]).as_matrix().T
    return made


def bearings(pixels: Float, intrinsics: CameraIntrinsics) -> Float:
    """Pixels (N, 2) -> points at distance 1 on the camera's rays (N, 2), distortion removed."""
    found = cv2.undistortPoints(pixels.reshape(-1, 1, 2), camera_matrix(intrinsics), intrinsics.distortion)
    return np.asarray(found, dtype=np.float64).reshape(-1, 2)


def board_poses(points: Float, pixels: Float, intrinsics: CameraIntrinsics) -> list[Float]:
    """Where a flat board may be in the camera (4, 4), most likely first: its mirror image is often nearly as likely.

    Args:
        points: corners in the board's frame (N, 3) [m], z = 0. pixels: (N, 2).
    """
    count, turns, places, _ = cv2.solvePnPGeneric(
        points.reshape(-1, 1, 3), pixels.reshape(-1, 1, 2), camera_matrix(intrinsics), intrinsics.distortion,
        flags=cv2.SOLVEPNP_IPPE,
    )  # fmt: skip
    found = []
    for turn, place in zip(turns[:count], places[:count], strict=True):
        turn, place = cv2.solvePnPRefineLM(
            points, pixels, camera_matrix(intrinsics), intrinsics.distortion, turn.copy(), place.copy()
        )
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = Rotation.from_rotvec(turn.ravel()).as_matrix(), place.ravel()
        if pose[2, 3] > 0.0 and np.isfinite(pose).all():
            found.append(pose)
    return sorted(found, key=lambda pose: rms(project(points, pose, intrinsics) - pixels))


def rms(residual: Float) -> float:
    """Root mean square length of the rows of (N, 2)."""
    return float(np.sqrt(np.mean(np.sum(np.square(residual), axis=1))))


def hand_eye(movers: Sequence[Float], boards: Sequence[Float]) -> tuple[Float, Float]:
    """(X, Y) of M_i X N_i = Y for all i, in the least-squares sense: rotations first, then translations.

    F. C. Park and B. J. Martin, Robot sensor calibration: solving AX = XB on the Euclidean group, IEEE Transactions on
    Robotics and Automation 10(5), 1994. OpenCV has it as calibrateHandEye, which the Python module of OpenCV 5.0.0 does
    not export (opencv issue 29565).

    Args:
        movers: M_i (4, 4). boards: N_i (4, 4). At least three, with rotations about two axes.
    """
    pairs = [(i, j) for i in range(len(movers)) for j in range(i)]
    lefts = [inverse(movers[j]) @ movers[i] for i, j in pairs]
    rights = [boards[j] @ inverse(boards[i]) for i, j in pairs]
    a = np.array([Rotation.from_matrix(m[:3, :3]).as_rotvec() for m in lefts])
    b = np.array([Rotation.from_matrix(m[:3, :3]).as_rotvec() for m in rights])
    turn = Rotation.align_vectors(a, b)[0].as_matrix()
    slopes = np.vstack([m[:3, :3] - np.eye(3) for m in lefts])
    sides = np.hstack([turn @ r[:3, 3] - m[:3, 3] for m, r in zip(lefts, rights, strict=True)])
    x = np.eye(4)
    x[:3, :3], x[:3, 3] = turn, np.linalg.lstsq(slopes, sides, rcond=None)[0]
    return x, mean_transform([m @ x @ n for m, n in zip(movers, boards, strict=True)])


def mean_transform(transforms: Sequence[Float]) -> Float:
    """Median place and mean rotation (4, 4)."""
    made = np.eye(4)
    made[:3, :3] = Rotation.from_matrix(np.array([t[:3, :3] for t in transforms])).mean().as_matrix()
    made[:3, 3] = np.median([t[:3, 3] for t in transforms], axis=0)
    return made
