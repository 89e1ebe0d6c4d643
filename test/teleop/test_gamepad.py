"""A gamepad whose file is a pipe: what the kernel would say is written by the test."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from joystick_file import AXIS, BUTTON, INITIAL, Pad
from teleop_contract import DeviceContract

from reconvla_ros.errors import ConfigError, TeleopError
from reconvla_ros.teleop.gamepad import Gamepad, axis_map, button_map
from reconvla_ros.teleop.protocol import Act
from reconvla_ros.teleop.settings import TeleopConfig


@pytest.fixture
def rig(tmp_path: Path) -> Pad:
    return Pad(tmp_path)


class TestContract(DeviceContract):
    def test_it_can_be_opened_again(self, rig: Pad) -> None:  # type: ignore[override]
        rig.device.close()
        rig.device.open()
        rig.plug()
        assert not rig.read().held


def test_a_stick_pushed_away_is_forward_and_only_with_the_dead_man(rig: Pad) -> None:
    rig.event(AXIS, 1, -32767)
    assert rig.read().twist == (0.0,) * 6
    rig.event(BUTTON, 4, 1)
    assert rig.read().twist == (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_axis_zero_can_be_turned_round(rig: Pad) -> None:
    rig.event(BUTTON, 4, 1)
    rig.event(AXIS, 0, -32768)  # left
    assert rig.read().twist[1] == 1.0


@pytest.mark.parametrize(("value", "share"), [(3276, 0.0), (-3276, 0.0), (18022, -0.5), (32767, -1.0)])
def test_the_middle_of_a_stick_gives_nothing_and_grows_from_there(rig: Pad, value: int, share: float) -> None:
    rig.event(BUTTON, 4, 1)
    rig.event(AXIS, 1, value)
    assert rig.read().twist[0] == pytest.approx(share, abs=1e-3)


def test_buttons_act_when_they_are_pressed_not_because_they_are_down_at_the_start(rig: Pad) -> None:
    rig.event(BUTTON | INITIAL, 6, 1)
    assert rig.read().acts == ()
    rig.event(BUTTON, 7, 1)
    rig.event(BUTTON, 7, 0)
    rig.event(BUTTON, 3, 1)
    assert rig.read().acts == (Act.RECORD, Act.DISCARD)
    assert rig.read().acts == ()


def test_a_record_that_is_cut_is_read_when_it_is_whole(rig: Pad) -> None:
    assert rig.fd is not None
    record = struct.pack("<IhBB", 0, 1, BUTTON, 4)
    os.write(rig.fd, record[:3])
    assert not rig.read().held
    os.write(rig.fd, record[3:])
    assert rig.read().held


def test_pulling_the_plug_is_named(rig: Pad) -> None:
    rig.hold()
    assert rig.read().held
    rig.unplug()
    with pytest.raises(TeleopError, match=r"gamepad: .*js0 was unplugged"):
        rig.read()


def test_no_gamepad_is_named_with_those_there_are(tmp_path: Path) -> None:
    pad = Gamepad(str(tmp_path / "js9"), {}, {"dead_man": 4})
    with pytest.raises(TeleopError, match=r"js9 does not exist \(joysticks here: .*modprobe joydev"):
        pad.open()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("xx=1",), "'xx' (did you mean 'x'?"),
        (("x",), "expected x=0..255"),
        (("x=256",), "expected x=0..255"),
        (("x=--1",), "expected x=0..255"),
        (("x=1", "x=2"), "x is named twice"),
    ],
)
def test_axes_that_make_no_sense(lines: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        axis_map(lines)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("stop=1",), "there must be a dead_man"),
        (("dead_man=1", "stop=1"), "button 1 is both dead_man and stop"),
        (("deadman=1",), "did you mean 'dead_man'?"),
    ],
)
def test_buttons_that_make_no_sense(lines: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        button_map(lines)
    assert words in str(caught.value)


def test_every_button_of_the_defaults_is_known_and_there_is_none_that_clears_a_stop() -> None:
    buttons = button_map(TeleopConfig().buttons)
    assert "dead_man" in buttons and "clear_stop" not in buttons
