"""The scenes: a table, a bowl and fruit that the gripper can hold, lights and two cameras; from a name and a seed.

Everything is primitive geometry, so that software rendering stays cheap: no shadows, reflections, skybox or
multisampling. Table top at z = 0, the plane the arm stands on. [m], [kg], base_link.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from math import radians

import numpy as np
from scipy.spatial.transform import Rotation

from reconvla_ros.errors import ConfigError, choices
from reconvla_ros.sim import arm_mjcf, looks, tasks
from reconvla_ros.sim.board_picture import board_png, marker_png

TIMESTEP = 0.0025  # [s]
CAMERAS = ("camera_base", "camera_wrist")
DEFAULT = "fruit_in_bowl"
SCENES = (*tasks.TASKS, "empty", "calibration")
BASE_CAMERA = ((0.90, 0.25, 0.54), (0.24, -0.05, 0.085), 42.0)  # eye, looked-at point, vertical field of view [deg]
TABLE, PLANKS = (0.28, 0.48, 0.62), 8  # middle in x, half length in x and in y; planks along x

# Scene `calibration`: a ChArUco board (columns, rows, square [m], marker [m], dictionary; the defaults of
# calibration/board.py), where its centre lies (x, y [m], yaw [rad]), and single markers glued to the table (number, x, y).
BOARD, BOARD_AT = (6, 4, 0.045, 0.034, "DICT_4X4_50"), (0.27, -0.03, 0.4)
MARKERS, MARKER_SIDE = ((40, 0.36, 0.24), (41, 0.20, -0.30), (42, 0.52, -0.02)), 0.06  # [m]
SHEET = 0.0005  # [m] half thickness of a sheet with markers
BUMP = (0.02, radians(3.0))  # [m], [rad] most by which each axis of a camera is off nominal there, from seed 1 on

_CONTACT = 'condim="6" solref="0.005 1" solimp="0.9 0.99 0.001"'


@dataclass(frozen=True)
class Scene:
    """One scene in the form that the simulator and the cameras share; two with one digest are the same model."""

    name: str
    seed: int
    mjcf: str
    assets: dict[str, bytes] = field(default_factory=dict, repr=False, hash=False)  # files that the MJCF names
    setup: tasks.Setup | None = field(default=None, repr=False)  # of a task; None where there is nothing to do

    @property
    def digest(self) -> str:
        """SHA-256 of the model (hex)."""
        return hashlib.sha256(b"".join((self.mjcf.encode(), *self.assets.values()))).hexdigest()


def make(name: str = DEFAULT, seed: int = 0, gripper_opening: float = 0.07) -> Scene:
    """Build a scene: `empty`, `calibration`, or a task of `tasks.py` with its variants (`fruit_in_bowl+unseen`).

    Args:
        gripper_opening: full total opening of the gripper [m].

    Raises:
        ConfigError: no such scene or variant, or a seed that is negative.
    """
    if seed < 0:
        raise ConfigError(f"seed: must be >= 0, got {seed}")
    if name == "calibration":
        return _calibration_scene(seed, gripper_opening)
    if name == "empty":
        return Scene(name, seed, _document("", gripper_opening))
    if name.split("+")[0] not in tasks.TASKS:
        raise ConfigError(f"scene: {choices(name.split('+')[0], SCENES)}")
    setup = tasks.setup(name, seed)
    look = looks.draw(seed) if "looks" in setup.variants else looks.PLAIN
    text = _document(setup.bodies, gripper_opening, look)
    # The cameras of a drawn look sit a little elsewhere than tf says, as after a bump.
    if look.bump is not None:
        for pose in (_base_camera_pose(), arm_mjcf.WRIST_CAMERA.split(" fovy")[0]):
            text = text.replace(pose, _bumped(seed, pose, look.bump))
    return Scene(name, seed, text, setup=setup)


def mjcf(seed: int = 0, name: str = DEFAULT) -> str:
    """The MJCF text of a scene, to look at in any MuJoCo viewer."""
    return make(name, seed).mjcf


def camera_axes(eye: tuple[float, ...], at: tuple[float, ...]) -> str:
    """`xyaxes` of a camera at `eye` that looks at `at` with the horizon level."""
    look = np.array(at) - np.array(eye)
    right = np.cross(look, (0.0, 0.0, 1.0))
    up = np.cross(right, look)
    return " ".join(f"{v:.9g}" for v in (*right / np.linalg.norm(right), *up / np.linalg.norm(up)))


def _base_camera_pose() -> str:
    eye, at, _ = BASE_CAMERA
    return f'pos="{eye[0]} {eye[1]} {eye[2]}" xyaxes="{camera_axes(eye, at)}"'


def _document(objects: str, opening: float, look: looks.Look = looks.PLAIN) -> str:
    fovy = BASE_CAMERA[2]
    return f"""<mujoco model="reconvla_piper">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{TIMESTEP}" integrator="implicitfast" cone="elliptic" impratio="50" iterations="50">
    <flag sleep="enable"/>
  </option>
  <visual>
    <global offwidth="640" offheight="480" fovy="45"/>
    <quality shadowsize="0" offsamples="0" numslices="24" numstacks="14" numquads="1"/>
    <map znear="0.01" zfar="4" force="0.01"/>
    {look.headlight}
  </visual>
  <statistic extent="1" center="0.25 0 0.2"/>
  <default>
    <geom {_CONTACT}/>
    {arm_mjcf.defaults()}
    <default class="thing"><geom contype="1" conaffinity="3" group="1"/></default>
  </default>
  <asset>
    <material name="shell" rgba="0.90 0.91 0.93 1" specular="0.3" shininess="0.4"/>
    <material name="dark" rgba="0.20 0.21 0.24 1" specular="0.3" shininess="0.4"/>
    {look.materials}
  </asset>
  <worldbody>
    {look.light}
    <geom name="table" class="thing" type="box" pos="{TABLE[0]} 0 -0.02" size="{TABLE[1]} {TABLE[2]} 0.02" group="3"
          friction="0.8 0.01 0.002"/>
    <camera name="camera_base" {_base_camera_pose()} fovy="{fovy}"/>
    {arm_mjcf.body(opening)}
    {objects}
    <body name="room">{_room()}</body>
  </worldbody>
  {arm_mjcf.actuators()}
</mujoco>
"""


def _room() -> str:
    """What is only looked at: planks of the table top, its apron, floor and four walls.

    Last in the model, far things last of all, so that the rasteriser skips what nearer things already cover.
    """
    middle, half, side = TABLE
    width = side / PLANKS
    planks = "".join(
        f'<geom class="looks" type="box" pos="{middle} {(2 * k + 1) * width - side:.6g} -0.02" '
        f'size="{half} {width:.6g} 0.02" material="plank{k * 2 % 3}"/>'
        for k in range(PLANKS)
    )
    return (
        f'{planks}<geom class="looks" type="box" pos="{middle} 0 -0.06" material="trim" '
        f'size="{half - 0.02:.6g} {side - 0.02:.6g} 0.02"/>'
        '<geom class="looks" type="plane" pos="0 0 -0.72" size="3 3 1" material="floor"/>'
        '<geom class="looks" type="plane" pos="-1.4 0 0" zaxis="1 0 0" size="3 3 1" material="wall"/>'
        '<geom class="looks" type="plane" pos="0 -1.6 0" zaxis="0 1 0" size="3 3 1" material="wall"/>'
        '<geom class="looks" type="plane" pos="1.9 0 0" zaxis="-1 0 0" size="3 3 1" material="wall"/>'
        '<geom class="looks" type="plane" pos="0 1.6 0" zaxis="0 -1 0" size="3 3 1" material="wall"/>'
    )


def _sheet(name: str, texture: str, half: tuple[float, float], x: float, y: float, yaw: float) -> str:
    return (
        f'<body name="{name}" pos="{x} {y} {SHEET + 0.0002}" euler="0 0 {yaw}" mocap="true">'
        f'<geom class="looks" type="box" size="{half[0]:.6g} {half[1]:.6g} {SHEET}" material="{texture}"/></body>'
    )


def _board_scene() -> str:
    columns, rows, square = BOARD[:3]
    paper = f'<geom class="looks" type="box" pos="0 0 {-1.5 * SHEET}" size="0.1485 0.105 {SHEET / 2}" rgba="1 1 1 1"/>'
    board = _sheet("board", "board", (columns * square / 2, rows * square / 2), *BOARD_AT).replace(
        "</body>", f"{paper}</body>"
    )
    half = MARKER_SIDE * 4 / 3 / 2  # with the quiet zone
    return board + "".join(_sheet(f"marker{n}", f"marker{n}", (half, half), x, y, 0.0) for n, x, y in MARKERS)


def _bumped(seed: int, pose: str, bump: tuple[float, float] = BUMP) -> str:
    """A camera's `pos` and `xyaxes` moved by up to `bump` [m], [rad] along and about each axis."""
    rng = np.random.default_rng((seed, len(pose)))
    position, axes = (np.array(part.split(), dtype=float) for part in pose.split('"')[1:4:2])
    turned = Rotation.from_rotvec(rng.uniform(-bump[1], bump[1], 3)).apply(axes.reshape(2, 3)).ravel()
    numbers = (position + rng.uniform(-bump[0], bump[0], 3), turned)
    pos, xyaxes = (" ".join(f"{v:.9g}" for v in part) for part in numbers)
    return f'pos="{pos}" xyaxes="{xyaxes}"'


def _calibration_scene(seed: int, opening: float) -> Scene:
    """The board and the markers; from seed 1 on both cameras sit elsewhere than tf says, as after a bump."""
    textures = {"board": board_png(*BOARD)} | {f"marker{n}": marker_png(n, BOARD[4]) for n, _, _ in MARKERS}
    assets = "".join(
        f'<texture name="{name}" type="2d" file="{name}.png"/>'
        f'<material name="{name}" texture="{name}" texuniform="false" specular="0.02"/>'
        for name in textures
    )
    text = _document(_board_scene(), opening).replace("</asset>", f"{assets}</asset>")
    if seed:
        wrist = arm_mjcf.WRIST_CAMERA.split(" fovy")[0]
        for pose in (_base_camera_pose(), wrist):
            text = text.replace(pose, _bumped(seed, pose))
    return Scene("calibration", seed, text, {f"{name}.png": data for name, data in textures.items()})
