from __future__ import annotations

import numpy as np
import pytest

from reconvla_ros.errors import ConfigError
from reconvla_ros.sim import looks, tasks
from reconvla_ros.sim.arm_io import Drive, Servo
from reconvla_ros.sim.scenes import CAMERAS, TIMESTEP, make, mjcf
from reconvla_ros.sim.world import World

IDLE = Drive([Servo.OFF] * 6, np.zeros(6), np.zeros(6), False, 0.0, 0.0)
NAMES = [*tasks.TASKS, "fruit_in_bowl+unseen", "tidy_table+looks"]


def test_seed_decides_and_repeats() -> None:
    assert make("fruit_in_bowl", 4) == make("fruit_in_bowl", 4)
    assert make("fruit_in_bowl", 4).digest == make("fruit_in_bowl", 4).digest
    assert len({make("fruit_in_bowl", seed).digest for seed in range(20)}) == 20
    assert mjcf(3) == make("fruit_in_bowl", 3).mjcf and mjcf(3).startswith("<mujoco")


@pytest.mark.parametrize("name", NAMES)
def test_everything_settles_where_it_was_put(name: str) -> None:
    for seed in (0, 11):
        scene = make(name, seed)
        assert scene.setup is not None
        world = World(scene)
        before = {body: world.body_position(body) for body in scene.setup.names}
        for _ in range(400):
            world.step(IDLE)
        for body, place in before.items():
            assert np.linalg.norm(world.body_position(body) - place) < 0.006, body
            assert world.body_position(body)[2] > -0.001
        assert np.abs(world.data.qvel[8:]).max() < 0.01


def test_the_model_is_cheap_and_has_its_cameras() -> None:
    model = World(make("fruit_in_bowl", 0)).model
    assert model.opt.timestep == TIMESTEP
    assert [model.camera(i).name for i in range(model.ncam)] == sorted(CAMERAS)
    assert model.vis.quality.offsamples == 0 and not model.light_castshadow.any()
    assert model.ntex == 0 and model.nmesh == 0 and not model.mat_reflectance.any()


def test_a_drawn_look_changes_light_surfaces_and_cameras_but_nothing_that_moves() -> None:
    plain, drawn = (World(make(name, 5)).model for name in ("fruit_in_bowl", "fruit_in_bowl+looks"))
    assert len({looks.draw(seed) for seed in range(30)}) == 30
    assert {t for seed in range(30) for t in ("checker", "random") if t in looks.draw(seed).materials} == {
        "checker",
        "random",
    }
    assert not np.allclose(plain.light_diffuse, drawn.light_diffuse)
    off = np.linalg.norm(plain.cam_pos - drawn.cam_pos, axis=1)
    assert np.all(off > 1e-4) and np.all(off < 3**0.5 * looks.BUMP[0])
    np.testing.assert_allclose(plain.body_mass, drawn.body_mass)
    np.testing.assert_allclose(plain.qpos0, drawn.qpos0)


def test_wrong_names_and_seeds() -> None:
    with pytest.raises(ConfigError, match="did you mean 'fruit_in_bowl'"):
        make("fruit_in_bow")
    with pytest.raises(ConfigError, match="variant of task fruit_in_bowl"):
        make("fruit_in_bowl+unsen")
    with pytest.raises(ConfigError, match="-1"):
        make("fruit_in_bowl", -1)


def test_the_bowl_holds_three_things() -> None:
    scene = make("tidy_table", 0)
    assert scene.setup is not None
    world = World(scene)
    bowl = world.body_position("bowl")
    for name, (x, y), height in zip(
        scene.setup.kinds, ((0.026, 0.0), (-0.02, 0.02), (-0.01, -0.02)), (0.09, 0.11, 0.14), strict=True
    ):
        world.data.joint(name).qpos[:3] = np.add(bowl, (x, y, height))
    for _ in range(600):
        world.step(IDLE)
    assert world.director is not None
    assert world.director.holding(world.data) == ()
    assert np.linalg.norm(world.body_position("bowl") - bowl) < 0.02
