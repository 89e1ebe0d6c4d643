"""A rendered RGB-D camera: loads the simulator's scene, follows its state in shared memory, renders its own view."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from reconvla_ros.errors import ArmError, CameraError, ConfigError, choices
from reconvla_ros.sim.engine import mujoco
from reconvla_ros.sim.render import Renderer
from reconvla_ros.sim.scenes import CAMERAS, Scene, make
from reconvla_ros.sim.shared_state import Identity, Sample, StateReader
from reconvla_ros.tables import GRIPPER_RANGES
from reconvla_ros.types import CameraFrame, CameraIntrinsics, Pose

T = TypeVar("T")

STALE = 1.0  # [s] a simulator that has not published for so long is gone
_POLL = 0.002  # [s] between looks for a state that has not come yet
_PARENTS = {"camera_base": "base_link", "camera_wrist": "link6"}


def frame_id(camera: str) -> str:
    """The optical frame of the colour stream, as realsense2_camera names it."""
    return f"{camera}_color_optical_frame"


@dataclass(frozen=True)
class Mounting:
    """Where a camera's optical frame (REP-103: z forward, x right, y down) sits in a link of the arm."""

    parent: str
    child: str
    pose: Pose


def mounting(camera: str) -> Mounting:
    """The true mounting of a simulated camera: `camera_base` in base_link, `camera_wrist` in link6.

    Raises:
        CameraError: no such camera.
    """
    if camera not in CAMERAS:
        raise CameraError(f"simulated camera: {choices(camera, CAMERAS)}")
    model = mujoco.MjModel.from_xml_string(make("empty").mjcf)
    index = model.camera(camera).id
    w, x, y, z = model.cam_quat[index]
    # MuJoCo's camera looks along -z with y up: turn by pi about x, which is a product with the quaternion (1, 0, 0, 0).
    optical = np.array([w, z, -y, -x])
    return Mounting(_PARENTS[camera], frame_id(camera), Pose(model.cam_pos[index], optical))


class SimCamera:
    """One camera of the scene that the simulator at `state` (`shared_state.path_for`) runs; a `camera.protocol.Camera`.

    Args:
        camera: one of `scenes.CAMERAS`.
        state: the simulator's shared state.
        scene: the scene to render; None takes the one that the simulator names. Another model is refused in `open`.
        width, height: [px]. rate: frames a second [Hz]. offset: taken from every stamp [s], to try what a late stamp does.

    May be called from any one thread at a time: OpenGL stays in a thread of its own.
    """

    def __init__(
        self,
        camera: str,
        state: Path,
        scene: Scene | None = None,
        width: int = 640,
        height: int = 480,
        rate: float = 30.0,
        offset: float = 0.0,
    ):
        if camera not in CAMERAS:
            raise CameraError(f"simulated camera: {choices(camera, CAMERAS)}")
        if not (1 <= width <= 1920 and 1 <= height <= 1080 and 0.0 < rate <= 200.0):
            raise CameraError(
                f"{camera}: a rendered stream is 1x1..1920x1080 at 0..200 Hz, got {width}x{height} at {rate:g} Hz"
            )
        self.camera, self._state, self._asked, self._size = camera, state, scene, (width, height)
        self._period, self._offset_ns = 1.0 / rate, round(offset * 1e9)
        self._reader: StateReader | None = None
        self._renderer: Renderer | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._last: Sample | None = None
        self._due = 0.0

    def open(self) -> CameraIntrinsics:
        """Attach to the simulator, load its scene, start OpenGL.

        Raises:
            CameraError: no simulator, another scene than asked for, or no OpenGL on this machine.
        """
        self.close()
        try:
            self._reader = StateReader(self._state)
        except ArmError as error:
            raise CameraError(f"{self.camera}: {error}") from error
        try:
            scene = self._matching(self._reader.identity)
            self._model = mujoco.MjModel.from_xml_string(scene.mjcf, scene.assets)
            self._data = mujoco.MjData(self._model)
            self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"{self.camera}-gl")
            self._renderer = self._in_gl(lambda: Renderer(self._model, self.camera, *self._size))
        except BaseException:
            self.close()
            raise
        self._due = time.monotonic()
        return self._renderer.intrinsics

    def _matching(self, identity: Identity) -> Scene:
        """The scene whose model is the simulator's."""
        if self._asked is not None:
            if self._asked.digest != identity.digest:
                raise CameraError(
                    f"{self.camera}: asked for scene {self._asked.name!r} seed {self._asked.seed}, but the simulator "
                    f"at {self._state} runs scene {identity.scene!r} seed {identity.seed} (another model)"
                )
            return self._asked
        with contextlib.suppress(ConfigError):  # a scene that this version does not know
            for opening in GRIPPER_RANGES:
                scene = make(identity.scene, identity.seed, opening)
                if scene.digest == identity.digest:
                    return scene
        raise CameraError(
            f"{self.camera}: the simulator at {self._state} runs scene {identity.scene!r} seed {identity.seed} of "
            "another version of this package; restart both"
        )

    def _in_gl(self, work: Callable[[], T]) -> T:
        assert self._thread is not None
        return self._thread.submit(work).result()

    def read(self, timeout: float) -> CameraFrame | None:
        """The next frame at the camera's rate, or None when none came within `timeout` [s]; stamps strictly increase.

        Raises:
            CameraError: not open, the simulator has ended or has been silent for a second, or the clock went back.
        """
        if self._reader is None or self._renderer is None:
            raise CameraError(f"{self.camera}: not open")
        limit = time.monotonic() + timeout
        if self._due > limit:
            time.sleep(max(timeout, 0.0))
            return None
        time.sleep(max(self._due - time.monotonic(), 0.0))
        sample = self._newer(self._reader, limit)
        if sample is None:
            return None
        renderer, data = self._renderer, self._data
        data.qpos[:] = sample.position
        mujoco.mj_kinematics(self._model, data)
        mujoco.mj_camlight(self._model, data)
        color, depth = self._in_gl(lambda: renderer.render(data))
        self._last = sample
        # Absolute deadlines; a camera that fell behind drops frames instead of hurrying.
        self._due = max(self._due + self._period, time.monotonic() - self._period)
        stamp_ns = sample.stamp_ns - self._offset_ns
        return CameraFrame(stamp_ns, frame_id(self.camera), color, depth, renderer.intrinsics)

    def _newer(self, reader: StateReader, limit: float) -> Sample | None:
        """A sample newer than the last one rendered, waiting until `limit` [s, monotonic] for it."""
        while True:
            sample = reader.latest()
            now = time.monotonic()
            age = now - sample.monotonic_ns * 1e-9 if sample is not None else 0.0
            if reader.closed or age > STALE:
                what = "has ended" if reader.closed else f"has been silent for {age:.1f} s"
                raise CameraError(f"{self.camera}: the simulator (process {reader.pid}, {self._state}) {what}")
            if sample is not None and (self._last is None or sample.monotonic_ns > self._last.monotonic_ns):
                if self._last is not None and sample.stamp_ns <= self._last.stamp_ns:
                    raise CameraError(
                        f"{self.camera}: the clock went back by {(self._last.stamp_ns - sample.stamp_ns) * 1e-9:.3f} s"
                    )
                return sample
            if now >= limit:
                return None
            time.sleep(_POLL)

    def close(self) -> None:
        """Give OpenGL and the map back; safe to call twice."""
        if self._thread is not None:
            if self._renderer is not None:
                self._in_gl(self._renderer.close)
            self._thread.shutdown()
        if self._reader is not None:
            self._reader.close()
        self._reader = self._renderer = self._thread = self._last = None
