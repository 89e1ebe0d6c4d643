"""The arm as MJCF text: the exact chain and masses of `tables.py`, dressed in primitive geometry of our own.

Joint servos are position actuators whose gains the world switches (off, damped, hold). The gains, friction and
armature are guesses that work, not identified from a real arm.
"""

from __future__ import annotations

from collections.abc import Iterable

from reconvla_ros.tables import BODIES, CHAIN, Body

# Mechanical stops [rad]: a little outside the firmware's limits (piper_control 1.5.0 lists 0..195 and -175..0 degrees
# for J2 and J3: their zero is the stop itself; it gives a little, so a folded arm reads zero).
STOPS = ((-2.69, 2.69), (0.0005, 3.40), (-3.05, -0.0005), (-1.85, 1.85), (-1.31, 1.31), (-2.2, 2.2))
KP = (600.0, 600.0, 600.0, 300.0, 300.0, 100.0)  # [N m/rad]
KV = (40.0, 40.0, 40.0, 10.0, 10.0, 5.0)  # [N m s/rad]
TORQUE = (32.0, 32.0, 32.0, 10.0, 10.0, 10.0)  # [N m]
FRICTION = (0.5, 0.5, 0.5, 0.5, 1.0, 0.3)  # [N m] gears; J5 holds the folded gripper up when limp
GRIPPER_KP, GRIPPER_KV = 800.0, 20.0  # [N/m], [N s/m] per finger
FINGER_RGBA, SHELL, DARK = "0.12 0.12 0.13 1", "shell", "dark"
WRIST_CAMERA = 'pos="-0.07 0 0.04" xyaxes="0 -1 0 -0.906308 0 0.422618" fovy="58"'

# Looks per link, in its frame: (type, attributes, material). They collide with the scene, not with each other.
_SHAPES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "link1": (("cylinder", 'fromto="0 0 -0.045 0 0 0.02" size="0.045"', SHELL),),
    "link2": (
        ("cylinder", 'fromto="0 0 -0.048 0 0 0.048" size="0.043"', DARK),
        ("capsule", 'fromto="0.02 0 0 0.265 0 0" size="0.034"', SHELL),
        ("cylinder", 'fromto="0.28503 0 -0.042 0.28503 0 0.042" size="0.038"', DARK),
    ),
    "link3": (("capsule", 'fromto="-0.008 -0.03 0 -0.02198 -0.2 0" size="0.029"', SHELL),),
    "link4": (("cylinder", 'fromto="0 0 -0.05 0 0 0.0" size="0.028"', DARK),),
    "link5": (
        ("cylinder", 'fromto="0 0 -0.032 0 0 0.032" size="0.027"', SHELL),
        ("capsule", 'fromto="0 -0.01 0 0 -0.06 0" size="0.024"', SHELL),
    ),
    "link6": (
        ("cylinder", 'fromto="0 0 -0.012 0 0 0.02" size="0.028"', DARK),
        ("box", 'pos="0 0 0.052" size="0.02 0.042 0.032"', SHELL),
        ("box", 'pos="0 0 0.09" size="0.014 0.058 0.007"', DARK),
        ("box", 'pos="-0.062 0 0.02" size="0.012 0.045 0.012"', DARK),
        ("box", 'pos="-0.04 0 0.03" size="0.022 0.012 0.006"', DARK),
    ),
}


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{v:.9g}" for v in values)


def _inertial(body: Body) -> str:
    return (
        f'<inertial mass="{body.mass:.9g}" pos="{_numbers(body.com)}" '
        f'diaginertia="{_numbers(max(i, 1e-6) for i in body.inertia)}"/>'
    )


def _geoms(shapes: Iterable[tuple[str, str, str]]) -> str:
    return "".join(f'<geom class="arm" type="{kind}" {rest} material="{look}"/>' for kind, rest, look in shapes)


def _finger(side: str, sign: int, stroke: float) -> str:
    finger = BODIES["finger"]
    return (
        f'<body name="finger_{side}" pos="0 0 0">'
        f'<joint name="finger_{side}" type="slide" axis="0 {sign} 0" range="0 {stroke:.9g}" damping="2" '
        'armature="0.05"/>'
        f'<inertial mass="{finger.mass}" pos="0 {sign * 0.008} 0.118" diaginertia="{_numbers(finger.inertia)}"/>'
        f'<geom class="arm" type="box" pos="0 {sign * 0.013} 0.112" size="0.009 0.005 0.018" material="{DARK}"/>'
        f'<geom class="pad" name="pad_{side}" type="box" pos="0 {sign * 0.004} 0.125" size="0.011 0.004 0.02"/>'
        "</body>"
    )


def _gripper(opening: float) -> str:
    stroke = opening / 2
    return (
        f'<body name="gripper_base">{_inertial(BODIES["gripper_base"])}'
        f"{_finger('left', 1, stroke)}{_finger('right', -1, stroke)}</body>"
        f'<camera name="camera_wrist" {WRIST_CAMERA}/><site name="tool0"/>'
    )


def body(opening: float) -> str:
    """The arm as a `<body>` at the world's origin (base_link), gripper of total `opening` [m] included."""
    inside = _gripper(opening)
    for i in reversed(range(6)):
        link, (low, high) = CHAIN[i], STOPS[i]
        inside = (
            f'<body name="{link.name}" pos="{_numbers(link.position)}" quat="{_numbers(link.quaternion)}">'
            f'<joint name="joint{i + 1}" axis="0 0 1" range="{low} {high}" damping="1" armature="0.1" '
            f'frictionloss="{FRICTION[i]}" solimpfriction="0.9995 0.9995 0.001"/>'
            f"{_inertial(BODIES[link.name])}{_geoms(_SHAPES[link.name])}{inside}</body>"
        )
    base = (
        '<geom class="looks" type="cylinder" fromto="0 0 0 0 0 0.012" size="0.072" material="dark"/>'
        '<geom class="looks" type="cylinder" fromto="0 0 0.012 0 0 0.082" size="0.05" material="shell"/>'
    )
    return f'<body name="base_link">{_inertial(BODIES["base_link"])}{base}{inside}</body>'


def defaults() -> str:
    """The default classes of the arm: `arm` touches the scene only, `looks` nothing, `pad` holds fruit."""
    return (
        '<default class="arm"><geom contype="2" conaffinity="1" group="2" mass="0"/></default>'
        '<default class="looks"><geom contype="0" conaffinity="0" group="2" mass="0"/></default>'
        '<default class="pad"><geom contype="2" conaffinity="1" group="2" mass="0" priority="1" '
        f'friction="1 0.01 0.001" rgba="{FINGER_RGBA}"/></default>'
    )


def actuators() -> str:
    """Six joint servos and one per finger; the fingers are coupled so that they stay symmetric."""
    joints = "".join(
        f'<position name="joint{i + 1}" joint="joint{i + 1}" kp="{KP[i]}" kv="{KV[i]}" '
        f'forcerange="{-TORQUE[i]} {TORQUE[i]}"/>'
        for i in range(6)
    )
    fingers = "".join(
        f'<position name="{name}" joint="{name}" kp="{GRIPPER_KP}" kv="{GRIPPER_KV}" forcerange="-20 20"/>'
        for name in ("finger_left", "finger_right")
    )
    return (
        f"<actuator>{joints}{fingers}</actuator>"
        '<equality><joint joint1="finger_left" joint2="finger_right" polycoef="0 1 0 0 0"/></equality>'
    )
