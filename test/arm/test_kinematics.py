from __future__ import annotations

import numpy as np
import pytest
from piper_sdk import C_PiperForwardKinematics

from reconvla_ros import tables
from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.arm.rotations import angle_between, matrix_from_quaternion
from reconvla_ros.errors import KinematicsError
from reconvla_ros.types import Float, Pose

LOWER, UPPER = np.array(tables.JOINT_LOWER), np.array(tables.JOINT_UPPER)
READY = np.array([0.0, 1.2, -1.2, 0.0, 0.9, 0.0])


def random_joints(count: int) -> Float:
    return np.random.default_rng(7).uniform(LOWER, UPPER, (count, 6))


@pytest.mark.parametrize("variant", [0, 1])
def test_flange_equals_the_sdk(variant: int) -> None:
    ours, sdk = Kinematics(variant), C_PiperForwardKinematics(variant)
    for joints in random_joints(100):
        theirs = np.array(sdk.CalFK(list(joints))[5][:3]) / 1000.0
        assert np.abs(ours.flange(joints)[:3, 3] - theirs).max() < 1e-9
        assert np.abs(ours.link_frames(joints)[-1] - ours.flange(joints)).max() < 1e-9


def test_the_variants_differ() -> None:
    zero = np.zeros(6)
    shift = np.linalg.norm(Kinematics(0).flange(zero)[:3, 3] - Kinematics(1).flange(zero)[:3, 3])
    assert shift == pytest.approx(0.00995, abs=2e-5)  # piper.md 1.1: 285.03 mm x 2 degrees


def test_tcp_lies_along_the_tool_axis() -> None:
    arm = Kinematics()
    flange, tcp = arm.flange(READY), arm.tcp(READY)
    assert np.allclose(tcp.position, flange[:3, 3] + 0.14 * flange[:3, 2])
    assert np.allclose(matrix_from_quaternion(tcp.quaternion), flange[:3, :3])


def test_every_reachable_pose_is_solved_on_the_seed_s_branch() -> None:
    arm = Kinematics()
    for joints in random_joints(1000):
        solution = arm.solve(arm.tcp(joints), joints)
        assert np.abs(arm.tcp_matrix(solution) - arm.tcp_matrix(joints)).max() < 1e-6
        if abs(np.sin(joints[4])) > 1e-3:
            assert np.abs(solution - joints).max() < 1e-6


def test_all_branches_reach_the_pose() -> None:
    arm = Kinematics()
    target = arm.tcp_matrix(READY)
    branches = arm.branches(arm.tcp(READY))
    assert len(branches) == 8
    for joints in branches:
        assert np.abs(arm.tcp_matrix(joints) - target).max() < 1e-6


def test_solutions_stay_on_one_branch_along_a_line() -> None:
    arm, seed = Kinematics(), READY
    start = arm.tcp(READY)
    for y in np.linspace(0.0, 0.15, 150):
        solution = arm.solve(Pose(start.position + np.array([0.0, y, 0.0]), start.quaternion), seed, max_jump=0.05)
        seed = solution
    assert np.abs(seed - READY).max() > 0.1


def test_wrist_singularity_keeps_joint4() -> None:
    arm = Kinematics()
    joints = np.array([0.2, 1.5, -1.3, 0.4, 0.0, 0.3])
    assert np.allclose(arm.solve(arm.tcp(joints), joints), joints, atol=1e-6)
    assert arm.singularity(joints) < 1e-6 < arm.singularity(READY)


def test_out_of_reach_is_refused_and_named() -> None:
    with pytest.raises(KinematicsError, match="no joint position reaches it"):
        Kinematics().solve(Pose(np.array([2.0, 0.0, 0.0]), np.array([0.0, 0.0, 0.0, 1.0])), READY)


def test_limits_are_named() -> None:
    arm = Kinematics(upper=(2.6, 3.1, 0.0, 1.7, 0.5, 2.0))
    with pytest.raises(KinematicsError, match=r"needs joint\d = .* allowed"):
        arm.solve(Kinematics().tcp(READY), READY)


def test_a_branch_jump_is_refused() -> None:
    arm = Kinematics()
    with pytest.raises(KinematicsError, match="another branch"):
        arm.solve(arm.tcp(READY), READY + 0.3, max_jump=0.2)


def test_angle_between_tells_small_angles_apart() -> None:
    small = np.array([np.sin(5e-10), 0.0, 0.0, np.cos(5e-10)])
    assert angle_between(np.array([0.0, 0.0, 0.0, 1.0]), small) == pytest.approx(1e-9)


@pytest.mark.parametrize("joint5", [0.0, 1e-9, 1e-7, 4e-7, 6e-7, 1e-6, 1e-5, 1e-3, -1e-7])
def test_poses_at_and_near_the_wrist_singularity_are_solved(joint5: float) -> None:
    arm = Kinematics()
    for joints in random_joints(50):
        joints[4] = joint5
        solution = arm.solve(arm.tcp(joints), joints)
        assert np.abs(arm.tcp_matrix(solution) - arm.tcp_matrix(joints)).max() < 1e-6
