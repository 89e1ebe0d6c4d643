"""RealSenseCamera on librealsense's own software device and recordings: real frames, the same way through our code."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from reconvla_ros.camera.protocol import Camera, Reporting
from reconvla_ros.camera.settings import CameraConfig
from reconvla_ros.camera.usb import Mode
from reconvla_ros.errors import CameraError

rs = pytest.importorskip("pyrealsense2", exc_type=ImportError)

from camera_contract import CameraContract, read  # type: ignore[import-not-found]  # noqa: E402

from reconvla_ros.camera.realsense import RealSenseCamera  # noqa: E402
from reconvla_ros.camera.software import SoftwareCamera, record  # noqa: E402

WIDTH, HEIGHT, RATE = 64, 48, 30
CONFIG = CameraConfig(source="realsense", serial="0001", width=WIDTH, height=HEIGHT, rate=RATE, patience=0.4)
PERIOD = 1000 / RATE  # [ms]


def make(*devices: SoftwareCamera, **changes: object) -> RealSenseCamera:
    config = dataclasses.replace(CONFIG, **changes)  # type: ignore[arg-type]
    there = lambda: [d.device for d in devices if d.device.plugged]  # noqa: E731
    return RealSenseCamera("camera_base", config, there)


def opened(fake: SoftwareCamera, **changes: object) -> RealSenseCamera:
    camera = make(fake, **changes)
    camera.open()
    return camera


class TestRealSenseCamera(CameraContract):
    @pytest.fixture
    def camera(self) -> Iterator[Camera]:
        with SoftwareCamera("0001") as fake:
            camera = make(fake)
            yield camera
            camera.close()


class TestPlayback(CameraContract):
    """A recording is a camera, too."""

    @pytest.fixture(scope="class")
    def recording(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        path: Path = tmp_path_factory.mktemp("recording") / "made.db3"
        record(SoftwareCamera("0001"), path, 30, 1_700_000_000_000.0)
        return path

    @pytest.fixture
    def camera(self, recording: Path) -> Iterator[Camera]:
        camera = make(recording=str(recording))
        yield camera
        camera.close()


@pytest.fixture
def fake() -> SoftwareCamera:
    return SoftwareCamera("0001")


@pytest.fixture
def camera(fake: SoftwareCamera) -> Iterator[RealSenseCamera]:
    one = opened(fake)
    yield one
    one.close()


def test_pixels_stamp_and_intrinsics_arrive(fake: SoftwareCamera) -> None:
    camera = make(fake)
    intrinsics = camera.open()
    assert (intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy) == (60.0, 61.0, 31.5, 23.5)
    fake.send(9, 5000.0)
    frame = read(camera)
    camera.close()
    assert frame.depth is not None
    assert set(np.unique(frame.color[:, :, 0])) == {255}, "red first: RGB"
    assert frame.color[0, 0, 1] == 9
    assert frame.depth[HEIGHT // 2, WIDTH // 2] == 500
    assert frame.depth[0, WIDTH // 2] == 0
    assert frame.frame_id == "camera_base_color_optical_frame"
    assert frame.stamp_ns == 5_000_000_000


def test_depth_of_a_camera_that_counts_tenths_of_a_millimetre() -> None:
    fake = SoftwareCamera("0001", depth_units=0.0001, level=5004)
    camera = opened(fake)
    fake.send(1, 1000.0)
    frame = read(camera)
    camera.close()
    assert frame.depth is not None
    assert frame.depth[HEIGHT // 2, WIDTH // 2] == 500


def test_many_frames_may_be_held_and_the_images_are_not_copied(fake: SoftwareCamera, camera: RealSenseCamera) -> None:
    """librealsense lends 16 frames of a stream; the 17th was lost before they were kept out of its count."""
    held = []
    for number in range(1, 41):
        fake.send(number, 1000 + PERIOD * number)
        held.append(read(camera))
    assert [int(frame.color[0, 0, 1]) for frame in held] == list(range(1, 41))
    assert held[0].color.base is not None, "a view of librealsense's memory"


def test_decimated_depth_is_aligned_to_the_whole_picture(fake: SoftwareCamera) -> None:
    camera = opened(fake, decimation=2)
    fake.send(1, 1000.0)
    frame = read(camera)
    camera.close()
    assert frame.depth is not None and frame.depth.shape == (HEIGHT, WIDTH)
    assert np.median(frame.depth[4:-4, 4:-4]) == 500


def test_the_middle_of_the_exposure_is_the_stamp() -> None:
    fake = SoftwareCamera("0001", lag_us=12_000)
    camera = opened(fake, stamp_offset=0.003)
    fake.send(1, 1000.0)
    frame = read(camera)
    camera.close()
    assert frame.stamp_ns == (1000 - 12 - 3) * 1_000_000
    assert camera._clock.lag_us == 12_000


def test_lost_frames_are_counted_per_stream(fake: SoftwareCamera, camera: RealSenseCamera) -> None:
    for i, number in enumerate((1, 2, 6, 7)):
        fake.send(number, 1000 + PERIOD * i)
        read(camera)
    values = camera.report().values
    assert (values["color_frames"], values["color_dropped"], values["depth_dropped"]) == (4, 3, 3)


def test_report_says_how_it_is(fake: SoftwareCamera, camera: RealSenseCamera) -> None:
    assert isinstance(camera, Reporting)
    begin = time.time() * 1000 - 400
    for number in range(1, 11):
        fake.send(number, begin + PERIOD * number, only="color")
        fake.send(number, begin + PERIOD * number + 4, only="depth")
        read(camera)
    report = camera.report()
    assert report.warning == ""
    values = report.values
    assert values["color_rate_hz"] == pytest.approx(30.0, abs=0.1)
    assert values["depth_after_color_ms"] == pytest.approx(4.0, abs=0.1)
    assert (values["clock"], values["usb"], values["asic_temperature_c"]) == ("global_time", "3.2", 41.0)
    assert (values["firmware"], values["serial"]) == ("5.16.0.1", "0001")


def test_arrival_stamps_are_said_to_be_such() -> None:
    fake = SoftwareCamera("0001", domain="system_time")
    camera = opened(fake)
    fake.send(1, time.time() * 1000)
    read(camera)
    assert "arrival times (system_time)" in camera.report().warning
    camera.close()


def test_a_device_clock_is_mapped_and_may_begin_anew() -> None:
    fake = SoftwareCamera("0001", domain="hardware_clock")
    camera = opened(fake, clock="hardware")
    assert fake.option("color", "global_time_enabled") == 0
    stamps = []
    for number, device_ms in enumerate((70_000.0, 70_033.0, 5.0, 38.0), start=1):
        fake.send(number, device_ms)
        stamps.append(read(camera).stamp_ns)
        time.sleep(0.02)
    assert all(a < b for a, b in itertools.pairwise(stamps))
    assert abs(stamps[-1] - time.time_ns()) < 1e9
    assert camera.report().values["clock_restarts"] == 1
    camera.close()


def test_waiting_for_depth_does_not_make_a_device_clock_late() -> None:
    fake = SoftwareCamera("0001", domain="hardware_clock")
    camera = opened(fake, clock="hardware")
    fake.send(1, 500.0, only="color")
    came = time.time_ns()
    assert camera.read(0.1) is None
    fake.send(1, 500.0, only="depth")
    assert abs(read(camera).stamp_ns - came) < 50_000_000
    camera.close()


def test_a_stamp_that_goes_back_is_not_given_out(fake: SoftwareCamera, camera: RealSenseCamera) -> None:
    start = time.time() * 1000
    fake.send(1, start)
    first = read(camera)
    fake.send(2, start - 500)
    assert camera.read(0.1) is None
    fake.send(3, start + 33)
    assert read(camera).stamp_ns > first.stamp_ns


def test_stamps_that_stay_back_end_the_stream_by_name(fake: SoftwareCamera, camera: RealSenseCamera) -> None:
    """The host's clock was set back: each frame was refused, for ever."""
    start = time.time() * 1000
    fake.send(1, start)
    read(camera)
    with pytest.raises(CameraError, match=r"stamps went back by \d+\.\d+ s"):
        for number in itertools.count(2):
            fake.send(number, start - 60_000 + PERIOD * number)
            camera.read(0.05)
    camera.open()
    fake.send(99, start - 50_000)
    assert read(camera).stamp_ns == pytest.approx((start - 50_000) * 1e6, abs=1e3)


def test_a_lost_depth_frame_costs_no_colour(fake: SoftwareCamera, camera: RealSenseCamera) -> None:
    """librealsense's pipeline would give the last depth again, under the new colour's stamp."""
    seen = []
    for number in range(1, 31):
        fake.send(number, 1000 + PERIOD * number, only="color" if 5 <= number <= 7 else "", level=400 + number)
        frame = camera.read(0.05)
        while frame is not None:
            seen.append(
                (int(frame.color[0, 0, 1]), None if frame.depth is None else round(float(np.median(frame.depth))) - 400)
            )
            frame = camera.read(0.001)
    assert [color for color, _ in seen] == list(range(1, 31))
    assert [depth for color, depth in seen if not 5 <= color <= 7] == [c for c, _ in seen if not 5 <= c <= 7]
    assert [depth for color, depth in seen if 5 <= color <= 7] == [None] * 3
    assert camera.report().values["depth_dropped"] == 3


@pytest.mark.parametrize(("present", "lacking"), [("color", "depth"), ("depth", "color")])
def test_one_stream_without_the_other_is_named(
    fake: SoftwareCamera, camera: RealSenseCamera, present: str, lacking: str
) -> None:
    with pytest.raises(CameraError, match=f"no whole frame for 0.4 s: {present} comes, {lacking} does not"):
        for number in itertools.count(1):
            fake.send(number, 1000 + PERIOD * number, only=present)
            camera.read(0.05)


def test_frames_that_stop_are_named(fake: SoftwareCamera, camera: RealSenseCamera) -> None:
    fake.send(1, 1000.0)
    read(camera)
    with pytest.raises(CameraError, match="it is connected, but its frames stopped"):
        for _ in range(50):
            camera.read(0.05)


def test_a_picture_that_stands_still_is_said(fake: SoftwareCamera, camera: RealSenseCamera) -> None:
    fake.faults.still = True
    fake.send(1, 1000.0)
    read(camera)
    camera._still._began -= 3.0
    fake.send(2, 1033.0)
    read(camera)
    assert "not changed in a single bit for 3" in camera.report().warning
    fake.faults.still = False
    fake.send(3, 1066.0)
    read(camera)
    assert "single bit" not in camera.report().warning


def test_unplugged_and_plugged_in_again(fake: SoftwareCamera) -> None:
    camera = opened(fake)
    fake.send(1, 1000.0)
    read(camera)
    fake.device.plugged = False
    with pytest.raises(CameraError, match=r"the camera is gone \(0001\); check the cable"):
        camera.read(0.1)
    with pytest.raises(CameraError, match="no RealSense with serial 0001; connected: none"):
        camera.open()
    fake.device.plugged = True
    camera.open()
    fake.send(2, 1033.0)
    assert read(camera)
    camera.close()


@pytest.mark.parametrize(
    ("serial", "devices", "message"),
    [
        (
            "0001",
            [],
            r"camera_base: no RealSense with serial 0001; connected: none; check the cable, config/99-realsense",
        ),
        ("", [], "camera_base: no RealSense is connected; check the cable"),
        ("0009", ["0001", "0002"], r"serial 0009; connected: 0001 \(Software D435, USB 3.2\), 0002 \(Software D435"),
        ("", ["0001", "0002"], r"several are connected \(0001 .*, 0002 .*\); set its serial"),
        ("0001", ["0001", "0001"], "two RealSense cameras say serial 0001"),
    ],
)
def test_the_wrong_camera_is_named_with_those_there(serial: str, devices: list[str], message: str) -> None:
    with pytest.raises(CameraError, match=message):
        make(*(SoftwareCamera(s) for s in devices), serial=serial).open()


def test_no_camera_on_this_machine() -> None:
    """librealsense's own list, not a list of ours."""
    if len(rs.context().query_devices()):
        pytest.skip("a RealSense is connected")
    with pytest.raises(CameraError, match="no RealSense with serial 123; connected: none"):
        RealSenseCamera("camera_wrist", dataclasses.replace(CONFIG, serial="123")).open()


@pytest.mark.parametrize("serial", ["", "_0007"])
def test_the_only_camera_and_the_underscore_of_realsense2_camera(serial: str) -> None:
    fake = SoftwareCamera("0007")
    camera = opened(fake, serial=serial)
    fake.send(1, 1000.0)
    assert read(camera)
    camera.close()


def test_an_unsupported_profile_lists_those_there_are() -> None:
    with pytest.raises(CameraError, match=r"no colour and depth at 64x48@60; it has color: 64x48@30; depth: 64x48@30"):
        make(SoftwareCamera("0001"), rate=60).open()
    with pytest.raises(CameraError, match=r"it has color: 64x48@30; depth: none"):
        make(SoftwareCamera("0001", depth=False)).open()


def test_usb_2_is_advised_about() -> None:
    offered = (Mode(640, 480, 30), Mode(640, 480, 15), Mode(424, 240, 30))
    fake = SoftwareCamera("0001", modes=offered, usb="2.1")
    camera = opened(fake, width=640, height=480)
    warning = camera.report().warning
    camera.close()
    assert "USB 2.1: 640x480@30 needs 37 MB/s, about 35 are there: is too much" in warning
    assert "else one of 640x480@15, 424x240@30" in warning


def test_options_are_set_and_their_ranges_said() -> None:
    fake = SoftwareCamera("0001")
    changes = {"preset": "high_accuracy", "exposure": 12_000.0, "depth_exposure": 5000.0, "emitter": "off"}
    camera = opened(fake, **changes)
    camera.close()
    assert fake.option("depth", "visual_preset") == 3
    assert fake.option("color", "exposure") == 120, "colour counts in 100 us"
    assert fake.option("depth", "exposure") == 5000
    assert (fake.option("color", "enable_auto_exposure"), fake.option("depth", "emitter_enabled")) == (0, 0)
    assert fake.option("color", "auto_exposure_priority") == 0
    make(fake).open()
    assert fake.option("color", "enable_auto_exposure") == 1, "0 = automatic again"
    with pytest.raises(CameraError, match=r"exposure must be in 1\.\.165000, got 200000"):
        make(fake, depth_exposure=200_000.0).open()


def test_a_camera_with_both_streams_on_one_sensor() -> None:
    """As a D405."""
    fake = SoftwareCamera("0001", shared=True)
    camera = opened(fake, exposure=12_000.0)
    assert fake.option("color", "exposure") == 12_000, "counts in us, as depth does"
    fake.send(1, 1000.0)
    frame = read(camera)
    assert frame.depth is not None and np.median(frame.depth) == 500
    camera.close()
    with pytest.raises(CameraError, match="share one exposure"):
        make(fake, exposure=12_000.0, depth_exposure=5000.0).open()


def test_the_end_of_a_recording_and_one_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match=r"recording .* does not exist"):
        make(recording=str(tmp_path / "none.bag")).open()
    (tmp_path / "no.bag").write_text("not a bag")
    with pytest.raises(CameraError, match=r"recording .*no.bag cannot be played"):
        make(recording=str(tmp_path / "no.bag")).open()
    whole = (Path(__file__).parent / "software_d435.bag").read_bytes()
    (tmp_path / "cut.bag").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CameraError, match=r"recording .*cut.bag cannot be played"):
        make(recording=str(tmp_path / "cut.bag")).open()


def test_a_bag_of_an_older_librealsense_is_played() -> None:
    """Made by the software device under librealsense 2.55, which wrote ROS 1 bags; 2.59 writes .db3 and still reads it."""
    camera = make(recording=str(Path(__file__).parent / "software_d435.bag"))
    camera.open()
    first, second = read(camera), read(camera)
    assert first.depth is not None and first.depth[HEIGHT // 2, WIDTH // 2] == 500
    assert second.color[5, 5, 1] == first.color[5, 5, 1] + 1
    assert abs(first.stamp_ns - time.time_ns()) < 2e9, "played now, whatever it was recorded"
    with pytest.raises(CameraError, match="has ended"):
        while True:
            camera.read(0.2)
    camera.close()
