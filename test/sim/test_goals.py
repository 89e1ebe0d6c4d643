from __future__ import annotations

import numpy as np
import pytest

from reconvla_ros.sim.goals import Goal, Thing


def thing(x: float = 0.0, y: float = 0.0, z: float = 0.0, **differs: object) -> Thing:
    values = {"rotation": np.eye(3), "speed": 0.0, "turning": 0.0, "held": False} | differs
    return Thing(np.array([x, y, z]), **values)  # type: ignore[arg-type]


TILTED = np.array([[0.5, 0.0, 0.866], [0.0, 1.0, 0.0], [-0.866, 0.0, 0.5]])


@pytest.mark.parametrize(
    ("orange", "bowl", "holds"),
    [
        (thing(0.3, -0.2, 0.035), thing(0.3, -0.2), True),
        (thing(0.38, -0.2, 0.035), thing(0.3, -0.2), False),  # beside it
        (thing(0.3, -0.2, 0.12), thing(0.3, -0.2), False),  # above it
        (thing(0.3, -0.2, 0.035, held=True), thing(0.3, -0.2), False),  # still in the gripper
        (thing(0.3, -0.2, 0.035, speed=0.1), thing(0.3, -0.2), False),  # still falling
        (thing(0.3, -0.2, 0.035), thing(0.3, -0.2, rotation=TILTED), False),  # the bowl is knocked over
    ],
)
def test_in_a_bowl(orange: Thing, bowl: Thing, holds: bool) -> None:
    assert Goal("in", "orange", "bowl").holds({"orange": orange, "bowl": bowl}) is holds


@pytest.mark.parametrize(
    ("top", "bottom", "holds"),
    [
        (thing(0.3, 0.1, 0.009), thing(0.3, 0.1), True),
        (thing(0.32, 0.1, 0.009), thing(0.3, 0.1), False),  # not inside each other
        (thing(0.3, 0.1, 0.0), thing(0.3, 0.1), False),  # beside, not above
        (thing(0.3, 0.1, 0.009), thing(0.3, 0.1, 0.05), False),  # both in the air
        (thing(0.3, 0.1, 0.009, rotation=TILTED), thing(0.3, 0.1), False),
    ],
)
def test_a_bowl_on_a_bowl(top: Thing, bottom: Thing, holds: bool) -> None:
    assert Goal("on", "top", "bottom").holds({"top": top, "bottom": bottom}) is holds


def test_a_cup_stands_only_on_the_table_and_alone() -> None:
    goal = Goal("up", "cup")
    assert goal.holds({"cup": thing()})
    assert not goal.holds({"cup": thing(rotation=TILTED)})
    assert not goal.holds({"cup": thing(rotation=np.diag([1.0, -1.0, -1.0]))})  # on its mouth
    assert not goal.holds({"cup": thing(z=0.05)})
    assert not goal.holds({"cup": thing(held=True)})
