from __future__ import annotations

import math

import can
import pytest
from hypothesis import given
from hypothesis import strategies as st
from piper_sdk.piper_msgs.msg_v2 import PiperMessage
from piper_sdk.protocol.protocol_v2.piper_protocol_v2 import C_PiperParserV2

from reconvla_ros.sim import frames, mit


def parsed(can_id: int, data: bytes) -> PiperMessage:
    """What the SDK reads out of our bytes."""
    message = PiperMessage()
    raw = can.Message(arbitration_id=can_id, data=data, is_extended_id=False, timestamp=1.0)
    assert C_PiperParserV2().DecodeMessage(raw, message)
    return message


@pytest.mark.parametrize("can_id", sorted(frames.LAYOUTS))
@given(data=st.binary(min_size=8, max_size=8))
def test_every_layout_returns_what_it_was_given(can_id: int, data: bytes) -> None:
    values = frames.decode(can_id, data)
    again = frames.decode(can_id, frames.encode(can_id, values))
    assert again == pytest.approx(values)
    assert len(frames.encode(can_id, values)) == 8


def test_every_id_of_the_protocol_has_a_layout_of_eight_bytes() -> None:
    wanted = {*range(0x251, 0x257), *range(0x261, 0x267), *range(0x2A1, 0x2A9), *range(0x150, 0x15A), 0x191}
    wanted |= set(range(0x470, 0x47F))
    assert wanted == set(frames.LAYOUTS)
    assert all(layout.packing.size == 8 for layout in frames.LAYOUTS.values())
    assert len(frames.CYCLIC_IDS) == 20
    assert 200 * len(frames.FAST_IDS) + 40 * len(frames.SLOW_IDS) == 3040


def test_the_sdk_reads_our_joints_and_pose() -> None:
    data = frames.encode(frames.JOINT_34, {"joint3": -math.radians(61.234), "joint4": math.radians(7.5)})
    feedback = parsed(frames.JOINT_34, data).arm_joint_feedback
    assert (feedback.joint_3, feedback.joint_4) == (-61234, 7500)
    data = frames.encode(frames.POSE_ZRX, {"z": 0.2132661, "rx": math.radians(-179.5)})
    pose = parsed(frames.POSE_ZRX, data).arm_end_pose
    assert (pose.Z_axis, pose.RX_axis) == (213266, -179500)


def test_the_sdk_reads_our_limits_and_acceleration() -> None:
    limit = {"joint": 2, "upper": 3.14, "lower": 0.0, "speed": 3.0}
    told = parsed(frames.LIMITS, frames.encode(frames.LIMITS, limit)).arm_feedback_current_motor_angle_limit_max_spd
    assert (told.motor_num, told.max_angle_limit, told.min_angle_limit, told.max_joint_spd) == (2, 1799, 0, 3000)
    data = frames.encode(frames.ACCELERATION, {"joint": 5, "acceleration": 5.0})
    assert parsed(frames.ACCELERATION, data).arm_feedback_current_motor_max_acc_limit.max_joint_acc == 500


def test_a_cycle_packs_the_same_bytes_as_the_table() -> None:
    status = (1, 4, 1, 0, 1, 0, 0b10, 0)
    pose, joints = [56128, -2, 213266, 0, 85000, -179999], [1, -2, 3, -4, 5, -6]
    motors = [v for j in range(6) for v in (-100 * j, 50 * j, 1000 * j)]
    block = frames.pack_fast(status, pose, joints, (35000, -200, 0xC0), motors)
    parts = {can_id: block[8 * i : 8 * i + 8] for i, can_id in enumerate(frames.FAST_IDS)}
    assert len(block) == 8 * len(frames.FAST_IDS)
    assert list(frames.counts(frames.STATUS, parts[frames.STATUS]).values()) == list(status)
    assert frames.counts(frames.POSE_RYRZ, parts[frames.POSE_RYRZ]) == {"ry": 85000, "rz": -179999}
    assert frames.counts(frames.JOINT_56, parts[frames.JOINT_56]) == {"joint5": 5, "joint6": -6}
    assert frames.counts(frames.GRIPPER, parts[frames.GRIPPER]) == {"opening": 35000, "effort": -200, "bits": 0xC0}
    assert frames.counts(0x256, parts[0x256]) == {"velocity": -500, "current": 250, "position": 5000}
    slow = frames.pack_slow([240, 32, 34, 0x40, 7] * 6)
    last = frames.decode(0x266, slow[40:48])
    assert last["voltage"] == pytest.approx(24.0) and last["bits"] == 0x40 and last["motor_temperature"] == 34


def test_what_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="0x123"):
        frames.encode(0x123, {})
    with pytest.raises(ValueError, match="jont1"):
        frames.encode(frames.JOINT_12, {"jont1": 0.1})
    with pytest.raises(ValueError, match="limits"):
        frames.encode(frames.LIMITS, {"upper": 4000.0})
    with pytest.raises(ValueError, match="0x7FF"):
        frames.decode(0x7FF, bytes(8))


def test_firmware_text() -> None:
    reply = frames.firmware_reply("H-V1.2-1", "AGX", "S-V1.8-5", "2025-01-01")
    assert [len(part) for part in reply] == [8] * 11
    text = b"".join(reply)
    assert text[:8] == b"H-V1.2-1" and text[60:68] == b"S-V1.8-5"
    assert frames.firmware_version(text) == "S-V1.8-5"
    assert frames.firmware_version(b"nothing") is None
    with pytest.raises(ValueError, match="8 characters"):
        frames.firmware_reply("H", "A", "S-V1.8-500", "")


@given(
    st.floats(-12.5, 12.5), st.floats(-45.0, 45.0), st.floats(0.0, 500.0), st.floats(-5.0, 5.0), st.floats(-8.0, 8.0)
)
def test_mit_round_trip(p: float, v: float, kp: float, kd: float, t: float) -> None:
    back = mit.decode_mit(mit.encode_mit(mit.MitTarget(p, v, kp, kd, t)))
    assert (back.position, back.velocity) == (pytest.approx(p, abs=2e-4), pytest.approx(v, abs=0.012))
    assert back.kp == pytest.approx(kp, abs=0.07)
    assert (back.kd, back.torque) == (pytest.approx(kd, abs=2e-3), pytest.approx(t, abs=0.033))


def test_mit_check_nibble_and_ranges() -> None:
    data = bytearray(mit.encode_mit(mit.MitTarget(0.5, 0.0, 10.0, 0.8, 1.0)))
    data[0] ^= 1
    with pytest.raises(ValueError, match="check nibble"):
        mit.decode_mit(bytes(data))
    with pytest.raises(ValueError, match=r"12\.5"):
        mit.encode_mit(mit.MitTarget(13.0, 0.0, 10.0, 0.8, 1.0))
