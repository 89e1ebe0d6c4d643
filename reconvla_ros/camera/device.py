"""RealSense devices: which are there, what they offer, and setting them up. One device, no frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyrealsense2 as rs

from reconvla_ros.camera.settings import EMITTER, PRESETS, CameraConfig
from reconvla_ros.camera.usb import Mode
from reconvla_ros.errors import CameraError
from reconvla_ros.types import CameraIntrinsics

HINT = "check the cable, config/99-realsense-libusb.rules, and that no other program has it open"
_COLOR_UNIT = 100.0  # [us] that colour exposure counts in, where depth counts single ones (librealsense issue 8243)
_TEMPERATURES = ("asic_temperature", "projector_temperature")


def by_serial(devices: Iterable[Any]) -> dict[str, Any]:
    """Serial -> device, of those that can stream.

    Raises:
        CameraError: two devices with one serial.
    """
    found: dict[str, Any] = {}
    for device in devices:
        if not device.supports(rs.camera_info.serial_number):
            continue  # in recovery mode: it streams nothing
        serial = device.get_info(rs.camera_info.serial_number)
        if serial in found:
            raise CameraError(f"two RealSense cameras say serial {serial}; they cannot be told apart")
        found[serial] = device
    return found


def fact(device: Any, name: str) -> str:
    """One `camera_info` such as usb_type_descriptor or firmware_version; empty when the device does not say."""
    info = getattr(rs.camera_info, name)
    return str(device.get_info(info)) if device.supports(info) else ""


def describe(serial: str, device: Any) -> str:
    """`012345678901 (Intel RealSense D435, USB 3.2)`."""
    usb = fact(device, "usb_type_descriptor")
    facts = [word for word in (fact(device, "name"), f"USB {usb}" if usb else "") if word]
    return f"{serial} ({', '.join(facts)})" if facts else serial


def choose(name: str, serial: str, devices: Iterable[Any]) -> tuple[str, Any]:
    """(serial, device) of the camera meant: that of `serial`, or the only one; realsense2_camera's leading `_` is dropped.

    Raises:
        CameraError: it is not there, or the choice is not clear; names those connected.
    """
    serial, found = serial.removeprefix("_"), by_serial(devices)
    shown = ", ".join(describe(s, d) for s, d in found.items()) or "none"
    if serial:
        if serial not in found:
            raise CameraError(f"{name}: no RealSense with serial {serial}; connected: {shown}; {HINT}")
        return serial, found[serial]
    if not found:
        raise CameraError(f"{name}: no RealSense is connected; {HINT}")
    if len(found) > 1:
        raise CameraError(f"{name}: several are connected ({shown}); set its serial in config/cameras.yaml")
    return next(iter(found.items()))


def _profiles(device: Any) -> Iterator[tuple[int, str, Mode, Any]]:
    """(which sensor, color or depth, mode, profile) of every rgb8 and z16 stream."""
    wanted = {rs.stream.color: ("color", rs.format.rgb8), rs.stream.depth: ("depth", rs.format.z16)}
    for index, sensor in enumerate(device.query_sensors()):
        for profile in sensor.get_stream_profiles():
            kind = wanted.get(profile.stream_type())
            if kind and profile.format() == kind[1]:
                video = profile.as_video_stream_profile()
                yield index, kind[0], Mode(video.width(), video.height(), profile.fps()), profile


def modes(device: Any) -> dict[str, set[Mode]]:
    """What colour (rgb8) and depth (z16) can be, by stream."""
    have: dict[str, set[Mode]] = {"color": set(), "depth": set()}
    for _, name, mode, _ in _profiles(device):
        have[name].add(mode)
    return have


def streams(name: str, serial: str, device: Any, mode: Mode) -> tuple[list[tuple[Any, list[Any]]], Any]:
    """The sensors with the profiles to open on each (a D405 has both on one), and the colour profile.

    Raises:
        CameraError: a mode that it does not have; lists those it has.
    """
    found = {stream: (index, profile) for index, stream, have, profile in _profiles(device) if have == mode}
    if set(found) != {"color", "depth"}:
        lists = "; ".join(f"{k}: {', '.join(map(str, sorted(v))) or 'none'}" for k, v in modes(device).items())
        raise CameraError(f"{name}: {describe(serial, device)} has no colour and depth at {mode}; it has {lists}")
    sensors, grouped = device.query_sensors(), dict[int, list[Any]]()
    for index, profile in found.values():
        grouped.setdefault(index, []).append(profile)
    return [(sensors[index], profiles) for index, profiles in grouped.items()], found["color"][1]


def intrinsics_of(stream: Any) -> CameraIntrinsics:
    """Of a video stream profile."""
    i = stream.as_video_stream_profile().get_intrinsics()
    return CameraIntrinsics(i.width, i.height, i.fx, i.fy, i.ppx, i.ppy, np.array(i.coeffs, dtype=np.float64))


def temperatures(device: Any) -> dict[str, float]:
    """By name [C], of what the device measures; one that has gone measures nothing."""
    found: dict[str, float] = {}
    try:
        for sensor in device.query_sensors():
            for name in _TEMPERATURES:
                if sensor.supports(option := getattr(rs.option, name)):
                    found[f"{name}_c"] = float(sensor.get_option(option))
    except RuntimeError:
        return found
    return found


def set_up(name: str, device: Any, config: CameraConfig) -> None:
    """Clock, preset, exposure and emitter as configured; before the streams start.

    Raises:
        CameraError: an option that the camera does not have, or a value out of its range (the message gives it).
    """
    color, depth = _sensor(device, rs.stream.color), _sensor(device, rs.stream.depth)
    for sensor in (color, depth):
        _set(name, sensor, "global_time_enabled", float(config.clock == "global"), asked=False)
    # A preset sets exposure and emitter, too: it goes first.
    if config.preset != "keep":
        _set(name, depth, "visual_preset", PRESETS[config.preset])
    if config.emitter != "keep":
        _set(name, depth, "emitter_enabled", EMITTER[config.emitter])
    exposures = [(color, config.exposure, _COLOR_UNIT), (depth, config.depth_exposure, 1.0)]
    if _gives_both(color):  # a D405: one exposure for both, counted as that of depth
        if config.exposure and config.depth_exposure and config.exposure != config.depth_exposure:
            raise CameraError(
                f"{name}: colour and depth of this camera share one exposure; set exposure or depth_exposure"
            )
        exposures = [(depth, config.depth_exposure or config.exposure, 1.0)]
    for sensor, value, unit in exposures:
        _set(name, sensor, "enable_auto_exposure", float(value == 0.0), asked=value != 0.0)
        if value:
            _set(name, sensor, "exposure", value / unit, unit=unit)
    _set(name, color, "auto_exposure_priority", float(not config.steady_rate), asked=False)


def _sensor(device: Any, stream: Any) -> Any:
    """The sensor with a stream; None = there is none, and starting it will say so."""
    for sensor in device.query_sensors():
        if any(profile.stream_type() == stream for profile in sensor.get_stream_profiles()):
            return sensor
    return None


def _gives_both(color: Any) -> bool:
    """Whether the sensor of colour gives depth, too."""
    return color is not None and any(p.stream_type() == rs.stream.depth for p in color.get_stream_profiles())


def _set(name: str, sensor: Any, option: str, value: float, unit: float = 1.0, asked: bool = True) -> None:
    """Set one option; one that nobody `asked` for may be absent. `unit`: of the camera in ours, for the message."""
    key = getattr(rs.option, option)
    if sensor is None or not sensor.supports(key) or sensor.is_option_read_only(key):
        if asked:
            raise CameraError(f"{name}: this camera has no {option} to set")
        return
    span = sensor.get_option_range(key)
    if not span.min <= value <= span.max:
        raise CameraError(f"{name}: {option} must be in {span.min * unit:g}..{span.max * unit:g}, got {value * unit:g}")
    try:
        sensor.set_option(key, value)
    except RuntimeError as error:
        raise CameraError(f"{name}: {option} = {value * unit:g} is refused: {error}") from error
