from __future__ import annotations

import numpy as np
import pytest

from reconvla_ros.errors import ConfigError
from reconvla_ros.sim.arm_io import Drive, Servo
from reconvla_ros.sim.scenes import BOWL_GAP, CAMERAS, FRUIT, FRUIT_GAP, FRUIT_REGION, TIMESTEP, make, mjcf
from reconvla_ros.sim.world import World

IDLE = Drive([Servo.OFF] * 6, np.zeros(6), np.zeros(6), False, 0.0, 0.0)
NAMES = [f[0] for f in FRUIT]


def test_seed_decides_and_repeats() -> None:
    assert make("fruit", 4) == make("fruit", 4)
    assert make("fruit", 4).digest == make("fruit", 4).digest
    assert len({make("fruit", seed).digest for seed in range(20)}) == 20
    assert mjcf(3) == make("fruit", 3).mjcf and mjcf(3).startswith("<mujoco")


@pytest.mark.parametrize("seed", range(0, 60, 3))
def test_fruit_lies_in_the_region_apart_from_each_other_and_the_bowl(seed: int) -> None:
    world = World(make("fruit", seed))
    places = np.array([world.body_position(name)[:2] for name in NAMES])
    (x0, x1), (y0, y1) = FRUIT_REGION
    assert np.all(places >= (x0, y0)) and np.all(places <= (x1, y1))
    apart = [np.linalg.norm(a - b) for i, a in enumerate(places) for b in places[i + 1 :]]
    assert min(apart) >= FRUIT_GAP
    assert min(np.linalg.norm(places - world.body_position("bowl")[:2], axis=1)) >= BOWL_GAP


@pytest.mark.parametrize("seed", [0, 11])
def test_everything_settles_where_it_was_put(seed: int) -> None:
    world = World(make("fruit", seed))
    before = {name: world.body_position(name) for name in (*NAMES, "bowl")}
    for _ in range(400):
        world.step(IDLE)
    for name, place in before.items():
        assert np.linalg.norm(world.body_position(name) - place) < 0.006, name
        assert world.body_position(name)[2] > -0.001
    assert np.abs(world.data.qvel[8:]).max() < 0.01


def test_the_model_is_cheap_and_has_its_cameras() -> None:
    model = World(make("fruit", 0)).model
    assert model.opt.timestep == TIMESTEP
    assert [model.camera(i).name for i in range(model.ncam)] == sorted(CAMERAS)
    assert model.vis.quality.offsamples == 0 and not model.light_castshadow.any()
    assert model.ntex == 0 and model.nmesh == 0 and not model.mat_reflectance.any()


def test_wrong_names_and_seeds() -> None:
    with pytest.raises(ConfigError, match="did you mean 'fruit'"):
        make("fruits")
    with pytest.raises(ConfigError, match="-1"):
        make("fruit", -1)


def test_the_bowl_holds_all_three_fruit() -> None:
    world = World(make("fruit", 0))
    bowl = world.body_position("bowl")
    for name, (x, y), height in zip(
        NAMES, ((0.026, 0.0), (-0.02, 0.02), (-0.01, -0.02)), (0.09, 0.11, 0.14), strict=True
    ):
        world.data.joint(name).qpos[:3] = np.add(bowl, (x, y, height))
    for _ in range(600):
        world.step(IDLE)
    where = world.body_position("bowl")
    for name in NAMES:
        out = world.body_position(name) - where
        assert np.linalg.norm(out[:2]) < 0.07 and 0.0 < out[2] < 0.09, name
    assert np.linalg.norm(where - bowl) < 0.02
