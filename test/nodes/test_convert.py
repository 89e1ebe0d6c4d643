"""Messages <-> types."""

from __future__ import annotations

import math
import sys
import types

import numpy as np
import pytest
from geometry_msgs.msg import Pose as PoseMessage
from reconvla_ros.msg import EndEffectorCommand
from sensor_msgs.msg import Image

from reconvla_ros.errors import ObservationError, ShapeError
from reconvla_ros.nodes import convert
from reconvla_ros.types import ActionChunk, ArmState, CameraIntrinsics, Pose

RNG = np.random.default_rng(0)
TURN = np.array([0.5, -0.5, 0.5, 0.5])
STAMP = 1_700_000_000_123_456_789


@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("rgb8", RNG.integers(0, 256, (4, 5, 3), np.uint8)),
        ("16UC1", RNG.integers(0, 65536, (4, 5)).astype(np.uint16)),
        ("32FC1", RNG.random((4, 5), np.float32)),
        ("mono8", RNG.integers(0, 256, (4, 5), np.uint8)),
    ],
)
def test_an_image_comes_back_as_it_was(encoding: str, pixels: np.ndarray) -> None:
    message = convert.to_image(pixels, encoding, STAMP, "optical")
    assert (message.height, message.width, message.step) == (4, 5, pixels.strides[0])
    assert convert.from_time(message.header.stamp) == STAMP
    back = convert.from_image(message)
    assert back.dtype == pixels.dtype
    assert np.array_equal(back, pixels)


def test_a_view_that_is_not_contiguous_is_sent_right() -> None:
    pixels = RNG.integers(0, 256, (4, 10, 3), np.uint8)[::-1, ::2]
    assert np.array_equal(convert.from_image(convert.to_image(pixels, "rgb8", 0, "f")), pixels)


def test_padded_rows_and_other_orders_of_colour() -> None:
    bgr = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    message = Image(height=1, width=2, encoding="bgr8", step=8, data=[1, 2, 3, 4, 5, 6, 99, 99])
    assert np.array_equal(convert.to_rgb(message), bgr[..., ::-1])
    grey = Image(height=1, width=2, encoding="mono8", step=2, data=[7, 8])
    assert np.array_equal(convert.to_rgb(grey), [[[7, 7, 7], [8, 8, 8]]])


def test_big_endian_depth() -> None:
    message = Image(height=1, width=2, encoding="16UC1", step=4, is_bigendian=1, data=[0, 1, 1, 0])
    assert convert.from_image(message).tolist() == [[1, 256]]


def test_images_that_cannot_be_are_refused_by_name() -> None:
    with pytest.raises(ObservationError, match="image encoding 'yuv422'"):
        convert.from_image(Image(height=1, width=1, encoding="yuv422", step=2, data=[0, 0]))
    with pytest.raises(ObservationError, match="6 bytes do not hold 2 rows of 2 pixels of 3 bytes at step 6"):
        convert.from_image(Image(height=2, width=2, encoding="rgb8", step=6, data=[0] * 6))
    with pytest.raises(ObservationError, match="colour encoding '16UC1'"):
        convert.to_rgb(Image(height=1, width=1, encoding="16UC1", step=2, data=[0, 0]))


def test_other_encodings_go_to_cv_bridge_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class CvBridge:
        def imgmsg_to_cv2(self, message: Image, desired_encoding: str) -> np.ndarray:
            asked.append(f"{message.encoding}->{desired_encoding}")
            return np.zeros((1, 1, 3), np.uint8)

    module = types.ModuleType("cv_bridge")
    module.CvBridge = CvBridge  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cv_bridge", module)
    message = Image(height=1, width=1, encoding="bayer_rggb8", step=1, data=[0])
    assert convert.to_rgb(message).shape == (1, 1, 3)
    assert asked == ["bayer_rggb8->rgb8"]
    monkeypatch.setitem(sys.modules, "cv_bridge", None)
    with pytest.raises(ObservationError, match="colour encoding 'bayer_rggb8'"):
        convert.to_rgb(message)


def test_joint_state_by_name_in_any_order() -> None:
    state = ArmState(STAMP, np.arange(6) / 10, np.arange(6) / 20, np.arange(6) / 30, 0.05, 0.7)
    message = convert.to_joint_state(state)
    assert list(message.name) == [f"joint{i}" for i in range(1, 7)] + ["gripper"]
    order = [6, 3, 1, 0, 2, 5, 4]
    for name in ("name", "position", "velocity", "effort"):
        values = list(getattr(message, name))
        setattr(message, name, [values[i] for i in order])
    back = convert.from_joint_state(message)
    assert np.allclose(back.position, state.position)
    assert back.gripper == 0.05


def test_a_missing_joint_is_never_zero() -> None:
    message = convert.to_joint_state(ArmState(STAMP, np.zeros(6), np.zeros(6), np.zeros(6), 0.0))
    message.name, message.position = list(message.name)[:-2], list(message.position)[:-2]
    with pytest.raises(ObservationError, match="lacks joint6, gripper"):
        convert.from_joint_state(message)


def make_chunk() -> ActionChunk:
    return ActionChunk(
        stamp_ns=STAMP, task_id="a-1", sequence=3, step_dt=0.1, anchor=Pose(np.array([0.2, 0.0, 0.3]), TURN),
        positions=RNG.random((5, 3)), quaternions=np.tile(TURN, (5, 1)), gripper=np.array([0.0, 0.0175, 0.035, 0.0525, 0.07]),
        confidence=np.full(5, 0.5), token_ids=tuple(range(151387, 151422)), prefix_steps=2,
    )  # fmt: skip


def test_a_chunk_comes_back_as_it_was() -> None:
    chunk = make_chunk()
    back = convert.from_chunk(convert.to_chunk(chunk))
    assert (back.stamp_ns, back.task_id, back.sequence, back.token_ids) == (STAMP, "a-1", 3, chunk.token_ids)
    assert back.step_dt == pytest.approx(0.1)
    assert back.prefix_steps == 2
    for name in ("positions", "quaternions"):
        assert np.allclose(getattr(back, name), getattr(chunk, name))
    assert np.allclose(back.gripper, chunk.gripper, atol=1e-7)
    path = convert.to_path(chunk)
    assert convert.from_time(path.poses[0].header.stamp) == STAMP + 100_000_000


def test_a_chunk_in_another_frame_or_with_nan_is_refused() -> None:
    message = convert.to_chunk(make_chunk())
    message.header.frame_id = "camera"
    with pytest.raises(ShapeError, match="frame_id: 'camera'"):
        convert.from_chunk(message)
    message = convert.to_chunk(make_chunk())
    message.poses[1].position.x = math.nan
    with pytest.raises(ShapeError, match="must be finite"):
        convert.from_chunk(message)
    message = convert.to_chunk(make_chunk())
    message.gripper = message.gripper[:3]
    with pytest.raises(ShapeError, match="gripper"):
        convert.from_chunk(message)
    message = convert.to_chunk(make_chunk())
    message.poses = []
    with pytest.raises(ShapeError, match="at least one step"):
        convert.from_chunk(message)


def test_a_default_pose_message_is_refused() -> None:
    """All zeros but w = 1 in ROS; a quaternion of zeros must not pass as a rotation."""
    message = PoseMessage()
    message.orientation.w = 0.0
    with pytest.raises(ShapeError, match="unit length"):
        convert.from_pose(message)


def test_nan_gripper_means_keep() -> None:
    message = EndEffectorCommand(source="teleop", pose=convert.to_pose(Pose(np.zeros(3), TURN)), gripper=math.nan)
    message.header.frame_id = "base_link"
    assert convert.from_ee_command(message).gripper is None
    message.gripper = math.inf
    with pytest.raises(ShapeError, match="gripper"):
        convert.from_ee_command(message)


def test_camera_info_is_a_pinhole() -> None:
    info = convert.to_camera_info(CameraIntrinsics(640, 480, 600.0, 601.0, 319.5, 239.5), STAMP, "optical")
    assert list(info.k) == [600.0, 0.0, 319.5, 0.0, 601.0, 239.5, 0.0, 0.0, 1.0]
    assert info.distortion_model == "plumb_bob"
    assert info.p[0] == 600.0
    assert info.header.frame_id == "optical"


def test_an_opening_of_a_message_is_what_was_meant() -> None:
    """float32 makes 0.07 m 0.0700000003, and the filter clamped every command of an open gripper."""
    message = EndEffectorCommand(source="teleop", gripper=float(np.float32(0.07)))  # as it comes off the wire
    assert message.gripper > 0.07
    message.header.frame_id = "base_link"
    message.pose.orientation.w = 1.0
    assert convert.from_ee_command(message).gripper == 0.07
    message.gripper = math.nan
    assert convert.from_ee_command(message).gripper is None
