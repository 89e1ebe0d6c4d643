"""A D4xx made of librealsense's own software device: real frames through the real library, and faults on demand.

For tests, `reconvla bench camera` and for making recordings; on steel nothing here runs. What librealsense lets a software
device do is done by it (frames, stamps, domains, metadata, options, profiles, recordings). Two things it cannot: be
unplugged (`plugged` stands in for what librealsense asks the operating system) and be found on USB.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyrealsense2 as rs

from reconvla_ros.camera.usb import Mode

_INFOS = ("serial_number", "name", "usb_type_descriptor", "firmware_version", "recommended_firmware_version")


class _Device(rs.software_device):  # type: ignore[misc]
    """A software device that can be unplugged."""

    def __init__(self) -> None:
        super().__init__()
        self.plugged = True

    def is_connected(self) -> bool:
        """As the operating system would say."""
        return self.plugged


@dataclass
class Faults:
    """What goes wrong while the camera is fed; change it at any time.

    Attributes:
        mute: streams (color, depth) that send nothing. repeat: send the last frame again and again.
        still: colour does not change. stamp_shift: added to every stamp [ms]. skip: numbers left out before the next.
    """

    mute: set[str] = field(default_factory=set)
    repeat: bool = False
    still: bool = False
    stamp_shift: float = 0.0
    skip: int = 0


class SoftwareCamera:
    """Colour and depth of one pinhole at several modes, and (as a context) a thread that feeds it at the first one's rate.

    Args:
        serial: of the device. modes: the first is the one that is fed. depth_units: [m] of a depth count.
        level: every depth count but the holes of the first row. usb: descriptor, such as 3.2 or 2.1.
        domain: of the stamps (global_time, hardware_clock, system_time). lag_us: metadata says that the middle of the
            exposure was so long before the timestamp; None = no metadata. depth: whether there is a depth stream.
        shared: both streams are on one sensor, as on a D405.
    """

    def __init__(
        self, serial: str, modes: Sequence[Mode] = (Mode(64, 48, 30),), depth_units: float = 0.001, level: int = 500,
        usb: str = "3.2", domain: str = "global_time", lag_us: int | None = None, depth: bool = True,
        shared: bool = False,
    ) -> None:  # fmt: skip
        self.mode, self.faults = modes[0], Faults()
        self.device = _Device()
        facts = (serial, "Software D435", usb, "5.16.0.1", "5.17.0.10")
        for name, value in zip(_INFOS, facts, strict=True):
            self.device.register_info(getattr(rs.camera_info, name), value)
        self._domain, self._lag_us, self._level = getattr(rs.timestamp_domain, domain), lag_us, level
        depth_sensor = self.device.add_sensor("Stereo Module")
        color_sensor = depth_sensor if shared else self.device.add_sensor("RGB Camera")
        self._sensors = {"depth": depth_sensor, "color": color_sensor}
        shapes = {"color": (rs.stream.color, 1, rs.format.rgb8, 3), "depth": (rs.stream.depth, 0, rs.format.z16, 2)}
        self._profiles: dict[str, Any] = {}
        for name in ("color", "depth") if depth else ("color",):
            made = [
                self._sensors[name].add_video_stream(_stream(*shapes[name], mode), k == 0)
                for k, mode in enumerate(modes)
            ]
            self._profiles[name] = made[0]
        self._options(depth_sensor, color_sensor, depth_units)
        if depth:
            same = rs.extrinsics()
            same.rotation, same.translation = [1, 0, 0, 0, 1, 0, 0, 0, 1], [0, 0, 0]
            self._profiles["depth"].register_extrinsics_to(self._profiles["color"], same)
        rng = np.random.default_rng(0)
        self._noise = rng.integers(0, 255, (8, self.mode.height, self.mode.width, 3), dtype=np.uint8)
        self._stop, self._number, self._stamp_ms = threading.Event(), 0, 0.0
        self._thread: threading.Thread | None = None

    @staticmethod
    def _options(depth: Any, color: Any, depth_units: float) -> None:
        """The options of a D435 that this package sets or reads, with its ranges."""
        depth.add_read_only_option(rs.option.depth_units, depth_units)
        depth.add_read_only_option(rs.option.asic_temperature, 41.0)
        spans = [(depth, (("visual_preset", 0, 5, 0), ("emitter_enabled", 0, 2, 1), ("exposure", 1, 165000, 8500),
                         ("enable_auto_exposure", 0, 1, 1), ("global_time_enabled", 0, 1, 1))),
                 (color, (("exposure", 1, 10000, 156), ("enable_auto_exposure", 0, 1, 1), ("global_time_enabled", 0, 1, 1),
                         ("auto_exposure_priority", 0, 1, 1)))]  # fmt: skip
        for sensor, options in spans[: 1 if color is depth else 2]:
            for name, low, high, default in options:
                span = rs.option_range()
                span.min, span.max, span.step, span.default = low, high, 1, default
                sensor.add_option(getattr(rs.option, name), span, True)

    def option(self, stream: str, name: str) -> float:
        """What the sensor of `stream` has been set to."""
        return float(self._sensors[stream].get_option(getattr(rs.option, name)))

    def send(self, number: int, stamp_ms: float, only: str = "", level: int | None = None) -> None:
        """One frame of each stream (or of `only`): colour of noise with red 255 and value `number`, depth of the level."""
        mode = self.mode
        depth = np.full((mode.height, mode.width), self._level if level is None else level, np.uint16)
        depth[0, :] = 0
        color = np.full((mode.height, mode.width, 3), number % 256, np.uint8)
        if not self.faults.still:
            color[mode.height // 2 :] = self._noise[number % 8][mode.height // 2 :]
        else:
            color[:] = 7
        color[:, :, 0] = 255
        for name, pixels, size in (("depth", depth, 2), ("color", color, 3)):
            if only in ("", name) and name in self._profiles and name not in self.faults.mute:
                self._inject(name, pixels, size, number, stamp_ms)

    def _inject(self, name: str, pixels: Any, size: int, number: int, stamp_ms: float) -> None:
        sensor, frame = self._sensors[name], rs.software_video_frame()
        if self._lag_us is not None:
            sensor.set_metadata(rs.frame_metadata_value.frame_timestamp, round(stamp_ms * 1000) % 2**31)
            sensor.set_metadata(rs.frame_metadata_value.sensor_timestamp, round(stamp_ms * 1000) % 2**31 - self._lag_us)
        frame.pixels, frame.stride, frame.bpp = pixels, self.mode.width * size, size
        frame.timestamp, frame.domain, frame.frame_number = stamp_ms, self._domain, number
        frame.profile = self._profiles[name].as_video_stream_profile()
        sensor.on_video_frame(frame)

    def step(self, stamp_ms: float) -> None:
        """The next frame of each stream, with the faults that there are."""
        if not (self.faults.repeat and self._number):
            self._number += 1 + self.faults.skip
            self._stamp_ms = stamp_ms
            self.faults.skip = 0
        self.send(self._number, self._stamp_ms + self.faults.stamp_shift)

    def _feed(self) -> None:
        while not self._stop.wait(1 / self.mode.rate):
            if self.device.plugged:
                self.step(time.time() * 1000)

    def __enter__(self) -> SoftwareCamera:
        self._stop.clear()
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()


def _stream(kind: Any, uid: int, pixel: Any, size: int, mode: Mode) -> Any:
    """A video stream of a pinhole without distortion; its focal lengths differ so that a mix-up shows."""
    intrinsics = rs.intrinsics()
    intrinsics.width, intrinsics.height = mode.width, mode.height
    intrinsics.fx, intrinsics.fy = 0.9375 * mode.width, 0.953125 * mode.width
    intrinsics.ppx, intrinsics.ppy = (mode.width - 1) / 2, (mode.height - 1) / 2
    intrinsics.model, intrinsics.coeffs = rs.distortion.brown_conrady, [0.0] * 5
    stream = rs.video_stream()
    stream.type, stream.index, stream.uid, stream.fmt, stream.bpp = (
        kind,
        0,
        uid + 10 * mode.rate + mode.width,
        pixel,
        size,
    )
    stream.width, stream.height, stream.fps, stream.intrinsics = mode.width, mode.height, mode.rate, intrinsics
    return stream


def record(
    camera: SoftwareCamera, path: Path, frames: int, begin_ms: float, halfway: Callable[[], object] = lambda: None
) -> None:
    """`frames` frames of both streams into `path`, in real time: what is played back later keeps the times between them.

    The suffix is .db3: librealsense 2.59 writes nothing else, and still plays the .bag of versions before. `halfway` is
    called in the middle, to begin a fault.
    """
    recorder, queue = rs.recorder(str(path), camera.device), rs.frame_queue(4 * frames, keep_frames=True)
    sensors = recorder.query_sensors()
    for sensor in sensors:
        if sensor.get_stream_profiles():
            sensor.open([sensor.get_stream_profiles()[0]])
            sensor.start(queue)
    for number in range(1, frames + 1):
        if number == frames // 2:
            halfway()
        camera.step(begin_ms + number * 1000.0 / camera.mode.rate)
        time.sleep(1.0 / camera.mode.rate)
    while queue.try_wait_for_frame(200)[
        0
    ]:  # the recorder writes in a thread of its own: what came out has been written
        continue
    for sensor in sensors:
        if sensor.get_active_streams():
            sensor.stop()
            sensor.close()
