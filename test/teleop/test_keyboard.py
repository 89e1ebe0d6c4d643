from __future__ import annotations

import pytest
from teleop_contract import DeviceContract

from reconvla_ros.errors import TeleopError
from reconvla_ros.teleop.keyboard import ACTS, GRIPS, MOTIONS, Keyboard
from reconvla_ros.teleop.protocol import Act, Reading

REPEAT = 33_000_000  # [ns] a terminal's key repeat


class KeyboardRig:
    """A finger and a clock."""

    def __init__(self) -> None:
        self.now, self.finger, self.gone = 0, "", False
        self.device = Keyboard(self.keys, hold=0.15)
        self.device.open()

    def keys(self) -> list[str]:
        if self.gone:
            raise TeleopError("keyboard: the terminal was closed")
        return [self.finger] if self.finger else []

    def hold(self) -> None:
        self.finger = "w"

    def let_go(self) -> None:
        self.finger = ""
        self.now += 151_000_000

    def unplug(self) -> None:
        self.gone = True

    def read(self) -> Reading:
        self.now += REPEAT
        return self.device.read(self.now)


@pytest.fixture
def rig() -> KeyboardRig:
    return KeyboardRig()


class TestContract(DeviceContract):
    pass


def test_a_key_counts_until_its_repeat_stays_away(rig: KeyboardRig) -> None:
    rig.finger = "a"
    assert rig.read().twist == (0.0, 1.0, 0.0, 0.0, 0.0, 0.0)
    rig.finger = ""
    assert [rig.read().held for _ in range(5)] == [True, True, True, True, False]  # 33, 66, 99, 132, 165 ms


def test_a_tap_does_not_come_back(rig: KeyboardRig) -> None:
    rig.finger = "w"
    rig.read()
    rig.let_go()
    assert not rig.read().held
    assert not rig.read().held


def test_the_gripper_has_keys_of_its_own(rig: KeyboardRig) -> None:
    rig.finger = "m"
    reading = rig.read()
    assert (reading.held, reading.grip, reading.twist) == (True, 1.0, (0.0,) * 6)


def test_space_stops_whatever_is_held(rig: KeyboardRig) -> None:
    rig.finger = "w"
    rig.read()
    rig.finger = "space"
    reading = rig.read()
    assert not reading.held
    assert reading.acts == (Act.STOP,)


def test_pasted_text_neither_moves_nor_does_anything_but_stop() -> None:
    device = Keyboard(lambda: [*"rhwasd1", "space"])
    reading = device.read(1)
    assert not reading.held
    assert reading.acts == (Act.STOP,)


def test_no_key_has_two_meanings() -> None:
    assert not set(MOTIONS) & set(GRIPS) and not set(MOTIONS) & set(ACTS) and not set(GRIPS) & set(ACTS)
