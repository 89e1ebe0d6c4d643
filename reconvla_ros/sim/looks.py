"""How a scene looks: light, table, room; plain, or drawn from a seed. Nothing here changes the physics."""

from __future__ import annotations

from dataclasses import dataclass
from math import radians

import numpy as np

PLANK_COLORS = ((0.72, 0.57, 0.42), (0.69, 0.54, 0.39), (0.74, 0.60, 0.45))
TABLES = ("wood", "painted", "checker", "cloth")
BUMP = (0.012, radians(1.5))  # [m], [rad] most by which a drawn look moves each camera along and about each axis


@dataclass(frozen=True)
class Look:
    """MJCF of what is seen: `headlight`, `light`, `materials`; `bump`: how far the cameras are off, None = not at all."""

    headlight: str
    light: str
    materials: str
    bump: tuple[float, float] | None = None


def _rgb(values: tuple[float, ...] | np.ndarray) -> str:
    return " ".join(f"{min(max(float(v), 0.0), 1.0):.3f}" for v in values)


def _headlight(ambient: float, diffuse: float) -> str:
    return (
        f'<headlight ambient="{ambient:.3f} {ambient:.3f} {ambient + 0.02:.3f}" '
        f'diffuse="{diffuse:.3f} {diffuse:.3f} {diffuse:.3f}" specular="0.05 0.05 0.05"/>'
    )


def _light(direction: tuple[float, ...] | np.ndarray, diffuse: tuple[float, ...] | np.ndarray) -> str:
    aim = " ".join(f"{float(v):.3f}" for v in direction)
    return (
        f'<light directional="true" pos="0.5 0.6 1.5" dir="{aim}" diffuse="{_rgb(diffuse)}" specular="0.25 0.25 0.25" '
        'castshadow="false"/>'
    )


def _materials(
    planks: tuple[tuple[float, ...] | np.ndarray, ...], trim: str, wall: str, floor: str, texture: str = ""
) -> str:
    named = 'texture="top" texuniform="true" ' if texture else ""
    boards = "".join(
        f'<material name="plank{k}" {named}rgba="{_rgb(c)} 1" specular="0.05"/>' for k, c in enumerate(planks)
    )
    return (
        f'{texture}{boards}<material name="trim" rgba="{trim} 1" specular="0.05"/>'
        f'<material name="wall" rgba="{wall} 1" specular="0"/><material name="floor" rgba="{floor} 1" specular="0"/>'
    )


PLAIN = Look(
    _headlight(0.42, 0.28),
    _light((-0.3, -0.45, -1.0), (0.55, 0.54, 0.50)),
    _materials(PLANK_COLORS, "0.50 0.37 0.26", "0.80 0.82 0.83", "0.62 0.66 0.70"),
)


def draw(seed: int) -> Look:
    """A look of its own for each seed: brightness, colour and direction of the light, table top, room, cameras."""
    rng = np.random.default_rng((7919, seed))
    direction = (float(rng.uniform(-0.7, 0.5)), float(rng.uniform(-0.8, 0.6)), -1.0)
    warmth = float(rng.uniform(-0.08, 0.08))
    bright = float(rng.uniform(0.38, 0.68))
    light = _light(direction, np.array([bright + warmth, bright, bright - warmth]))
    headlight = _headlight(float(rng.uniform(0.32, 0.50)), float(rng.uniform(0.18, 0.36)))
    kind = TABLES[int(rng.integers(len(TABLES)))]
    base = rng.uniform(0.35, 0.85) + rng.uniform(-0.12, 0.12, 3)
    texture = ""
    if kind == "wood":
        planks = tuple(np.array(c) * rng.uniform(0.75, 1.15) + rng.uniform(-0.04, 0.04, 3) for c in PLANK_COLORS)
    else:
        planks = (base,) * 3 if kind == "painted" else (np.ones(3),) * 3
    if kind in ("checker", "cloth"):
        other = base + rng.uniform(-0.14, 0.14, 3)
        marks = f'mark="random" markrgb="{_rgb(other)}" random="0.2"' if kind == "cloth" else ""
        builtin = "flat" if kind == "cloth" else "checker"
        texture = (
            f'<texture name="top" type="2d" builtin="{builtin}" rgb1="{_rgb(base)}" rgb2="{_rgb(other)}" '
            f'width="64" height="64" {marks}/>'
        )
    room = [_rgb(rng.uniform(0.45, 0.9) + rng.uniform(-0.08, 0.08, 3)) for _ in range(3)]
    return Look(headlight, light, _materials(planks, room[0], room[1], room[2], texture), BUMP)
