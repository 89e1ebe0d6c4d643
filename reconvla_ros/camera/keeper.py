"""Keeps a camera going: opens it, hands its frames on, and gets it back when it goes away. No ROS, no clock of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from reconvla_ros.camera.protocol import Camera, Report, Reporting
from reconvla_ros.errors import CameraError
from reconvla_ros.types import CameraFrame, CameraIntrinsics

RETRY = 0.5  # [s] between attempts to get a lost camera back
START_PATIENCE = 5.0  # [s] in which a camera that is not there is no error yet
_READ = 0.5  # [s] longest that a stop waits for a frame


class CameraKeeper:
    """One camera, in the thread that calls `run`.

    Args:
        camera: what is read. use: called with every frame, in that thread.
        log: called with (grave, text) once per problem, not per attempt.
    """

    def __init__(
        self, camera: Camera, use: Callable[[CameraFrame], object], log: Callable[[bool, str], object]
    ) -> None:  # fmt: skip
        self._camera, self._use, self._log = camera, use, log
        self.problem = ""
        self.recoveries = 0
        self.intrinsics: CameraIntrinsics | None = None
        self._opened = False

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set. Nothing that a camera does ends it."""
        begin = time.monotonic()
        while not stop.is_set():
            try:
                self._once()
            except CameraError as error:
                # At start the simulator, or a hub that powers up, may simply not be there yet.
                self._lost(str(error), time.monotonic() - begin >= START_PATIENCE)
                stop.wait(RETRY)
            except Exception as error:  # a thread that died here would be a camera that is silent without a word
                self._lost(f"{type(error).__name__}: {error}", True)
                stop.wait(RETRY)
        self._camera.close()
        self._opened = False

    def _once(self) -> None:
        if not self._opened:
            self.intrinsics = self._camera.open()
            self._opened = True
        frame = self._camera.read(_READ)
        if frame is None:
            return
        if self.problem:  # not before a frame has come: opening alone proves nothing
            self.recoveries += 1
            self.problem = ""
            self._log(False, "the camera is back")
        self._use(frame)

    def _lost(self, problem: str, grave: bool) -> None:
        if problem != self.problem:
            self._log(grave, problem)
        self.problem = problem
        self._opened = False
        self._camera.close()

    def report(self) -> Report:
        """How the camera is; the problem goes before what it says of itself."""
        said = self._camera.report() if isinstance(self._camera, Reporting) else Report()
        return Report(self.problem or said.warning, {"recoveries": self.recoveries, **said.values})
