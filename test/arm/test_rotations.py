from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from reconvla_ros.arm.rotations import angle_between, matrix_from_quaternion, quaternion_from_matrix, slerp


def test_round_trip_against_scipy() -> None:
    for q in Rotation.random(300, random_state=1).as_quat():
        matrix = matrix_from_quaternion(q)
        assert np.allclose(matrix, Rotation.from_quat(q).as_matrix())
        back = quaternion_from_matrix(matrix)
        assert np.allclose(back * np.sign(back @ q), q)


def test_half_turns_about_every_axis() -> None:
    for axis in np.eye(3):
        matrix = Rotation.from_rotvec(np.pi * axis).as_matrix()
        assert np.allclose(matrix_from_quaternion(quaternion_from_matrix(matrix)), matrix)


def test_slerp_turns_evenly_the_shorter_way() -> None:
    p, q = np.array([0.0, 0.0, 0.0, 1.0]), -Rotation.from_rotvec([0.0, 0.0, 1.0]).as_quat()
    assert np.isclose(angle_between(p, q), 1.0)
    assert np.isclose(angle_between(p, slerp(p, q, 0.3)), 0.3)
    assert np.isclose(angle_between(slerp(p, q, 1.0), q), 0.0)
