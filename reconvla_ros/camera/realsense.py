"""A RealSense D4xx over pyrealsense2: colour, and depth aligned to it, by serial number.

The stamp is the capture instant: the middle of the exposure in ROS time (`clock.py`). The images are librealsense's own
memory, not copied: it is given back when the last view of it goes. Not yet tried on a real camera; tested with
librealsense's own software device and recordings, whose frames take the same way through this file.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyrealsense2 as rs
from numpy.typing import NDArray

from reconvla_ros.camera import device as devices_of
from reconvla_ros.camera import usb
from reconvla_ros.camera.clock import CaptureClock
from reconvla_ros.camera.protocol import Report
from reconvla_ros.camera.settings import CameraConfig
from reconvla_ros.camera.streams import Pairing, Stillness, StreamWatch, rounded, slow
from reconvla_ros.errors import CameraError
from reconvla_ros.types import CameraFrame, CameraIntrinsics

MM = 1e-3  # [m] unit of CameraFrame.depth; D415, D435 and D455 use it too, a D405 counts 0.1 mm
_QUEUE = 8  # frames of both streams that wait for us at most; the oldest goes first
_GONE = 0.1  # [s] without a frame after which we ask whether the camera is still there
_Came = tuple[Any, int]  # a frame of librealsense, and the host's clock when it came [ns]
_SENSOR, _FRAME = rs.frame_metadata_value.sensor_timestamp, rs.frame_metadata_value.frame_timestamp


class RealSenseCamera:
    """One D4xx; implements `camera.protocol.Camera` and `Reporting`.

    Args:
        name: camera_base or camera_wrist; names the frame.
        config: which camera, mode and options; a leading `_` of the serial, as realsense2_camera has it, is dropped.
        devices: what is connected; librealsense's list by default, its software devices in tests.
    """

    def __init__(
        self, name: str, config: CameraConfig, devices: Callable[[], Iterable[Any]] | None = None
    ) -> None:  # fmt: skip
        self._name, self._config, self._devices = name, config, devices
        self._mode = usb.Mode(config.width, config.height, config.rate)
        self._context: Any = None
        self._sensors: list[Any] = []  # that stream
        self._device: Any = None
        self._serial, self._advice = config.serial, ""
        self._last_stamp = -1
        self._ready: deque[tuple[_Came, _Came | None]] = deque()
        self._parts: list[Any] = []
        self._fresh()

    def _fresh(self) -> None:
        self._color, self._depth = StreamWatch("color"), StreamWatch("depth")
        # Half a period, and what two streams of one rate wander.
        self._pairing, self._still = Pairing[_Came](600.0 / self._config.rate), Stillness()
        self._heard, self._paired = time.monotonic(), False
        self._latency_ms, self._refused = float("nan"), "its frames have no partner of the same time"

    def open(self) -> CameraIntrinsics:
        """Start colour and depth.

        Raises:
            CameraError: no such camera (lists those connected), a profile it does not have (lists those it has), an
                option it refuses, or librealsense does not start it.
        """
        self.close()
        if self._context is None or self._config.recording:
            self._context = rs.context()  # a recording can be loaded once a context
        try:
            self._serial, self._device = self._find()
            self._start()
            self._depth_scale = self._device.first_depth_sensor().get_depth_scale()
        except (RuntimeError, CameraError) as error:
            self.close()
            if isinstance(error, CameraError):
                raise
            if self._config.recording:
                what = f"recording {self._config.recording} cannot be played"
                raise CameraError(f"{self._name}: {what}: {error}") from error
            shown = devices_of.describe(self._serial, self._device) if self._device else "librealsense"
            raise CameraError(f"{self._name}: {shown} does not start: {error}; {devices_of.HINT}") from error
        return self._intrinsics

    def _start(self) -> None:
        """Stream. Sensors into a queue, not a pipeline: see `streams.Pairing`."""
        device, played = self._device, bool(self._device.is_playback())
        opened, color = devices_of.streams(self._name, self._serial, device, self._mode)
        self._intrinsics = devices_of.intrinsics_of(color)
        have = devices_of.modes(device)
        descriptor = devices_of.fact(device, "usb_type_descriptor")
        self._advice = usb.advice(descriptor, self._mode, have["color"] & have["depth"])
        if not played:
            devices_of.set_up(self._name, device, self._config)
        self._align = rs.align(rs.stream.color)
        self._thin = rs.decimation_filter(float(self._config.decimation)) if self._config.decimation > 1 else None
        self._clock = CaptureClock(self._config.stamp_offset, played)
        self._last_stamp = -1
        self._fresh()
        self._queue, self._composed = rs.frame_queue(_QUEUE), rs.frame_queue(1)
        self._ready.clear()
        self._composer = rs.processing_block(self._compose)
        self._composer.start(self._composed)
        for sensor, profiles in opened:
            sensor.open(profiles)
            self._sensors.append(sensor)
        for sensor in self._sensors:
            sensor.start(self._queue)

    def _find(self) -> tuple[str, Any]:
        if self._config.recording:
            path = Path(self._config.recording).expanduser()
            if not path.is_file():
                raise CameraError(f"{self._name}: recording {path} does not exist")
            player = self._context.load_device(str(path))
            return "", player
        listed = self._devices() if self._devices else self._context.query_devices()
        return devices_of.choose(self._name, self._config.serial, listed)

    def read(self, timeout: float) -> CameraFrame | None:
        """The next frame, or None when none came within `timeout` [s]. Stamps strictly increase.

        A frame whose depth was lost comes without it.

        Raises:
            CameraError: not open, the camera is gone, or it has given no whole frame for `patience`; says which part of
                it does not come.
        """
        deadline = time.monotonic() + timeout
        while True:
            if not self._sensors:
                raise CameraError(f"{self._name}: not open; call open() first")
            try:
                frame = self._next(deadline)
            except RuntimeError as error:
                raise CameraError(f"{self._name}: reading failed: {error}") from error
            now = time.monotonic()
            if frame is not None and frame.depth is not None:
                self._heard = now
            else:
                self._complain(now)
            if frame is not None or now >= deadline:
                return frame

    def _next(self, deadline: float) -> CameraFrame | None:
        """What the next frame of either stream completes."""
        if not self._ready:
            left = max(1, round((deadline - time.monotonic()) * 1000))
            came, frame = self._queue.try_wait_for_frame(left)
            if not came:
                return None
            arrival, now = time.time_ns(), time.monotonic()
            is_color = frame.profile.stream_type() == rs.stream.color
            watch, pair = (self._color, self._pairing.color) if is_color else (self._depth, self._pairing.depth)
            if not watch.add(frame.get_frame_number(), frame.get_timestamp(), now):
                self._refused = "it repeats one and the same frame"
                return None
            # With the time when it came itself: colour may wait for its depth, and that is no delay of the camera.
            self._ready.extend(pair(frame.get_timestamp(), (frame, arrival)))
        if not self._ready:
            return None
        (color, arrival), depth = self._ready.popleft()
        return self._convert(color, None if depth is None else depth[0], arrival)

    def _complain(self, now: float) -> None:
        """No whole frame to give out: for how long already, and why."""
        silent = now - self._heard
        if silent > _GONE and not self._device.is_connected():
            raise CameraError(f"{self._name}: the camera is gone ({self._serial}); {devices_of.HINT}")
        if silent < self._config.patience:
            return
        coming = [w.name for w in (self._color, self._depth) if now - w.since < silent / 2]
        if len(coming) == 2:
            why = self._refused
        elif coming:
            lacking = "depth" if coming == ["color"] else "color"
            why = f"{coming[0]} comes, {lacking} does not; {self._advice or 'it is opened anew'}"
        elif self._device.is_playback():
            raise CameraError(f"{self._name}: the recording {self._config.recording} has ended")
        else:
            why = f"it is connected, but its frames stopped; {self._advice or 'it is opened anew'}"
        raise CameraError(f"{self._name}: no whole frame for {self._config.patience:g} s: {why}")

    def close(self) -> None:
        """Stop; safe to call twice."""
        sensors, self._sensors = self._sensors, []
        for sensor in sensors:
            for undo in (sensor.stop, sensor.close):
                with contextlib.suppress(RuntimeError):  # an unplugged camera refuses; there is nothing left to stop
                    undo()

    def _convert(self, color: Any, depth: Any, arrival: int) -> CameraFrame | None:
        """A pair -> CameraFrame, without depth when there is none; None for one that is not newer than the last."""
        self._paired |= depth is not None
        if not self._paired:  # the streams start one after the other
            return None
        domain = color.get_frame_timestamp_domain().name
        stamp = self._clock.stamp(color.get_timestamp(), domain, arrival, _lag(color))
        if stamp <= self._last_stamp:
            self._refused = f"its stamps went back by {(self._last_stamp - stamp) * 1e-9:.3f} s"
            return None
        self._last_stamp, self._latency_ms = stamp, (arrival - stamp) * 1e-6
        pixels = _view(color, np.uint8)
        self._still.add(pixels, time.monotonic())
        distances = None if depth is None else self._millimetres(self._aligned(color, depth))
        return CameraFrame(stamp, f"{self._name}_color_optical_frame", pixels, distances, self._intrinsics)

    def _aligned(self, color: Any, depth: Any) -> Any:
        """Both as a frameset, depth as the colour sensor would see it."""
        self._parts = [color, self._thin.process(depth) if self._thin else depth]
        self._composer.invoke(color)
        self._parts = []
        came, whole = self._composed.try_wait_for_frame(1000)
        if not came:
            raise RuntimeError("librealsense made no frameset of colour and depth")
        return self._align.process(whole.as_frameset())

    def _compose(self, _frame: Any, source: Any) -> None:
        source.frame_ready(source.allocate_composite_frame(self._parts))

    def _millimetres(self, aligned: Any) -> NDArray[np.uint16]:
        depth = _view(aligned.get_depth_frame(), np.uint16)
        if abs(self._depth_scale - MM) > 1e-9:
            return np.clip(np.rint(depth * (self._depth_scale / MM)), 0, 65535).astype(np.uint16)
        return depth

    def report(self) -> Report:
        """Rates, losses, skew, clock and temperatures, and the gravest of what is wrong."""
        if not self._sensors:
            return Report("", {"serial": self._serial})
        device, clock = self._device, self._clock
        values: dict[str, object] = {"serial": self._serial, "device": devices_of.fact(device, "name")}
        values |= {"firmware": devices_of.fact(device, "firmware_version")}
        values |= {"usb": devices_of.fact(device, "usb_type_descriptor"), "clock": clock.domain}
        values |= {"clock_restarts": clock.restarts, "exposure_lag_ms": clock.lag_us / 1000}
        values |= rounded({"capture_to_arrival_ms": self._latency_ms}) | self._pairing.values()
        values |= self._color.values() | self._depth.values() | rounded(devices_of.temperatures(device))
        found = (
            clock.warning(),
            self._still.warning(time.monotonic()),
            slow(self._color, self._mode.rate) or slow(self._depth, self._mode.rate),
            self._advice,
        )
        return Report("; ".join(line for line in found if line), values)


def _lag(frame: Any) -> int:
    """How long before its timestamp the middle of a frame's exposure was [us], as the device says; 0 = it does not.

    librealsense, rs_frame.h: FRAME_TIMESTAMP is when readout begins (the frame's timestamp), SENSOR_TIMESTAMP the middle
    of the exposure, both on the device's clock in microseconds.
    """
    if not (frame.supports_frame_metadata(_SENSOR) and frame.supports_frame_metadata(_FRAME)):
        return 0
    return int(frame.get_frame_metadata(_FRAME)) - int(frame.get_frame_metadata(_SENSOR))


def _view(frame: Any, kind: type) -> NDArray[Any]:
    """A frame's pixels in place; the frame lives as long as the array, and does not count against librealsense's pool."""
    frame.keep()
    return np.asarray(frame.get_data(), dtype=kind)
