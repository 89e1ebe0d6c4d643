from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from reconvla_ros.camera.settings import CameraConfig
from reconvla_ros.camera.usb import Mode

pytest.importorskip("pyrealsense2", exc_type=ImportError)

from reconvla_ros.camera.software import SoftwareCamera
from reconvla_ros.cli.doctor_camera import Row, examine, rows

VGA = (Mode(640, 480, 30), Mode(640, 480, 15))


def configured(base: str, wrist: str) -> dict[str, CameraConfig]:
    return {
        name: dataclasses.replace(CameraConfig(), serial=s)
        for name, s in (("camera_base", base), ("camera_wrist", wrist))
    }


def look(tmp_path: Path, *cameras: SoftwareCamera, base: str = "0001", wrist: str = "0002") -> list[Row]:
    return examine([c.device for c in cameras], configured(base, wrist), tmp_path)


def usb_device(sysfs: Path, name: str) -> None:
    folder = sysfs / "bus/usb/devices" / name
    folder.mkdir(parents=True)
    for file, text in (("idVendor", "8086"), ("product", "Intel(R) RealSense(TM) Depth Camera 435"), ("speed", "480")):
        (folder / file).write_text(text + "\n")


def test_no_camera_is_no_fault(tmp_path: Path) -> None:
    assert look(tmp_path) == [(True, "RealSense", "none connected (none is needed in simulation)", "")]


def test_this_machine_can_be_looked_at() -> None:
    assert rows()


def test_both_cameras_with_firmware_usb_and_place(tmp_path: Path) -> None:
    good, name, found, remedy = look(tmp_path, SoftwareCamera("0001", VGA), SoftwareCamera("0002", VGA))[0]
    assert (good, name, remedy) == (True, "camera 0001", "")
    assert "USB 3.2, firmware 5.16.0.1 (recommended 5.17.0.10: rs-fw-update), camera_base in" in found


def test_usb_2_gets_advice_and_two_of_them_share(tmp_path: Path) -> None:
    cameras = [SoftwareCamera(serial, VGA, usb="2.1") for serial in ("0001", "0002")]
    good, _, _, remedy = look(tmp_path, *cameras)[0]
    assert not good and "about 18 are there: is too much" in remedy


def test_seen_by_the_kernel_and_not_by_librealsense(tmp_path: Path) -> None:
    usb_device(tmp_path, "1-2")
    good, _, found, remedy = look(tmp_path)[0]
    assert not good and "435 at 480 Mbit/s), librealsense sees 0" in found
    assert "99-realsense-libusb.rules" in remedy


def test_a_configuration_that_does_not_fit_what_is_there(tmp_path: Path) -> None:
    cameras = [SoftwareCamera("0001", VGA), SoftwareCamera("0002", VGA)]
    bad = {
        name: (found, remedy)
        for good, name, found, remedy in look(tmp_path, *cameras, base="0009", wrist="")
        if not good
    }
    assert bad["camera_base"] == ("serial 0009 of config/cameras.yaml is not connected", "plug it in, or correct it")
    assert bad["camera_wrist"] == ("no serial in config/cameras.yaml", "one of 0001, 0002")
    same = look(tmp_path, cameras[0], base="0001", wrist="_0001")[0]
    assert not same[0] and "given to camera_base and camera_wrist" in same[3]


def test_two_of_one_serial(tmp_path: Path) -> None:
    assert "cannot be told apart" in look(tmp_path, SoftwareCamera("0001"), SoftwareCamera("0001"))[0][2]


def test_too_little_memory_for_two_cameras(tmp_path: Path) -> None:
    path = tmp_path / "module/usbcore/parameters/usbfs_memory_mb"
    path.parent.mkdir(parents=True)
    cameras = [SoftwareCamera("0001", VGA), SoftwareCamera("0002", VGA)]
    for size, good in (("16", False), ("128", True), ("0", True)):
        path.write_text(size + "\n")
        assert look(tmp_path, *cameras)[-1][:2] == (good, "usbfs memory")
