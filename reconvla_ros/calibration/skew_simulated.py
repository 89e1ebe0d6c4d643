"""A board waved by a hand in view of both simulated cameras, and one camera's stamps late by a known delay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from reconvla_ros.calibration.detect import Grey, grey_of
from reconvla_ros.calibration.simulated import GREY_NOISE, spec_of_scene
from reconvla_ros.calibration.skew import Glimpse, Tracker, estimate
from reconvla_ros.errors import CalibrationError
from reconvla_ros.sim.engine import mujoco
from reconvla_ros.sim.render import Renderer
from reconvla_ros.sim.scenes import CAMERAS, make
from reconvla_ros.sim.world import World
from reconvla_ros.types import CameraIntrinsics, Float

RATE, SECONDS = 30.0, 8.0
# The arm as after arm/ready; the wrist camera looks down on where the board is waved.
_JOINTS = np.array([-0.1, 1.0, -0.87, 0.0, 0.92, 0.0])
_MIDDLE = np.array([0.33, -0.04, 0.02])  # [m] in base_link, about which the board is waved
_REACH = np.array([0.035, 0.045, 0.012])  # [m] of each of the waves along x, y, z
_TILT = np.radians([7.0, 7.0, 14.0])  # of each of the waves about x, y, z
_WAVES = (0.35, 1.3)  # [Hz] lowest and highest of a hand's waves
JITTER = 0.002  # [s] standard deviation of the time between two pictures
LOST = 0.03  # share of pictures that never come


class Hand:
    """A smooth, irregular motion of the board: three waves along and about each axis, chosen by a seed."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng((seed, 5))
        self._hz = np.exp(rng.uniform(np.log(_WAVES[0]), np.log(_WAVES[1]), (6, 3)))
        self._phase = rng.uniform(0, 2 * np.pi, (6, 3))
        self._share = rng.dirichlet([3.0] * 3, 6)

    def board(self, time: float) -> tuple[Float, Float]:
        """Place (3,) [m] and quaternion w x y z of the board's body at `time` [s]."""
        waves = (self._share * np.sin(2 * np.pi * self._hz * time + self._phase)).sum(axis=1)
        x, y, z, w = Rotation.from_euler("xyz", waves[3:] * _TILT * 1.5).as_quat()
        return _MIDDLE + waves[:3] * _REACH * 1.5, np.array([w, x, y, z])


@dataclass(frozen=True)
class Trial:
    """One line of the table: what was injected and what was found [ms], [px]."""

    seed: int
    injected_ms: float
    found_ms: float
    error_ms: float
    spread_ms: float
    left_px: float


def pictures(
    seed: int, seconds: float = SECONDS
) -> tuple[dict[str, list[tuple[int, Grey]]], dict[str, CameraIntrinsics]]:
    """(true instant [ns], picture) of each camera: not at the same instants, with jitter, noise and lost ones; pinholes.

    Use in one thread (OpenGL).
    """
    rng, hand, world = np.random.default_rng((seed, 6)), Hand(seed), World(make("calibration", seed))
    world.model.opt.enableflags &= ~int(mujoco.mjtEnableBit.mjENBL_SLEEP)
    world.set_joints(_JOINTS)
    mocap = world.model.body("board").mocapid[0]
    taken: dict[str, list[tuple[int, Grey]]] = {}
    pinholes: dict[str, CameraIntrinsics] = {}
    for camera in CAMERAS:
        renderer = Renderer(world.model, camera)
        pinholes[camera], taken[camera] = renderer.intrinsics, []
        times = rng.uniform(0.0, 1.0 / RATE) + np.arange(0.0, seconds, 1.0 / RATE)
        for time in times + rng.normal(0.0, JITTER, len(times)):
            if rng.random() < LOST:
                continue
            world.data.mocap_pos[mocap], world.data.mocap_quat[mocap] = hand.board(float(time))
            mujoco.mj_kinematics(world.model, world.data)
            mujoco.mj_camlight(world.model, world.data)
            color, _ = renderer.render(world.data)
            noisy = grey_of(color) + rng.normal(0.0, GREY_NOISE, color.shape[:2])
            taken[camera].append((round((time + 100.0) * 1e9), np.clip(np.rint(noisy), 0, 255).astype(np.uint8)))
        renderer.close()
    return taken, pinholes


def late(glimpses: Sequence[Glimpse], delay: float) -> list[Glimpse]:
    """The same pictures, stamped `delay` [s] after they were taken."""
    return [Glimpse(g.stamp + delay, g.pose, g.corners, g.rays) for g in glimpses]


def trials(seed: int, delays: Sequence[float], seconds: float = SECONDS) -> list[Trial]:
    """The wrist camera late by each of `delays` [s], and what `skew.estimate` finds.

    Raises:
        CalibrationError: it finds none.
    """
    taken, pinholes = pictures(seed, seconds)
    seen = {camera: Tracker(spec_of_scene(), pinholes[camera]).track(taken[camera]) for camera in CAMERAS}
    base, wrist = (seen[camera] for camera in CAMERAS)
    made = []
    for delay in delays:
        try:
            found = estimate(base, late(wrist, delay), pinholes[CAMERAS[0]].fx)
        except CalibrationError as error:
            raise CalibrationError(f"seed {seed}, {delay * 1e3:g} ms: {error}") from error
        told = [round(v * 1e3, 3) for v in (delay, found.skew, found.skew - delay, found.spread)]
        made.append(Trial(seed, told[0], told[1], told[2], told[3], round(found.left_px, 3)))
    return made


def as_rows(made: Sequence[Trial]) -> list[dict[str, float]]:
    """For JSON."""
    return [asdict(trial) for trial in made]
