"""The camera part of `reconvla doctor`: which RealSense cameras are there, their USB, firmware and configuration; advice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from reconvla_ros.camera.settings import CameraConfig
from reconvla_ros.camera.usb import Mode, advice, generation
from reconvla_ros.config import load
from reconvla_ros.errors import CameraError

Row = tuple[bool, str, str, str]  # good, name, what was found, remedy

NAMES = ("camera_base", "camera_wrist")
_INTEL = "8086"
_USBFS_MB = 128  # librealsense's advice for more than one camera; Linux gives 16
_RULES = (
    "sudo cp config/99-realsense-libusb.rules /etc/udev/rules.d/ && sudo udevadm control --reload-rules && sudo udevadm "
    "trigger; plug in again; end other programs that have it open"
)


def rows() -> list[Row]:
    """Every finding on this machine."""
    from reconvla_ros.cli.places import share

    try:
        import pyrealsense2 as rs
    except ImportError as error:
        return [(False, "RealSense", f"pyrealsense2: {error}", "sudo apt-get install -y libusb-1.0-0")]
    path = share() / "config" / "cameras.yaml"
    return examine(rs.context().query_devices(), {name: load(CameraConfig, path, name) for name in NAMES})


def examine(devices: Iterable[Any], configured: Mapping[str, CameraConfig], sysfs: Path = Path("/sys")) -> list[Row]:
    """The rows for `devices` of librealsense, the configuration of each camera node, and what the kernel shows."""
    from reconvla_ros.camera.device import by_serial

    try:
        found = by_serial(devices)
    except CameraError as error:
        return [(False, "RealSense", str(error), "unplug one of them")]
    plugged = on_usb(sysfs)
    if len(plugged) > len(found):
        lost = f"{len(plugged)} on USB ({', '.join(plugged)}), librealsense sees {len(found)}"
        return [(False, "RealSense", lost, _RULES), *_cameras(found, configured)]
    if not found:
        return [(True, "RealSense", "none connected (none is needed in simulation)", "")]
    return [*_cameras(found, configured), *_meant(found, configured), *_memory(len(found), sysfs)]


def on_usb(sysfs: Path) -> list[str]:
    """Product and speed [Mbit/s] of each RealSense that the kernel has enumerated."""
    seen = []
    for vendor in sorted(sysfs.glob("bus/usb/devices/*/idVendor")):
        product, speed = ((vendor.parent / name) for name in ("product", "speed"))
        if vendor.read_text().strip() == _INTEL and product.is_file() and "RealSense" in product.read_text():
            seen.append(
                f"{product.read_text().strip()} at {speed.read_text().strip() if speed.is_file() else '?'} Mbit/s"
            )
    return seen


def _cameras(found: Mapping[str, Any], configured: Mapping[str, CameraConfig]) -> list[Row]:
    from reconvla_ros.camera.device import fact, modes

    slow = sum(generation(fact(d, "usb_type_descriptor")) == 2 for d in found.values())
    made: list[Row] = []
    for serial, device in found.items():
        used = [name for name, config in configured.items() if config.serial.removeprefix("_") == serial]
        config = configured[used[0]] if used else CameraConfig()
        usb, own, wanted = (
            fact(device, n) for n in ("usb_type_descriptor", "firmware_version", "recommended_firmware_version")
        )
        have = modes(device)
        mode = Mode(config.width, config.height, config.rate)
        remedy = [advice(usb, mode, have["color"] & have["depth"], slow)]
        if len(used) > 1:
            remedy.append(
                f"serial {serial} is given to {' and '.join(used)} in config/cameras.yaml: each needs its own"
            )
        text = (
            f"{fact(device, 'name')}, USB {usb or '?'}, firmware {own or '?'}"
            + (f" (recommended {wanted}: rs-fw-update)" if wanted and wanted != own else "")
            + f", {' and '.join(used) or 'no camera'} in config/cameras.yaml"
        )
        told = "; ".join(line for line in remedy if line)
        made.append((not told, f"camera {serial}", text, told))
    return made


def _meant(found: Mapping[str, Any], configured: Mapping[str, CameraConfig]) -> list[Row]:
    """Cameras of the configuration that are not there, or that could be any of several."""
    made: list[Row] = []
    for name, config in configured.items():
        serial = config.serial.removeprefix("_")
        if serial and serial not in found:
            made.append(
                (False, name, f"serial {serial} of config/cameras.yaml is not connected", "plug it in, or correct it")
            )
        elif not serial and len(found) > 1:
            made.append((False, name, "no serial in config/cameras.yaml", f"one of {', '.join(found)}"))
    return made


def _memory(count: int, sysfs: Path) -> list[Row]:
    path = sysfs / "module/usbcore/parameters/usbfs_memory_mb"
    if count < 2 or not path.is_file():
        return []
    size = int(path.read_text())
    good = size == 0 or size >= _USBFS_MB  # 0 = no bound
    remedy = f"echo {_USBFS_MB} | sudo tee {path} (for good: kernel argument usbcore.usbfs_memory_mb={_USBFS_MB})"
    return [(good, "usbfs memory", f"{size} MB for {count} cameras", remedy)]
