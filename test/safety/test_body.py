from __future__ import annotations

import math
from itertools import combinations, product

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from reconvla_ros import tables
from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.errors import KinematicsError, LimitError
from reconvla_ros.safety.body import CAPSULES, FIXED, PAIRS, Body
from reconvla_ros.safety.case import REACH
from reconvla_ros.safety.rules_place import singular
from reconvla_ros.sim import arm_mjcf
from reconvla_ros.types import Float, Pose

LOWER, UPPER = np.array(tables.JOINT_LOWER), np.array(tables.JOINT_UPPER)
BOXES = (0.3, -0.1, 0.0, 0.5, 0.1, 0.15, 0.0, 0.25, 0.1, 0.2, 0.5, 0.5)
CONFIG = DriverConfig()


def random_joints(count: int, seed: int = 5) -> Float:
    return np.random.default_rng(seed).uniform(LOWER, UPPER, (count, 6))


def columns(body: Body, reason: str) -> list[int]:
    return [i for i, (code, _) in enumerate(body.items) if code == reason]


@pytest.mark.parametrize("variant", [0, 1])
def test_frames_tcp_and_tool_equal_the_kinematics(variant: int) -> None:
    body, arm = Body(variant), Kinematics(variant)
    joints = random_joints(50)
    looked = body.look(joints, 0.05)
    for k, q in enumerate(joints):
        assert np.abs(body.frames(joints)[k] - arm.link_frames(q)).max() < 1e-12
        matrix = arm.tcp_matrix(q)
        assert np.abs(looked.tcp[k] - matrix[:3, 3]).max() < 1e-12
        assert np.abs(looked.tool[k] - matrix[:3, 2]).max() < 1e-12


class Truth:
    """The same capsules in MuJoCo, whose distances are not ours."""

    def __init__(self) -> None:
        geoms = "".join(
            f'<body name="c{i}" mocap="true"><geom type="capsule" size="{c.radius} {math.dist(c.start, c.end) / 2}" '
            'contype="0" conaffinity="0"/></body>'
            for i, c in enumerate(CAPSULES)
        )
        boxes = np.array(BOXES).reshape(-1, 2, 3)
        geoms += "".join(
            f'<geom name="b{i}" type="box" pos="{" ".join(map(str, (lo + hi) / 2))}" size="{" ".join(map(str, (hi - lo) / 2))}"/>'
            for i, (lo, hi) in enumerate(boxes)
        )
        self.model = mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{geoms}</worldbody></mujoco>")
        self.data = mujoco.MjData(self.model)

    def place(self, start: Float, end: Float) -> None:
        """Put the capsules where their axes (3, C) are."""
        for i in range(len(CAPSULES)):
            self.data.mocap_pos[i] = (start[:, i] + end[:, i]) / 2
            axis = end[:, i] - start[:, i]
            mujoco.mju_quatZ2Vec(self.data.mocap_quat[i], axis / np.linalg.norm(axis))
        mujoco.mj_forward(self.model, self.data)

    def capsule(self, index: int) -> int:
        return int(self.model.body(f"c{index}").geomadr[0])

    def distance(self, first: int, second: int) -> float:
        return float(mujoco.mj_geomDistance(self.model, self.data, first, second, 5.0, None))


def axes_of(arm: Kinematics, joints: Float, opening: float) -> tuple[Float, Float]:
    """Ends of the capsules by the driver's kinematics, not by the body's."""
    frames, ends = arm.link_frames(joints), []
    for point in ("start", "end"):
        local = [np.add(getattr(c, point), (0.0, c.side * opening / 2, 0.0)) for c in CAPSULES]
        ends.append([frames[c.link - 1] @ [*p, 1.0] for c, p in zip(CAPSULES, local, strict=True)])
    return np.array(ends[0]).T[:3], np.array(ends[1]).T[:3]


def test_clearances_equal_those_of_an_independent_engine() -> None:
    body, arm, truth = Body(1, 0.03, BOXES), Kinematics(), Truth()
    index = {c.name: i for i, c in enumerate(CAPSULES)}
    largest = max(c.radius for c in CAPSULES)
    inside = 0
    for joints in random_joints(120):
        looked = body.look(joints[None], 0.04).clearance[0]
        start, end = axes_of(arm, joints, 0.04)
        truth.place(start, end)
        for (reason, what), ours in zip(body.items, looked, strict=True):
            if reason == "table":
                i = index[what]
                assert ours == pytest.approx(min(start[2, i], end[2, i]) - CAPSULES[i].radius - 0.03, abs=1e-9)
                continue
            first, second = what.split(" to ")
            other = (
                truth.model.geom(f"b{int(second[4:]) - 1}").id if reason == "keep_out" else truth.capsule(index[second])
            )
            true = truth.distance(truth.capsule(index[first]), other)
            if reason == "self_collision" and true > -0.02:  # deeper, the engine's penetration is not along the axes
                assert ours == pytest.approx(true, abs=1e-6), what
            elif reason == "keep_out" and true > 0.0:
                # Never optimistic, and by no more than what the covering spheres stand out.
                assert true - 0.12 * largest - 1e-6 <= ours <= true + 1e-6, what
            elif reason == "keep_out":
                inside += 1
                assert ours <= 1e-6, what
    assert inside > 20


def test_the_opening_moves_the_fingers_only() -> None:
    body = Body()
    joints = random_joints(1)
    narrow, wide = body.axes(joints, 0.0), body.axes(joints, 0.07)
    moved = np.linalg.norm(wide[0][:, 0] - narrow[0][:, 0], axis=0)
    for capsule, off in zip(CAPSULES, moved, strict=True):
        assert off == pytest.approx(0.035 if capsule.side else 0.0, abs=1e-12), capsule.name


@pytest.mark.parametrize("variant", [0, 1])
@pytest.mark.parametrize("pose", ["rest", "home", "ready"])
def test_known_poses_are_clear(variant: int, pose: str) -> None:
    joints = {"rest": np.zeros(6), "home": np.array(CONFIG.home_position), "ready": np.array(CONFIG.ready_position)}[
        pose
    ]
    for opening in (0.0, 0.10):
        looked = Body(variant).look(joints[None], opening)
        assert looked.clearance.min() > 0.0


def test_ordinary_task_poses_are_clear() -> None:
    """Tool down (and leaning by 15 degrees) where the scenes put fruit and bowl, from a height down to a grasp."""
    arm, body, seed = Kinematics(), Body(), np.array(CONFIG.ready_position)
    limits, count = CONFIG.limits(), 0
    places = product((0.14, 0.2, 0.28, 0.36, 0.44), np.linspace(-0.3, 0.2, 7), (0.15, 0.08, 0.02), (180.0, 165.0))
    for x, y, z, lean in places:
        turn = Rotation.from_euler("z", float(np.arctan2(y, x))) * Rotation.from_euler("y", lean, degrees=True)
        try:
            joints = arm.solve(Pose(np.array([x, y, z]), turn.as_quat()), seed)
        except KinematicsError:
            continue
        count += 1
        looked = body.look(joints[None], 0.07).clearance[0]
        worst = int(np.argmin(looked))
        assert looked[worst] > 0.0, (x, y, z, lean, body.items[worst], looked[worst])
        assert min(singular(joints)) > limits.singularity_stop, (x, y, z, lean)
    assert count > 130


def test_pairs_left_out_never_touch() -> None:
    """What is neither listed nor a neighbour stays apart whatever the joints do."""
    body = Body()
    index = {c.name: i for i, c in enumerate(CAPSULES)}
    listed = {frozenset(pair) for pair in PAIRS}
    joints = random_joints(400)
    ends = np.random.default_rng(1).random((400, 6)) < 0.5
    joints = np.where(ends, np.where(np.random.default_rng(2).random((400, 6)) < 0.5, LOWER, UPPER), joints)
    start, end = body.axes(joints, 0.07)
    # Neighbours overlap by construction; link 4 has no length, so link 3 and link 5 are neighbours too.
    for a, b in combinations(CAPSULES, 2):
        if frozenset((a.name, b.name)) in listed or abs(a.link - b.link) <= 1 or {a.link, b.link} == {3, 5}:
            continue
        i, j = index[a.name], index[b.name]
        grid = np.linspace(0.0, 1.0, 12)
        p = start[:, :, i, None] + (end - start)[:, :, i, None] * grid
        q = start[:, :, j, None] + (end - start)[:, :, j, None] * grid
        nearest = np.linalg.norm(p[:, :, :, None] - q[:, :, None, :], axis=0).min(axis=(1, 2))
        assert nearest.min() > a.radius + b.radius, (a.name, b.name)


def test_the_capsules_enclose_the_simulated_arm() -> None:
    """Every corner of a drawn shape lies inside a capsule of its link, but for the corners that body.py names."""
    model = mujoco.MjModel.from_xml_string(
        f"<mujoco><compiler angle='radian' autolimits='true'/><default>{arm_mjcf.defaults()}</default><asset>"
        f"<material name='shell'/><material name='dark'/></asset><worldbody>{arm_mjcf.body(0.07)}</worldbody></mujoco>"
    )
    rng = np.random.default_rng(0)
    for geom in range(model.ngeom):
        name = model.body(model.geom_bodyid[geom]).name
        kind, size = int(model.geom_type[geom]), model.geom_size[geom]
        link = {"gripper_base": 6, "finger_left": 6, "finger_right": 6}.get(name)
        link = link or (int(name[4:]) if name.startswith("link") else 0)
        if not link:
            continue
        if kind == mujoco.mjtGeom.mjGEOM_BOX:
            local = rng.choice([-1.0, 1.0], (60, 3)) * size
        else:
            turn = rng.uniform(0, 2 * np.pi, 60)
            local = np.stack(
                [size[0] * np.cos(turn), size[0] * np.sin(turn), rng.choice([-1.0, 1.0], 60) * size[1]], axis=1
            )
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, model.geom_quat[geom])
        points = local @ rotation.reshape(3, 3).T + model.geom_pos[geom]
        outside = np.full(60, np.inf)
        for c in CAPSULES:
            if c.link == link:
                a, d = np.array(c.start), np.subtract(c.end, c.start)
                t = np.clip((points - a) @ d / max(d @ d, 1e-12), 0, 1)
                outside = np.minimum(outside, np.linalg.norm(points - a - t[:, None] * d, axis=1) - c.radius)
        allowed = 0.006 if name.startswith("finger") else 0.0032 if name == "link1" else 0.0006
        assert outside.max() < allowed, (name, kind, outside.max())


def test_a_look_at_many_equals_looks_at_each() -> None:
    body, joints = Body(1, 0.0, BOXES), random_joints(20)
    openings = np.random.default_rng(3).uniform(0.0, 0.07, 20)
    together = body.look(joints, openings)
    for k, opening in enumerate(openings):
        assert np.allclose(
            together.row(k).clearance, body.look(joints[k : k + 1], float(opening)).clearance, atol=1e-12
        )


def test_what_stands_still_is_not_measured_against_table_and_boxes() -> None:
    body = Body(1, 0.0, BOXES)
    for reason in ("table", "keep_out"):
        names = {body.items[i][1].split(" to ")[0] for i in columns(body, reason)}
        assert names == {c.name for c in CAPSULES} - set(FIXED)


def test_half_a_box_is_refused() -> None:
    with pytest.raises(LimitError, match=r"six numbers a box .* got 5"):
        Body(1, 0.0, (0.0, 0.0, 0.0, 1.0, 1.0))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_no_clearance_shrinks_by_more_than_the_levers_allow(seed: int) -> None:
    """What `case.Room` rests on."""
    random = np.random.default_rng(seed)
    body = Body(keep_out=BOXES)
    first = random.uniform(LOWER, UPPER)
    second = np.clip(first + random.normal(0.0, random.choice([1e-3, 0.03, 0.5]), 6), LOWER, UPPER)
    openings = random.uniform(0.0, 0.1, 2)
    look = body.look(np.array([first, second]), openings)
    most = float(np.abs(second - first) @ REACH) + abs(openings[1] - openings[0])
    assert float(np.abs(look.clearance[1] - look.clearance[0]).max()) <= most + 1e-9
    assert float(np.linalg.norm(look.tcp[1] - look.tcp[0])) <= most + 1e-9
