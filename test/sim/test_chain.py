from __future__ import annotations

import numpy as np
from piper_sdk.kinematics.piper_fk import C_PiperForwardKinematics

from reconvla_ros.sim.chain import Chain, matrix_from_rpy, rpy_from_matrix
from reconvla_ros.tables import JOINT_LOWER, JOINT_UPPER

RNG = np.random.default_rng(7)
SAMPLES = RNG.uniform(JOINT_LOWER, JOINT_UPPER, (150, 6))


def test_forward_equals_the_sdk_for_both_zero_variants() -> None:
    for variant in (0, 1):
        chain, sdk = Chain(variant), C_PiperForwardKinematics(variant)
        for q in SAMPLES[:50]:
            pose = chain.forward(q)
            told = np.array(sdk.CalFK(list(q))[-1])
            np.testing.assert_allclose(pose[:3, 3] * 1000, told[:3], atol=1e-9)
            np.testing.assert_allclose(np.degrees(rpy_from_matrix(pose[:3, :3])), told[3:], atol=1e-6)


def test_inverse_finds_the_configuration_and_every_solution_is_one() -> None:
    chain = Chain()
    for q in SAMPLES:
        pose = chain.forward(q)
        solutions = chain.inverse(pose, q)
        assert min(np.abs(s - q).max() for s in solutions) < 1e-7
        for s in solutions:
            np.testing.assert_allclose(chain.forward(s), pose, atol=1e-9)


def test_out_of_reach_has_no_solution() -> None:
    pose = np.eye(4)
    pose[:3, 3] = (0.9, 0.0, 0.3)
    assert Chain().inverse(pose, np.zeros(6)) == []


def test_wrist_singularity_keeps_joint_four() -> None:
    chain = Chain()
    q = np.array([0.3, 1.0, -1.0, 0.7, 0.0, -0.2])
    solutions = chain.inverse(chain.forward(q), q)
    best = min(solutions, key=lambda s: float(np.abs(s - q).max()))
    np.testing.assert_allclose(best, q, atol=1e-6)


def test_euler_angles_round_trip_and_gimbal_lock() -> None:
    for rpy in RNG.uniform(-1.5, 1.5, (50, 3)):
        np.testing.assert_allclose(rpy_from_matrix(matrix_from_rpy(rpy)), rpy, atol=1e-9)
    locked = matrix_from_rpy(np.array([0.4, np.pi / 2, 0.0]))
    np.testing.assert_allclose(rpy_from_matrix(locked), (0.4, np.pi / 2, 0.0), atol=1e-6)


def test_the_written_out_flange_equals_forward() -> None:
    for variant in (0, 1):
        chain = Chain(variant)
        for q in SAMPLES:
            pose = chain.forward(q)
            place, turn = chain.flange(q.tolist())
            np.testing.assert_allclose(place, pose[:3, 3], atol=1e-12)
            np.testing.assert_allclose(turn, rpy_from_matrix(pose[:3, :3]), atol=1e-9)
