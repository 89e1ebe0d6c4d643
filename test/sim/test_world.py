from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reconvla_ros.sim import frames, tasks
from reconvla_ros.sim.chain import Chain
from reconvla_ros.sim.scenes import make
from reconvla_ros.sim.world import World

READY = np.array([0.0, 1.0, -1.2, 0.0, 0.6, 0.0])


@pytest.fixture
def rig(make_rig: Any) -> Any:
    rig = make_rig(make("empty"))
    rig.world.set_joints(READY)
    return rig


def test_the_chain_of_the_model_is_the_chain_of_the_firmware() -> None:
    world, chain = World(make("empty")), Chain()
    for q in np.random.default_rng(0).uniform(-1, 1, (20, 6)) + READY:
        world.set_joints(q)
        flange = chain.forward(q)
        np.testing.assert_allclose(world.body_position("link6"), flange[:3, 3], atol=1e-9)
        np.testing.assert_allclose(world.data.body("link6").xmat.reshape(3, 3), flange[:3, :3], atol=1e-8)


def test_at_rest_and_limp_it_stays_folded(make_rig: Any) -> None:
    rig = make_rig(make("empty"))
    rig.run(10.0)
    np.testing.assert_allclose(rig.joints, np.zeros(6), atol=0.03)


def test_limp_it_falls_and_enabled_it_holds(rig: Any) -> None:
    rig.enable()
    rig.run(0.3)  # it fell a little before the motors came on, and is caught
    held = rig.joints
    rig.run(3.0)
    np.testing.assert_allclose(rig.joints, held, atol=1e-3)
    rig.send(frames.ENABLE, motor=7, code=1)
    rig.run(0.5)
    assert np.abs(rig.joints - held).max() > 0.4
    rig.run(3.0)
    assert np.abs(rig.world.data.qvel[:6]).max() < 0.1  # it lies on the table, not below it
    assert all(rig.world.body_position(f"link{j}")[2] > -0.01 for j in range(1, 7))


def test_one_limp_joint_falls_alone(rig: Any) -> None:
    rig.enable()
    rig.send(frames.ENABLE, motor=3, code=1)
    held = rig.joints
    rig.run(1.0)
    moved = np.abs(rig.joints - held)
    assert moved[2] > 0.3 and max(moved[[0, 1, 3, 4, 5]]) < 0.01


def test_emergency_stop_sinks_slowly(rig: Any) -> None:
    rig.enable()
    begin = rig.joints
    rig.send(frames.STOP, stop=1)
    rig.run(0.5)
    sunk = np.abs(rig.joints - begin).max()
    assert 0.005 < sunk < 0.35
    rig.run(2.0)
    assert np.abs(rig.joints - begin).max() > 2 * sunk


def test_tracking_is_close_and_effort_is_gravity(rig: Any) -> None:
    rig.enable()
    target = np.array([0.5, 1.4, -1.0, 0.4, -0.5, 0.8])
    rig.go(target)
    rig.run(0.5)
    np.testing.assert_allclose(rig.joints, target, atol=2e-3)
    effort = rig.world.sensed().effort
    assert 1.0 < abs(effort[1]) < 20.0 and abs(effort[0]) < 0.3


@pytest.mark.parametrize("full", [0.07, 0.1])
def test_gripper_opens_and_closes(make_rig: Any, full: float) -> None:
    rig = make_rig(make("empty", gripper_opening=full))
    rig.firmware.flash.gripper_range = round(full * 1000)
    rig.enable()
    for opening in (full, 0.0, full / 2):
        rig.grip(opening)
        assert rig.world.sensed().opening == pytest.approx(opening, abs=1e-3)


def seed_with(fruit: str) -> int:
    """A start that asks for this fruit."""
    return next(s for s in range(100) if tasks.setup("fruit_in_bowl", s).goals[0].thing == fruit)


@pytest.mark.parametrize("fruit", ["orange", "lime", "banana"])
def test_the_gripper_grasps_lifts_and_lets_go(make_rig: Any, fruit: str) -> None:
    rig = make_rig(make("fruit_in_bowl", seed_with(fruit)))
    rig.enable()
    place = rig.world.body_position(fruit)
    axes = rig.world.data.body(fruit).xmat.reshape(3, 3)
    across = None if fruit == "orange" else np.cross((0.0, 0.0, 1.0), axes[:, 0])  # grasp the narrow way
    high, low = (rig.above(np.array([*place[:2], z]), across) for z in (0.12, 0.024))
    rig.grip(0.07)
    rig.go(high)
    rig.go(low)
    rig.grip(0.0)
    held = rig.world.sensed()
    assert 0.025 < held.opening < 0.065 and held.gripper_effort > 0.2
    rig.go(high)
    assert rig.world.body_position(fruit)[2] > place[2] + 0.07
    rig.run(3.0)
    assert rig.world.body_position(fruit)[2] > place[2] + 0.07  # it does not slip
    rig.grip(0.07)
    rig.run(0.5)
    assert rig.world.body_position(fruit)[2] < 0.06
