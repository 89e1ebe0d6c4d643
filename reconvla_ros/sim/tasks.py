"""The tasks: what lies where on the table for a seed, what is asked for, and when it is done.

A scene's name is the name of a task and, joined with '+', how it differs: `fruit_in_bowl+unseen+moved`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import cos, pi, radians, sin

import numpy as np

from reconvla_ros.errors import ConfigError, choices
from reconvla_ros.sim.goals import Goal
from reconvla_ros.sim.places import REGION, TRIES, Rng, Table
from reconvla_ros.sim.things import (
    BOWL,
    CUP,
    SEEN,
    SEEN_COLORS,
    SMALL_BOWL,
    UNSEEN,
    UNSEEN_COLORS,
    Dish,
    Kind,
    dish,
    lying,
    standing,
    thing,
)  # fmt: skip

VARIANTS = {
    "unseen": "objects of other shapes, colours and words than those for training",
    "moved": "the object is moved while the arm is on its way to it",
    "looks": "cameras, light and surfaces differ from seed to seed",
}
GAP = 0.105  # [m] between the middles of two things, so that an open gripper fits between them
BOWL_AT, BOWL_SPREAD, BOWL_GAP = (0.26, -0.26), (0.03, 0.02), 0.16  # [m] gap: rim and half a banana
MOVE_NEAR, MOVE_TIME = 0.12, 0.8  # [m] TCP this near (horizontally) starts the move; [s] it takes
MOVE_FAR = (0.05, 0.09)  # [m] how far the thing is moved
HAND_ROOM = 0.11  # [m] from the middle of a bowl to that of the hand beside it


@dataclass(frozen=True)
class Move:
    """`thing` slides to (x, y) [m] when the TCP comes near it the first time."""

    thing: str
    x: float
    y: float


@dataclass(frozen=True)
class Setup:
    """One start state and what is asked for.

    Attributes:
        task: name. variants: of VARIANTS. seed: that made it.
        kinds: name of each loose thing -> its kind (same word). dishes: name of each dish -> its colour.
        bodies: MJCF of what lies on the table.
        instructions: wordings, all right for this start; the first is the seed's own choice.
        goals: all must hold at once; in the order in which an expert goes about them.
        timeout: longest that a demonstration may take [s].
        move: what is moved on the way; None = nothing.
    """

    task: str
    variants: tuple[str, ...]
    seed: int
    kinds: tuple[str, ...]
    dishes: tuple[tuple[str, str], ...]
    bodies: str
    instructions: tuple[str, ...]
    goals: tuple[Goal, ...]
    timeout: float
    move: Move | None = None

    @property
    def instruction(self) -> str:
        """The wording that the seed chose."""
        return self.instructions[0]

    @property
    def names(self) -> tuple[str, ...]:
        """Every free body."""
        return (*self.kinds, *(name for name, _ in self.dishes))


def parse(name: str) -> tuple[str, tuple[str, ...]]:
    """`task+variant+variant` -> task, variants in order.

    Raises:
        ConfigError: no such task or variant, or one twice.
    """
    task, *variants = name.split("+")
    if task not in TASKS:
        raise ConfigError(f"task: {choices(task, TASKS)}")
    for variant in variants:
        if variant not in VARIANTS:
            raise ConfigError(f"variant of task {task}: {choices(variant, VARIANTS)}")
    if len(set(variants)) != len(variants):
        raise ConfigError(f"task {name!r}: a variant is named twice")
    return task, tuple(v for v in VARIANTS if v in variants)


def setup(name: str, seed: int) -> Setup:
    """The start state of a task with its variants, from a seed.

    Raises:
        ConfigError: as `parse`; a negative seed.
    """
    task, variants = parse(name)
    if seed < 0:
        raise ConfigError(f"seed: must be >= 0, got {seed}")
    # Seen and unseen starts of one seed differ; looks and moves are drawn from generators of their own.
    rng = np.random.default_rng((sum(task.encode()), "unseen" in variants, seed))
    while True:
        try:
            return TASKS[task](Table(rng), seed, variants)
        except RuntimeError:  # a layout that leaves no room for the next thing is begun anew
            continue


def _say(rng: Rng, wordings: Sequence[str]) -> tuple[str, ...]:
    first = int(rng.integers(len(wordings)))
    return (wordings[first], *(w for k, w in enumerate(wordings) if k != first))


def _draw(rng: Rng, kinds: Sequence[Kind], count: int) -> list[Kind]:
    return [kinds[int(k)] for k in rng.permutation(len(kinds))[:count]]


def _colors(rng: Rng, variants: Sequence[str], count: int) -> list[str]:
    colors = list(UNSEEN_COLORS if "unseen" in variants else SEEN_COLORS)
    return [colors[int(k)] for k in rng.permutation(len(colors))[:count]]


def _lay(table: Table, kinds: Sequence[Kind]) -> tuple[str, dict[str, tuple[float, float]]]:
    """MJCF of these things and where they are."""
    text, places = "", {}
    for kind in kinds:
        x, y = table.place(GAP / 2)
        places[kind.name] = (x, y)
        text += thing(kind.name, kind, x, y, float(table.rng.uniform(-pi, pi)))
    return text, places


def _bowl(table: Table, color: str, form: Dish = BOWL) -> str:
    x, y = (c + float(table.rng.uniform(-s, s)) for c, s in zip(BOWL_AT, BOWL_SPREAD, strict=True))
    table.take(x, y, BOWL_GAP - GAP / 2)
    return dish("bowl", form, color, standing(x, y))


def _move(table: Table, name: str, x: float, y: float, radius: float, wanted: bool) -> Move | None:
    """Where a thing at (x, y) is moved to; nowhere when it is not wanted."""
    rng = table.rng
    for _ in range(TRIES if wanted else 0):
        far, way = float(rng.uniform(*MOVE_FAR)), float(rng.uniform(-pi, pi))
        to = x + far * cos(way), y + far * sin(way)
        inside = all(low <= v <= high for v, (low, high) in zip(to, REGION, strict=True))
        # Its own place counts as free: the circle around it is taken by itself.
        others = [(a, b, r) for a, b, r in table.taken if (a, b) != (x, y)]
        if inside and all(np.hypot(to[0] - a, to[1] - b) >= radius + r for a, b, r in others):
            return Move(name, *to)
    if wanted:
        raise RuntimeError("no room to move to")
    return None


def _fruit_in_bowl(table: Table, seed: int, variants: tuple[str, ...]) -> Setup:
    """One fruit is named; two other things lie beside it."""
    rng = table.rng
    color = _colors(rng, variants, 1)[0]
    bowl = _bowl(table, color)
    pool = UNSEEN if "unseen" in variants else SEEN
    target = _draw(rng, [k for k in pool if k.fruit], 1)[0]
    mixed = bool(rng.random() < 0.5)  # half of the time another fruit lies there, and only the word says which one
    beside = [k for k in dict.fromkeys((*SEEN, *pool)) if k is not target and (mixed or not k.fruit)]
    others = _draw(rng, beside, 2)
    text, places = _lay(table, [target, *others])
    word = target.name
    wordings = [
        f"put the {word} in the bowl",
        f"place the {word} into the bowl",
        f"pick up the {word} and put it in the {color} bowl",
        f"drop the {word} into the bowl",
    ]
    if not any(k.fruit for k in others):
        wordings += ["put fruit in bowl", "put the fruit in the bowl"]
    said = _say(rng, wordings)
    move = _move(table, word, *places[word], GAP / 2, "moved" in variants)
    kinds = (target.name, *(k.name for k in others))
    return Setup(
        "fruit_in_bowl", variants, seed, kinds, (("bowl", color),), text + bowl, said, (Goal("in", word, "bowl"),), 40.0, move
    )  # fmt: skip


def _tidy_table(table: Table, seed: int, variants: tuple[str, ...]) -> Setup:
    """Three things, all of which belong into the bowl."""
    rng = table.rng
    color = _colors(rng, variants, 1)[0]
    bowl = _bowl(table, color)
    kinds = _draw(rng, UNSEEN if "unseen" in variants else SEEN, 3)
    text, places = _lay(table, kinds)
    said = _say(
        rng,
        ("tidy the table", "clean up the table", "put everything in the bowl", f"put all things into the {color} bowl"),
    )
    # Nearest to the bowl first: an order that can be seen in the picture.
    names = sorted(places, key=lambda n: float(np.hypot(places[n][0] - BOWL_AT[0], places[n][1] - BOWL_AT[1])))
    move = _move(table, names[0], *places[names[0]], GAP / 2, "moved" in variants)
    goals = tuple(Goal("in", n, "bowl") for n in names)
    return Setup("tidy_table", variants, seed, tuple(places), (("bowl", color),), text + bowl, said, goals, 90.0, move)


def _stack_bowls(table: Table, seed: int, variants: tuple[str, ...]) -> Setup:
    """Two bowls to stack, and one thing beside them."""
    rng = table.rng
    top, bottom = _colors(rng, variants, 2)
    places = {}
    for name in ("top", "bottom"):
        x, y = places[name] = table.place(SMALL_BOWL.rim + 0.03, ((0.27, 0.42), (-0.17, 0.17)))
        # The gripper comes low on the arm's side of a bowl that it pinches.
        near = 1.0 - HAND_ROOM / float(np.hypot(x, y))
        if not all(np.hypot(near * x - a, near * y - b) > 0.05 + r for a, b, r in table.taken[:-1]):
            raise RuntimeError("no room for the hand")
        table.take(near * x, near * y, 0.05)
    other = _draw(rng, UNSEEN if "unseen" in variants else SEEN, 1)
    text, _ = _lay(table, other)
    text += dish("top", SMALL_BOWL, top, standing(*places["top"])) + dish(
        "bottom", SMALL_BOWL, bottom, standing(*places["bottom"])
    )
    said = _say(rng, (f"stack the {top} bowl on the {bottom} bowl", f"put the {top} bowl into the {bottom} bowl",
                      f"place the {top} bowl on top of the {bottom} bowl"))  # fmt: skip
    move = _move(table, "top", *places["top"], SMALL_BOWL.rim + 0.03, "moved" in variants)
    dishes = (("top", top), ("bottom", bottom))
    return Setup(
        "stack_bowls", variants, seed, (other[0].name,), dishes, text, said, (Goal("on", "top", "bottom"),), 40.0, move
    )


def _flip_cup(table: Table, seed: int, variants: tuple[str, ...]) -> Setup:
    """A cup on its side, its mouth obliquely towards the arm, and one thing beside it.

    The foot points 28 to 39 degrees off the line from the arm: a turn of the last joint then sets it upright without a way
    through the singularity of the wrist.
    """
    rng = table.rng
    color = _colors(rng, variants, 1)[0]
    far, turn = float(rng.uniform(0.27, 0.36)), radians(float(rng.uniform(-22.0, 22.0)))
    x, y = far * cos(turn), far * sin(turn)
    table.take(x, y, 0.075)
    table.take(0.40, 0.0, 0.08)  # where it is set down
    yaw = turn + float(rng.choice((-1.0, 1.0))) * radians(float(rng.uniform(28.0, 39.0)))
    other = _draw(rng, UNSEEN if "unseen" in variants else SEEN, 1)
    text, _ = _lay(table, other)
    text += dish("cup", CUP, color, lying(x, y, yaw, CUP))
    said = _say(rng, ("flip the cup upright", f"set the {color} cup upright", "turn the cup over so that it stands",
                      f"stand the {color} cup up"))  # fmt: skip
    move = None
    if "moved" in variants:  # along the line from the arm, so that its heading stays one that the arm can turn
        to = far + 0.06 if far < 0.30 else far - 0.05
        move = Move("cup", to * cos(turn), to * sin(turn))
    return Setup(
        "flip_cup", variants, seed, (other[0].name,), (("cup", color),), text, said, (Goal("up", "cup"),), 60.0, move
    )


TASKS: dict[str, Callable[[Table, int, tuple[str, ...]], Setup]] = {
    "fruit_in_bowl": _fruit_in_bowl,
    "stack_bowls": _stack_bowls,
    "flip_cup": _flip_cup,
    "tidy_table": _tidy_table,
}
