"""Views from the simulator, with the truth known: cameras that sit elsewhere than nominal, noisy pictures and joints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.calibration import planner
from reconvla_ros.calibration.board import BoardSpec
from reconvla_ros.calibration.detect import Corners, grey_of
from reconvla_ros.calibration.geometry import matrix
from reconvla_ros.calibration.views import HELD, CameraFacts, Moment, Picture, Sighting, Views, facts
from reconvla_ros.camera.sim import mounting
from reconvla_ros.sim.engine import mujoco
from reconvla_ros.sim.render import Renderer
from reconvla_ros.sim.scenes import BOARD, BOARD_AT, CAMERAS, SHEET, make
from reconvla_ros.sim.world import World
from reconvla_ros.types import Float

GREY_NOISE = 1.0  # [grey levels] of the sensor, standard deviation
CORNER_NOISE = 0.2  # [px] on top of what rendering and detection bring in themselves
JOINT_NOISE = 2e-4  # [rad] about 0.1 mm at half a metre, the repeatability AgileX gives; the wire counts 0.001 degrees
JOINT_STEP = np.radians(0.001)  # [rad] of the wire
_OPEN = 0.02  # [m] of each finger
# The board in the gripper, in link6: between the fingertips, facing away from the flange, its long side across.
_IN_HAND = (0.0, 0.0, 0.15)


@dataclass(frozen=True)
class Noise:
    """Standard deviations: grey levels, corners [px], joints [rad]."""

    grey: float = GREY_NOISE
    corner: float = CORNER_NOISE
    joint: float = JOINT_NOISE


def spec_of_scene() -> BoardSpec:
    """The board of scene `calibration`."""
    return BoardSpec(*BOARD)


def table_board(x: float = BOARD_AT[0], y: float = BOARD_AT[1], yaw: float = BOARD_AT[2]) -> Float:
    """Board frame in base_link (4, 4) of a board lying at x, y [m], turned by yaw [rad]: z down, as OpenCV has it."""
    return _board_of_body(_lying(x, y, yaw))


def _lying(x: float, y: float, yaw: float) -> Float:
    body = np.eye(4)
    body[:3, :3], body[:3, 3] = Rotation.from_euler("z", yaw).as_matrix(), (x, y, SHEET + 0.0002)
    return body


def _board_of_body(body: Float) -> Float:
    """The body's z points out of the printed side; the board's frame begins at its top left corner, z into it."""
    columns, rows, square = BOARD[:3]
    corner = np.eye(4)
    corner[:3, :3] = np.diag([1.0, -1.0, -1.0])
    corner[:3, 3] = (-columns * square / 2, rows * square / 2, SHEET)
    return np.asarray(body @ corner)


def truth(model: Any, camera: str) -> Float:
    """Where a camera of a MuJoCo model has its optical frame, in what it is fixed to (4, 4)."""
    index, made = model.camera(camera).id, np.eye(4)
    w, x, y, z = model.cam_quat[index]
    # MuJoCo's camera looks along -z with y up; the optical frame is turned by pi about x.
    made[:3, :3] = Rotation.from_quat([x, y, z, w]).as_matrix() @ np.diag([1.0, -1.0, -1.0])
    made[:3, 3] = model.cam_pos[index]
    return made


def _hand() -> Float:
    """The board's body in link6 when the gripper holds it (4, 4)."""
    made = np.eye(4)
    made[:3, 3] = _IN_HAND
    return made


class Studio:
    """The scene `calibration` of one seed, its two cameras, and the arm put anywhere at once.

    Make it, use it and close it in one and the same thread (OpenGL).
    """

    def __init__(self, seed: int, noise: Noise | None = None) -> None:
        self.noise = noise if noise is not None else Noise()
        self._rng = np.random.default_rng((seed, 17))
        self._world = World(make("calibration", seed))
        # Bodies that sleep are not placed anew, and with them cameras that are bumped.
        self._world.model.opt.enableflags &= ~int(mujoco.mjtEnableBit.mjENBL_SLEEP)
        self._world.data.qpos[6:8] = _OPEN
        self._renderers = {name: Renderer(self._world.model, name) for name in CAMERAS}
        self._kinematics = Kinematics()
        self._stamp = 1_000_000_000

    def close(self) -> None:
        """Give OpenGL back."""
        for renderer in self._renderers.values():
            renderer.close()

    def truth(self, camera: str) -> Float:
        """Where the camera's optical frame really sits in its parent (4, 4)."""
        return truth(self._world.model, camera)

    def bump(self, camera: str, place: Sequence[float] | Float, turn: Sequence[float] | Float) -> None:
        """Move a camera by `place` [m] and `turn` (rotation vector, [rad]), both in its parent frame."""
        model, index = self._world.model, self._world.model.camera(camera).id
        w, x, y, z = model.cam_quat[index]
        turned = (Rotation.from_rotvec(turn) * Rotation.from_quat([x, y, z, w])).as_quat()
        model.cam_quat[index] = (turned[3], *turned[:3])
        model.cam_pos[index] += place

    def cameras(self) -> dict[str, CameraFacts]:
        """Intrinsics and parents."""
        return {name: facts(name, r.intrinsics, "simulated") for name, r in self._renderers.items()}

    def put_board(self, body: Float) -> None:
        """The board's body at `body` (4, 4) in base_link."""
        x, y, z, w = Rotation.from_matrix(body[:3, :3]).as_quat()
        mocap = self._world.model.body("board").mocapid[0]
        self._world.data.mocap_pos[mocap], self._world.data.mocap_quat[mocap] = body[:3, 3], (w, x, y, z)

    def moment(self, name: str, joints: Float, place: str = "table", cameras: Sequence[str] = CAMERAS) -> Moment:
        """Both pictures with the arm at `joints`, and the joints as the encoders would give them."""
        if place == HELD:
            self.put_board(self._kinematics.flange(joints) @ _hand())
        self._world.set_joints(joints)
        mujoco.mj_camlight(self._world.model, self._world.data)
        self._stamp += 100_000_000
        pictures = {}
        for camera in cameras:
            color, _ = self._renderers[camera].render(self._world.data)
            noisy = grey_of(color) + self._rng.normal(0.0, self.noise.grey, color.shape[:2])
            pictures[camera] = Picture(np.clip(np.rint(noisy), 0, 255).astype(np.uint8), self._stamp)
        measured = joints + self._rng.normal(0.0, self.noise.joint, 6)
        return Moment(name, np.rint(measured / JOINT_STEP) * JOINT_STEP, self._stamp, pictures, place)

    def table_views(self, count: int, at: Sequence[tuple[float, float, float]] = (BOARD_AT,)) -> Views:
        """`count` views of a board on the table in each of the places `at` (x, y [m], yaw [rad])."""
        spec, moments = spec_of_scene(), list[Moment]()
        nominal = Studio.nominal_wrist()
        for number, place in enumerate(at):
            self.put_board(_lying(*place))
            found = planner.candidates(
                self._kinematics, nominal, self._renderers["camera_wrist"].intrinsics, table_board(*place), spec
            )  # fmt: skip
            name = "table" if len(at) == 1 else f"table-{number + 1}"
            for stop in planner.tour(found, count):
                moments.append(self.moment(f"{len(moments)}", stop.joints, name))
        return Views(self.cameras(), moments)

    def held_views(self, count: int) -> Views:
        """`count` views of the base camera, the board in the gripper."""
        nominal = matrix(mounting("camera_base").pose)
        base = self._renderers["camera_base"].intrinsics
        found = planner.held_candidates(self._kinematics, nominal, base, _board_of_body(_hand()), spec_of_scene())
        stops = planner.tour(found, count)
        moments = [self.moment(f"{k}", s.joints, HELD, ("camera_base",)) for k, s in enumerate(stops)]
        return Views({"camera_base": self.cameras()["camera_base"]}, moments)

    def blur(self, sightings: Sequence[Sighting]) -> list[Sighting]:
        """Sightings with the corner noise added."""
        return [
            Sighting(s.camera, s.moment, s.place,
                     Corners(s.corners.ids, s.corners.pixels + self._rng.normal(0.0, self.noise.corner, s.corners.pixels.shape)))
            for s in sightings
        ]  # fmt: skip

    @staticmethod
    def nominal_wrist() -> Float:
        """Where the wrist camera sits as far as anybody knows before calibrating (4, 4)."""
        return matrix(mounting("camera_wrist").pose)
