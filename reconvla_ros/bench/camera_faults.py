"""`reconvla bench camera`: one RealSense fault after another, what is said of it, how soon, and how soon frames are back.

The camera is librealsense's software device, read by `RealSenseCamera` and kept going by `CameraKeeper`, as in the camera node.
"""

from __future__ import annotations

import re
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from reconvla_ros.camera.keeper import CameraKeeper
from reconvla_ros.camera.realsense import RealSenseCamera
from reconvla_ros.camera.settings import CameraConfig
from reconvla_ros.camera.software import SoftwareCamera, record
from reconvla_ros.camera.usb import Mode
from reconvla_ros.types import CameraFrame

CONFIG = CameraConfig(source="realsense", serial="0001", width=64, height=48, rate=30, patience=1.0)
NOTICED, BACK = (
    CONFIG.patience + 2.5,
    2.5,
)  # [s] bounds: patience or the still picture's 2 s, and a retry; a retry and a start
_WAIT = 8.0  # [s] after which nothing more is waited for
OURS, STAND_IN, PLAYED = "software device", "stand-in for the USB stack", "recording of it"
_FRAMES = 90  # of a recording: 3 s; the fault begins in its middle
_VGA = (Mode(640, 480, 30), Mode(640, 480, 15), Mode(424, 240, 30))

Action = Callable[["Scene"], object]


@dataclass
class Scene:
    """What a fault is made with: the cameras there are, and the one that is fed."""

    fed: SoftwareCamera
    there: list[SoftwareCamera]
    config: CameraConfig = CONFIG


@dataclass(frozen=True)
class Fault:
    """One line of the table.

    Attributes:
        name: of the fault. by: what makes it. says: expression that the log or the diagnostics must match.
        begin: makes it, before the camera is opened when `early`, else in mid-stream. end: undoes it; None = it ends by
            itself, or does not stop the frames. made: of the software camera. config: changes to the configuration.
        stops: whether frames cease while it lasts.
    """

    name: str
    says: str
    begin: Action = lambda scene: None
    end: Action | None = None
    by: str = OURS
    early: bool = False
    stops: bool = True
    made: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What happened: the words, seconds from the fault to the words, seconds from its end to the next frame."""

    fault: str
    by: str
    said: str
    noticed_s: float | None
    back_s: float | None
    kept: bool


def _plug(there: bool) -> Action:
    def action(scene: Scene) -> None:
        scene.fed.device.plugged = there
        scene.there = [scene.fed] if there else []

    return action


def _twin(serial: str) -> Action:
    return lambda scene: scene.there.append(SoftwareCamera(serial))


def _alone(scene: Scene) -> None:
    scene.there = [scene.fed]


def _set(**values: object) -> Action:
    def action(scene: Scene) -> None:
        for name, value in values.items():
            setattr(scene.fed.faults, name, value)

    return action


FAULTS = (
    Fault("no camera", r"no RealSense with serial 0001; connected: none", _plug(False), _plug(True), STAND_IN, early=True),
    Fault("two of the same serial", r"two RealSense cameras say serial 0001", _twin("0001"), _alone, early=True),
    Fault("two cameras, no serial set", r"several are connected .* set its serial", _twin("0002"), _alone, early=True,
          config={"serial": ""}),
    Fault("another serial than asked for", r"no RealSense with serial 0009; connected: 0001", early=True,
          config={"serial": "0009"}),
    Fault("unsupported profile", r"has no colour and depth at 64x48@60; it has color: 64x48@30", early=True, config={"rate": 60}),
    Fault("camera without depth", r"it has color: 64x48@30; depth: none", early=True, made={"depth": False}),
    Fault("option out of range", r"exposure must be in 1\.\.165000, got 500000", early=True, config={"depth_exposure": 5e5}),
    Fault("unplugged in mid-stream, plugged in again", r"the camera is gone|connected: none", _plug(False), _plug(True),
          STAND_IN),
    Fault("colour without depth", r"color comes, depth does not", _set(mute={"depth"}), _set(mute=set())),
    Fault("depth without colour", r"depth comes, color does not", _set(mute={"color"}), _set(mute=set())),
    Fault("frames stop, still connected", r"connected, but its frames stopped", _set(mute={"color", "depth"}), _set(mute=set())),
    Fault("one frame again and again", r"repeats one and the same frame", _set(repeat=True), _set(repeat=False)),
    Fault("stamps go back by a minute and stay there", r"stamps went back by 59|stamps went back by 60", _set(stamp_shift=-60e3)),
    Fault("12 frame numbers are missing", r"color_dropped=12", _set(skip=12), stops=False),
    Fault("device clock begins anew", r"clock_restarts=1", _set(stamp_shift=-60e3), stops=False, config={"clock": "hardware"},
          made={"domain": "hardware_clock"}),
    Fault("picture stands still", r"not changed in a single bit", _set(still=True), stops=False),
    Fault("no metadata: arrival times", r"arrival times \(system_time\)", stops=False, made={"domain": "system_time"}),
    Fault("USB 2 port", r"USB 2\.1: 640x480@30 needs 37 MB/s, about 35 are there: is too much", stops=False,
          made={"usb": "2.1", "modes": _VGA}, config={"width": 640, "height": 480}),
    Fault("depth ends", r"color comes, depth does not", _set(mute={"depth"}), by=PLAYED, stops=False),
    Fault("12 frame numbers are missing", r"color_dropped=12", _set(skip=12), by=PLAYED, stops=False),
    Fault("the recording is cut in its middle", r"recording .* cannot be played", by=PLAYED, stops=False, early=True),
    Fault("the recording ends", r"the recording .* has ended", by=PLAYED),
)  # fmt: skip


class _Watcher:
    """A keeper in a thread of its own, and everything it says."""

    def __init__(self, scene: Scene) -> None:
        self.frames: list[float] = []
        self.said: list[str] = []
        camera = RealSenseCamera("camera_base", scene.config, lambda: [c.device for c in scene.there])
        self._keeper = CameraKeeper(camera, self._frame, lambda grave, text: self.said.append(text))
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._keeper.run, args=(self._stop,), daemon=True)

    def _frame(self, frame: CameraFrame) -> None:
        self.frames.append(time.monotonic())

    def find(self, expression: str) -> str:
        """The words that match: of the log, of the diagnostics' message or of its values."""
        report = self._keeper.report()
        values = [f"{k}={v}" for k, v in report.values.items()]
        return next((line for line in (*self.said, report.warning, *values) if re.search(expression, line)), "")

    def end(self) -> bool:
        """Stop; whether the thread was alive until now."""
        alive = self.thread.is_alive()
        self._stop.set()
        self.thread.join(5.0)
        return alive


def _until(condition: Callable[[], object]) -> float | None:
    """Seconds until it holds, looked at every 5 ms; None when it does not within `_WAIT`."""
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > _WAIT:
            return None
        time.sleep(0.005)
    return time.monotonic() - begin


def run(fault: Fault) -> Outcome:
    """Make one fault and watch."""
    fed = SoftwareCamera("0001", **{"modes": (Mode(CONFIG.width, CONFIG.height, 30),), **fault.made})
    scene = Scene(fed, [fed], replace(CONFIG, **fault.config))
    if fault.by == PLAYED:
        return _played(fault, scene)
    if fault.early:
        fault.begin(scene)
    watcher = _Watcher(scene)
    with fed:
        watcher.thread.start()
        if not fault.early:
            _until(lambda: len(watcher.frames) >= 5)
            fault.begin(scene)
        noticed = _until(lambda: watcher.find(fault.says))
        words, back = watcher.find(fault.says), None
        if fault.end is not None or (fault.stops and not fault.early):
            if fault.end is not None:
                fault.end(scene)
            count = len(watcher.frames)
            back = _until(lambda: len(watcher.frames) > count)
        alive = watcher.end()
    recovers = fault.end is not None or (fault.stops and not fault.early)
    kept = (
        alive and noticed is not None and noticed <= NOTICED and (not recovers or (back is not None and back <= BACK))
    )
    return Outcome(fault.name, fault.by, words, _rounded(noticed), _rounded(back), kept)


def _played(fault: Fault, scene: Scene) -> Outcome:
    """The same with a recording in which the fault begins halfway; seconds count from there. One that is `early` is cut."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "played.db3"
        record(scene.fed, path, _FRAMES, time.time() * 1000, lambda: fault.begin(scene))
        if fault.early:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        scene.config = replace(scene.config, recording=str(path), serial="")
        watcher = _Watcher(scene)
        watcher.thread.start()
        began = 0.0 if fault.early else _until(lambda: len(watcher.frames) >= _FRAMES // 2 - 1)
        noticed = _until(lambda: watcher.find(fault.says))
        words, count, back = watcher.find(fault.says), len(watcher.frames), None
        if fault.stops:
            back = _until(lambda: len(watcher.frames) > count)
        alive = watcher.end()
    late = _FRAMES / 2 / CONFIG.rate if fault.stops else 0.0  # it ends when the rest of it has been played
    kept = alive and began is not None and noticed is not None and noticed <= NOTICED + late
    kept &= not fault.stops or (back is not None and back <= BACK)
    return Outcome(fault.name, fault.by, words.replace(str(path), "FILE"), _rounded(noticed), _rounded(back), kept)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def measure(progress: Callable[[str], object]) -> dict[str, Any]:
    """Every fault in turn."""
    found = []
    for fault in FAULTS:
        found.append(run(fault))
        progress(f"{'ok  ' if found[-1].kept else 'BAD '} {fault.name}")
    return {
        "bounds": {"noticed_s": NOTICED, "back_s": BACK},
        "faults": [asdict(outcome) for outcome in found],
        "kept": all(outcome.kept for outcome in found),
    }
