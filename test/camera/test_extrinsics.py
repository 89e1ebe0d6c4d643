"""The camera nodes take their place from the calibration file, and from no file that is not theirs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from reconvla_ros.camera import extrinsics, factory
from reconvla_ros.camera.settings import CameraConfig
from reconvla_ros.errors import ConfigError
from reconvla_ros.types import Pose

_TURN = np.array([-0.484, -0.720, 0.412, 0.278])
PLACE = Pose(
    np.array([0.91, 0.25, 0.55]),
    _TURN / np.linalg.norm(_TURN),
)


def entry(serial: str) -> extrinsics.StoredCamera:
    return extrinsics.StoredCamera(
        "base_link", PLACE, serial, 640, 480, "2026-01-02T03:04:05+00:00", 24, 0.3, 0.8, 0.05
    )


def write(path: Path, serial: str = "123456") -> Path:
    data = {"format": 1, "cameras": {"camera_base": entry(serial).to_mapping()}}
    path.write_text(yaml.safe_dump(data))
    return path


def test_a_real_camera_sits_where_it_was_calibrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONVLA_CALIBRATION", str(write(tmp_path / "calibration.yaml")))
    for serial in ("123456", ""):
        parent, pose = factory.mount(CameraConfig(source="realsense", serial=serial), "camera_base")
        assert parent == "base_link" and pose.position == pytest.approx(PLACE.position)
        assert pose.quaternion == pytest.approx(PLACE.quaternion, abs=1e-8)
    # The other camera is not in the file: its configured pose counts.
    parent, pose = factory.mount(CameraConfig(source="realsense", parent_frame="link6"), "camera_wrist")
    assert parent == "link6" and pose.position == pytest.approx(np.zeros(3))


def test_another_camera_than_the_calibrated_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONVLA_CALIBRATION", str(write(tmp_path / "calibration.yaml")))
    with pytest.raises(ConfigError, match="camera_base was calibrated with camera 123456, but 999 is to be used"):
        factory.mount(CameraConfig(source="realsense", serial="999"), "camera_base")


def test_none_means_the_configured_pose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONVLA_CALIBRATION", str(write(tmp_path / "calibration.yaml")))
    config = CameraConfig(source="realsense", calibration="none", position=(1.0, 2.0, 3.0))
    assert factory.mount(config, "camera_base")[1].position == pytest.approx([1.0, 2.0, 3.0])


def test_a_simulated_camera_takes_a_file_only_when_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "calibration.yaml", extrinsics.SIMULATED)
    monkeypatch.setenv("RECONVLA_CALIBRATION", str(path))
    true = factory.mount(CameraConfig(), "camera_base")[1]
    assert true.position == pytest.approx([0.90, 0.25, 0.54])
    named = factory.mount(CameraConfig(calibration=str(path)), "camera_base")[1]
    assert named.position == pytest.approx(PLACE.position)
    with pytest.raises(ConfigError, match="was calibrated with camera 123456, but simulated is to be used"):
        factory.mount(CameraConfig(calibration=str(write(tmp_path / "steel.yaml"))), "camera_base")


def test_files_that_are_none_or_were_edited_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "calibration.yaml"
    with pytest.raises(ConfigError, match="does not exist"):
        factory.mount(CameraConfig(calibration=str(path)), "camera_base")
    write(path)
    with pytest.raises(ConfigError, match="camera 'camera_wrist'"):
        factory.mount(CameraConfig(calibration=str(path)), "camera_wrist")
    data = yaml.safe_load(path.read_text())
    data["cameras"]["camera_base"]["position"][0] = 0.95
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigError, match="camera_base was edited or cut"):
        extrinsics.read_cameras(path)
    path.write_text(yaml.safe_dump({"format": 7}))
    with pytest.raises(ConfigError, match="format 7, this version reads 1"):
        extrinsics.read_cameras(path)


def test_the_users_file_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECONVLA_CALIBRATION", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/somewhere")
    assert extrinsics.default_path() == Path("/somewhere/reconvla_ros/calibration.yaml")
