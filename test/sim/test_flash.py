from __future__ import annotations

import pytest

from reconvla_ros.sim import frames
from reconvla_ros.sim.flash import END_DEFAULTS, Flash
from reconvla_ros.tables import JOINT_LOWER, JOINT_UPPER


@pytest.fixture
def flash() -> Flash:
    return Flash("S-V1.8-5")


def ask(flash: Flash, can_id: int, **values: float) -> list[tuple[int, dict[str, float]]]:
    return [(i, frames.decode(i, data)) for i, data in flash.answer(can_id, frames.encode(can_id, values))]


def test_limits_of_each_joint(flash: Flash) -> None:
    for joint in range(1, 7):
        ((can_id, told),) = ask(flash, frames.QUERY_JOINT, joint=joint, what=1)
        assert can_id == frames.LIMITS and told["joint"] == joint
        assert told["upper"] == pytest.approx(JOINT_UPPER[joint - 1], abs=1e-3)
        assert told["lower"] == pytest.approx(JOINT_LOWER[joint - 1], abs=1e-3)
        assert told["speed"] == pytest.approx(3.0)
        ((can_id, told),) = ask(flash, frames.QUERY_JOINT, joint=joint, what=2)
        assert can_id == frames.ACCELERATION and told["acceleration"] == pytest.approx(5.0)


def test_writing_keeps_what_is_marked_and_is_acknowledged(flash: Flash) -> None:
    data = bytes([2]) + (900).to_bytes(2, "big") + b"\x7f\xff" + b"\x7f\xff" + b"\0"
    ((can_id, reply),) = flash.answer(frames.SET_LIMITS, data)
    assert (can_id, reply[0]) == (frames.ACK, 0x74)
    assert flash.upper[1] == pytest.approx(1.5708, abs=1e-3)
    assert flash.lower[1] == JOINT_LOWER[1] and flash.speed[1] == 3.0
    ask(flash, frames.QUERY, reset=2)
    assert flash.upper == list(JOINT_UPPER)


def test_acceleration_and_end_limits(flash: Flash) -> None:
    ask(flash, frames.SET_JOINT, joint=7, valid=0xAE, acceleration=2.5)
    assert flash.acceleration == [pytest.approx(2.5)] * 6
    assert ask(flash, frames.SET_JOINT, joint=1, zero=0xAE) == []
    ((can_id, told),) = ask(flash, frames.QUERY, what=1)
    assert can_id == frames.END_LIMITS and told == pytest.approx(END_DEFAULTS)
    ask(flash, frames.SET_END_LIMITS, linear_speed=0.2, angular_speed=32.767)
    assert flash.end["linear_speed"] == pytest.approx(0.2) and flash.end["angular_speed"] == 0.13


def test_collision_and_gripper_setup(flash: Flash) -> None:
    ask(flash, frames.SET_COLLISION, joint1=8, joint6=1)
    ((can_id, told),) = ask(flash, frames.QUERY, what=2)
    assert can_id == frames.COLLISION and list(told.values()) == [8, 0, 0, 0, 0, 1]
    assert flash.answer(frames.SET_COLLISION, bytes([9] * 6 + [0, 0])) == []
    ask(flash, frames.SET_GRIPPER, range=0.1, teach_stroke=150, friction=3)
    ((_, told),) = ask(flash, frames.QUERY, what=4)
    assert told == {"teach_stroke": 150, "range": pytest.approx(0.1), "friction": 3}
    assert flash.answer(frames.SET_GRIPPER, bytes([100, 55, 1] + [0] * 5)) == []


def test_firmware_text(flash: Flash) -> None:
    replies = flash.answer(frames.FIRMWARE, b"\x01" + bytes(7))
    assert {can_id for can_id, _ in replies} == {frames.FIRMWARE}
    assert frames.firmware_version(b"".join(data for _, data in replies)) == "S-V1.8-5"
    assert flash.answer(frames.FIRMWARE, bytes(8)) == []


def test_nonsense_is_not_answered(flash: Flash) -> None:
    assert ask(flash, frames.QUERY_JOINT, joint=9, what=1) == []
    assert ask(flash, frames.QUERY_JOINT, joint=1, what=3) == []
    assert flash.answer(0x121, bytes(8)) == []
