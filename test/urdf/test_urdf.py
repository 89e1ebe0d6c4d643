from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from reconvla_ros.sim.chain import Chain
from reconvla_ros.sim.engine import mujoco
from reconvla_ros.tables import BODIES, CHAIN, JOINT_LOWER, JOINT_UPPER, TCP_OFFSET
from reconvla_ros.types import JOINT_NAMES

URDF = Path(__file__).parents[2] / "urdf" / "piper.urdf"
ROOT = ET.parse(URDF).getroot()
JOINTS = {joint.get("name"): joint for joint in ROOT.findall("joint")}


def numbers(element: ET.Element | None, name: str) -> list[float]:
    assert element is not None
    return [float(v) for v in str(element.get(name)).split()]


def transform(joint: ET.Element, value: float = 0.0) -> np.ndarray:
    pose = np.eye(4)
    origin = joint.find("origin")
    pose[:3, 3] = numbers(origin, "xyz")
    pose[:3, :3] = Rotation.from_euler("xyz", numbers(origin, "rpy")).as_matrix()
    if joint.get("type") == "revolute":
        turn = np.eye(4)
        turn[:3, :3] = Rotation.from_rotvec(value * np.array(numbers(joint.find("axis"), "xyz"))).as_matrix()
        pose = pose @ turn
    return pose


def test_one_tree_from_base_link_with_every_frame_of_the_design() -> None:
    links = {link.get("name") for link in ROOT.findall("link")}
    children = [str(joint.find("child").get("link")) for joint in JOINTS.values()]  # type: ignore[union-attr]
    assert len(children) == len(set(children))
    assert links - set(children) == {"base_link"}
    assert {*(link.name for link in CHAIN), "tool0", "tcp", "gripper_base", "finger_left", "finger_right"} <= links


def test_flange_and_tcp_follow_the_firmware_chain() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        q = rng.uniform(JOINT_LOWER, JOINT_UPPER)
        pose = np.eye(4)
        for name, value in zip(JOINT_NAMES, q, strict=True):
            pose = pose @ transform(JOINTS[name], value)
        flange = pose @ transform(JOINTS["link6_to_tool0"])
        np.testing.assert_allclose(flange, Chain().forward(q), atol=2e-8)
        tcp = flange @ transform(JOINTS["tool0_to_tcp"])
        np.testing.assert_allclose(tcp[:3, 3], flange[:3, 3] + flange[:3, :3] @ np.array(TCP_OFFSET), atol=1e-12)


def test_limits_masses_and_gripper() -> None:
    for name, low, high in zip(JOINT_NAMES, JOINT_LOWER, JOINT_UPPER, strict=True):
        limit = JOINTS[name].find("limit")
        assert numbers(limit, "lower") + numbers(limit, "upper") == [low, high]
    for link in ROOT.findall("link"):
        mass = link.find("inertial/mass")
        if mass is not None and link.get("name") != "gripper_opening":  # that one only carries the joint
            key = "finger" if str(link.get("name")).startswith("finger") else str(link.get("name"))
            assert numbers(mass, "value") == [BODIES[key].mass]
    assert JOINTS["gripper"].get("type") == "prismatic"
    for side, sign in (("left", 1.0), ("right", -1.0)):
        finger = JOINTS[f"finger_{side}_joint"]
        mimic = finger.find("mimic")
        assert mimic is not None
        assert (mimic.get("joint"), mimic.get("multiplier"), mimic.get("offset")) == ("gripper", "0.5", "0")
        assert numbers(finger.find("axis"), "xyz") == [0.0, sign, 0.0]


def test_another_reader_of_urdf_builds_the_same_arm() -> None:
    model = mujoco.MjModel.from_xml_path(str(URDF))
    data = mujoco.MjData(model)
    q = np.array([0.4, 1.1, -0.9, 0.3, 0.5, -0.7])
    for name, value in zip(JOINT_NAMES, q, strict=True):
        data.joint(name).qpos[0] = value
    mujoco.mj_kinematics(model, data)
    np.testing.assert_allclose(data.body("link6").xpos, Chain().forward(q)[:3, 3], atol=2e-8)


def test_only_primitive_geometry() -> None:
    kinds = {child.tag for geometry in ROOT.iter("geometry") for child in geometry}
    assert kinds <= {"box", "cylinder", "sphere"}
    assert kinds
