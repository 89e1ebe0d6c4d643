"""What lies on the table: kinds of things with their words, and their MJCF text. Primitive geometry only; [m], [kg].

Seen kinds and colours are for training; unseen ones have other shapes, colours and words, and are for evaluation only.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, cos, hypot, pi, sin, tan

FRICTION = {"thing": "0.8 0.01 0.002", "dish": "0.6 0.005 0.0001"}


@dataclass(frozen=True)
class Kind:
    """One kind of loose thing.

    Attributes:
        name: also the word for it. fruit: whether it is one.
        shape: sphere, ellipsoid, capsule (lying), cylinder (standing) or box. size: as MJCF has it [m]. mass: [kg].
        rgba: its colour. rest: height of its centre when it lies on the table [m].
        symmetry: a turn about the vertical by this leaves its grasp as it is [rad]; 0 = any turn does.
    """

    name: str
    fruit: bool
    shape: str
    size: tuple[float, ...]
    mass: float
    rgba: str
    rest: float
    symmetry: float = 0.0


SEEN = (
    Kind("orange", True, "sphere", (0.03,), 0.11, "0.95 0.50 0.08 1", 0.03),
    Kind("lime", True, "ellipsoid", (0.034, 0.025, 0.025), 0.08, "0.42 0.72 0.16 1", 0.025, pi),
    Kind("banana", True, "capsule", (0.017, 0.045), 0.10, "0.96 0.82 0.16 1", 0.017, pi),
    Kind("cube", False, "box", (0.021, 0.021, 0.021), 0.07, "0.20 0.32 0.80 1", 0.021, pi / 2),
    Kind("can", False, "cylinder", (0.022, 0.028), 0.09, "0.72 0.74 0.78 1", 0.028),
)
UNSEEN = (
    Kind("plum", True, "sphere", (0.025,), 0.06, "0.48 0.14 0.42 1", 0.025),
    Kind("lemon", True, "ellipsoid", (0.031, 0.023, 0.023), 0.07, "0.98 0.93 0.45 1", 0.023, pi),
    Kind("cucumber", True, "capsule", (0.015, 0.05), 0.09, "0.12 0.42 0.16 1", 0.015, pi),
    Kind("brick", False, "box", (0.03, 0.017, 0.017), 0.08, "0.66 0.24 0.18 1", 0.017, pi),
    Kind("jar", False, "cylinder", (0.025, 0.022), 0.09, "0.30 0.62 0.60 1", 0.022),
)
KINDS = {kind.name: kind for kind in (*SEEN, *UNSEEN)}

# Colours of dishes: word -> rgba.
SEEN_COLORS = {"blue": "0.25 0.45 0.75 1", "red": "0.78 0.22 0.20 1", "white": "0.90 0.90 0.87 1"}
UNSEEN_COLORS = {"yellow": "0.90 0.76 0.22 1", "purple": "0.52 0.34 0.68 1"}
COLORS = {**SEEN_COLORS, **UNSEEN_COLORS}


@dataclass(frozen=True)
class Dish:
    """A round dish with a flat foot and straight walls: radius of foot and rim, height, wall, mass, sides of its rim."""

    foot: float
    rim: float
    height: float
    wall: float
    mass: float
    sides: int = 16

    @property
    def lean(self) -> float:
        """Of the wall, outwards from the vertical [rad]."""
        return atan2(self.rim - self.foot, self.height)


# A bowl that takes three fruit, one to stack, and a cup; from a spike with the contacts of scenes.py (200 episodes).
BOWL = Dish(0.058, 0.09, 0.05, 0.004, 0.25)
SMALL_BOWL = Dish(0.040, 0.062, 0.045, 0.004, 0.11)
CUP = Dish(0.025, 0.027, 0.09, 0.003, 0.08, 12)


def thing(name: str, kind: Kind, x: float, y: float, yaw: float) -> str:
    """A loose thing called `name`, lying at (x, y), turned by `yaw` [rad]."""
    turn = f'xyaxes="{cos(yaw):.6g} {sin(yaw):.6g} 0 {-sin(yaw):.6g} {cos(yaw):.6g} 0"'
    lying = 'quat="0.70710678 0 0.70710678 0"' if kind.shape == "capsule" else ""
    size = " ".join(f"{v:g}" for v in kind.size)
    return (
        f'<body name="{name}" pos="{x:.6g} {y:.6g} {kind.rest}" {turn}><freejoint name="{name}"/>'
        f'<geom class="thing" name="{name}" type="{kind.shape}" size="{size}" mass="{kind.mass}" rgba="{kind.rgba}" '
        f'{lying} friction="{FRICTION["thing"]}"/></body>'
    )


def dish(name: str, form: Dish, color: str, place: str) -> str:
    """A dish called `name`; `place` are the attributes of its body (`pos`, and how it is turned). Origin: middle of the foot."""
    length, lean = hypot(form.rim - form.foot, form.height), form.lean
    middle, chord = (form.foot + form.rim) / 2, 2 * form.rim * tan(pi / form.sides)
    look = f'class="thing" rgba="{COLORS[color]}" friction="{FRICTION["dish"]}"'
    bottom = 0.36 * form.mass
    parts = [
        f'<geom {look} type="cylinder" pos="0 0 {form.wall / 2:.6g}" size="{form.foot + form.wall / 2:.6g} '
        f'{form.wall / 2:.6g}" mass="{bottom:.6g}"/>'
    ]
    for k in range(form.sides):
        turn = 2 * pi * k / form.sides
        parts.append(
            f'<geom {look} type="box" pos="{middle * cos(turn):.6g} {middle * sin(turn):.6g} {form.height / 2:.6g}" '
            f'size="{form.wall / 2:.6g} {chord / 2:.6g} {length / 2:.6g}" '
            f'mass="{(form.mass - bottom) / form.sides:.6g}" '
            f'xyaxes="{cos(lean) * cos(turn):.6g} {cos(lean) * sin(turn):.6g} {-sin(lean):.6g} '
            f'{-sin(turn):.6g} {cos(turn):.6g} 0"/>'
        )
    return f'<body name="{name}" {place}><freejoint name="{name}"/>{"".join(parts)}</body>'


def standing(x: float, y: float) -> str:
    """The place of a dish that stands at (x, y)."""
    return f'pos="{x:.6g} {y:.6g} 0"'


def lying(x: float, y: float, yaw: float, form: Dish) -> str:
    """The place of a dish on its side with its middle over (x, y); `yaw` [rad] is where its foot points."""
    # Its axis (foot to rim) points to -heading and a little up, so that foot and rim both touch the table.
    rise = atan2(form.rim - form.foot, form.height)
    heading = (cos(yaw), sin(yaw))
    axis = (-cos(rise) * heading[0], -cos(rise) * heading[1], sin(rise))
    side = (-heading[1], heading[0], 0.0)
    across = (
        side[1] * axis[2] - side[2] * axis[1],
        side[2] * axis[0] - side[0] * axis[2],
        side[0] * axis[1] - side[1] * axis[0],
    )
    # The corner of the foot touches the table.
    half = form.height / 2
    foot = (x - half * axis[0], y - half * axis[1], (form.foot + form.wall / 2) * cos(rise) + 5e-4)
    numbers = " ".join(f"{v:.6g}" for v in (*across, *side))
    return f'pos="{foot[0]:.6g} {foot[1]:.6g} {foot[2]:.6g}" xyaxes="{numbers}"'
