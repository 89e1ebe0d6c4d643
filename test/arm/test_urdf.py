from __future__ import annotations

import numpy as np
import pytest

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.arm.rotations import matrix_from_quaternion
from reconvla_ros.arm.urdf import RobotTree, description_file, for_variant
from reconvla_ros.errors import ConfigError
from reconvla_ros.types import JOINT_NAMES, Float, Pose


@pytest.fixture
def tree() -> RobotTree:
    return RobotTree(description_file().read_text(encoding="utf-8"))


def matrix(pose: Pose) -> Float:
    whole = np.eye(4)
    whole[:3, :3], whole[:3, 3] = matrix_from_quaternion(pose.quaternion), pose.position
    return whole


def test_its_frames_are_those_of_our_kinematics(tree: RobotTree) -> None:
    joints = np.array([0.3, 1.1, -0.9, 0.4, 0.5, -0.6])
    values = dict(zip(JOINT_NAMES, joints.tolist(), strict=True)) | {"gripper": 0.04}
    frames = {f.child: f for f in [*tree.fixed(), *tree.moving(values)]}

    def in_base(link: str) -> Float:
        return np.eye(4) if link == "base_link" else in_base(frames[link].parent) @ matrix(frames[link].pose)

    arm = Kinematics()
    for i, frame in enumerate(arm.link_frames(joints)):
        assert np.allclose(in_base(f"link{i + 1}"), frame, atol=1e-6)
    assert np.allclose(in_base("tool0"), arm.flange(joints), atol=1e-6)
    assert np.allclose(in_base("tcp"), arm.tcp_matrix(joints), atol=1e-6)


def test_the_fingers_stand_apart_by_the_opening(tree: RobotTree) -> None:
    def apart(opening: float) -> Float:
        at = {f.child: f.pose.position for f in tree.moving({"gripper": opening})}
        return at["finger_left"] - at["finger_right"]

    assert np.linalg.norm(apart(0.06) - apart(0.0)) == pytest.approx(0.06)


def test_a_joint_without_a_value_is_left_out(tree: RobotTree) -> None:
    assert {f.child for f in tree.moving({"joint1": 0.1})} == {"link1"}


@pytest.mark.parametrize("text", ["no xml", "<robot><joint name='a' type='fixed'/></robot>"])
def test_what_is_no_urdf_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="URDF cannot be read"):
        RobotTree(text)


@pytest.mark.parametrize("variant", [0, 1])
def test_the_description_follows_the_zeros_of_the_firmware(tree: RobotTree, variant: int) -> None:
    joints = np.array([0.3, 1.1, -0.9, 0.4, 0.5, -0.6])
    chosen = RobotTree(for_variant(tree.text, variant))
    values = dict(zip(JOINT_NAMES, joints.tolist(), strict=True))
    whole = {frame.child: frame for frame in [*chosen.fixed(), *chosen.moving(values)]}
    pose, link = np.eye(4), "tool0"
    while link != "base_link":
        pose, link = matrix(whole[link].pose) @ pose, whole[link].parent
    assert np.abs(pose - Kinematics(variant).flange(joints)).max() < 1e-6


def test_a_description_without_the_zeros_is_named() -> None:
    with pytest.raises(ConfigError, match="no single origin"):
        for_variant("<robot/>", 0)
