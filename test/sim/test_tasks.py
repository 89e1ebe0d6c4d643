from __future__ import annotations

import numpy as np
import pytest

from reconvla_ros.errors import ConfigError
from reconvla_ros.sim import tasks, things
from reconvla_ros.sim.arm_io import Drive, Servo
from reconvla_ros.sim.scenes import make
from reconvla_ros.sim.world import World

IDLE = Drive([Servo.OFF] * 6, np.zeros(6), np.zeros(6), False, 0.0, 0.0)
SEEDS = range(40)


@pytest.mark.parametrize("task", tasks.TASKS)
def test_starts_repeat_differ_and_are_not_done(task: str) -> None:
    assert tasks.setup(task, 3) == tasks.setup(task, 3)
    assert len({tasks.setup(task, seed).bodies for seed in SEEDS}) == len(SEEDS)
    assert len({tasks.setup(task, seed).instruction for seed in SEEDS}) >= 3
    world = World(make(task, 3))
    assert world.director is not None
    for _ in range(100):
        world.step(IDLE)
    assert len(world.director.holding(world.data)) == len(tasks.setup(task, 3).goals)
    assert not world.director.done(world.data)


@pytest.mark.parametrize("task", tasks.TASKS)
def test_unseen_starts_share_no_word_with_those_for_training(task: str) -> None:
    seen = {kind.name for kind in things.SEEN} | set(things.SEEN_COLORS)
    new = {kind.name for kind in things.UNSEEN} | set(things.UNSEEN_COLORS)
    assert not seen & new
    assert not {(k.shape, k.size) for k in things.SEEN} & {(k.shape, k.size) for k in things.UNSEEN}
    for seed in SEEDS:
        plain, other = tasks.setup(task, seed), tasks.setup(f"{task}+unseen", seed)
        assert not new & {word for text in plain.instructions for word in text.split()}
        assert not seen & {word for text in other.instructions for word in text.split()}
        assert {g.thing for g in other.goals} <= new | {"top", "cup"}


def test_a_fruit_is_named_where_another_lies_beside_it() -> None:
    for seed in SEEDS:
        found = tasks.setup("fruit_in_bowl", seed)
        fruit = [k for k in found.kinds if next(kind for kind in things.SEEN if kind.name == k).fruit]
        assert len(found.kinds) == 3
        assert all(found.goals[0].thing in text for text in found.instructions) == (len(fruit) > 1)


@pytest.mark.parametrize("task", tasks.TASKS)
def test_things_lie_apart(task: str) -> None:
    for seed in SEEDS:
        world = World(make(task, seed))
        names = tasks.setup(task, seed).names
        places = [world.body_position(name)[:2] for name in names]
        gaps = [float(np.linalg.norm(a - b)) for i, a in enumerate(places) for b in places[i + 1 :]]
        assert min(gaps) > 0.07, seed


def test_the_moved_thing_slides_once_when_the_hand_comes_near() -> None:
    scene = make("fruit_in_bowl+moved", 3)
    assert scene.setup is not None and scene.setup.move is not None
    move, world = scene.setup.move, World(scene)
    assert world.director is not None
    before = world.body_position(move.thing)
    for _ in range(100):
        world.step(IDLE)
    assert world.director.moved_at is None
    np.testing.assert_allclose(world.body_position(move.thing), before, atol=0.002)
    world.data.joint(move.thing).qpos[:2] = world.director.tcp(world.data)[:2] + np.array(
        [0.05, 0.0]
    )  # as if the hand had come
    for _ in range(300):
        world.step(IDLE)
    assert world.director.moved_at is not None
    np.testing.assert_allclose(world.body_position(move.thing)[:2], (move.x, move.y), atol=0.01)


def test_names_of_scenes() -> None:
    assert tasks.parse("flip_cup") == ("flip_cup", ())
    assert tasks.parse("flip_cup+looks+unseen") == ("flip_cup", ("unseen", "looks"))
    for bad in ("flip_cups", "flip_cup+odd", "flip_cup+looks+looks"):
        with pytest.raises(ConfigError):
            tasks.parse(bad)
