from __future__ import annotations

import math

import pytest

from reconvla_ros.errors import TeleopError
from reconvla_ros.teleop.hand import Hand
from reconvla_ros.teleop.protocol import Act, Reading

SECOND = 1_000_000_000


class Toy:
    """A device that can be broken."""

    name, toggles = "toy", False

    def __init__(self) -> None:
        self.broken, self.opened = False, 0
        self.reading = Reading(True)

    def open(self) -> None:
        if self.broken:
            raise TeleopError("toy: not there")
        self.opened += 1

    def read(self, now_ns: int) -> Reading:
        if self.broken:
            raise TeleopError("toy: unplugged")
        return self.reading

    def close(self) -> None:
        pass


def make() -> tuple[Hand, Toy, list[str], list[str]]:
    toy, keys, said = Toy(), list[str](), list[str]()

    def panel() -> list[str]:
        taken = list(keys)
        keys.clear()
        return taken

    hand = Hand(toy, panel, said.append)
    hand.open()
    return hand, toy, keys, said


def test_a_lost_device_is_let_go_said_once_and_found_again() -> None:
    hand, toy, _, said = make()
    assert hand.read(0).held
    toy.broken = True
    assert not hand.read(1).held
    assert not hand.read(2).held
    assert said == ["toy: unplugged; the arm holds"]
    assert hand.lost
    toy.broken = False
    assert not hand.read(SECOND // 2).held  # looked for once a second
    assert hand.read(2 * SECOND).held
    assert not hand.lost
    assert said[-1].startswith("toy is back")


def test_numbers_that_cannot_be_are_a_lost_device() -> None:
    hand, toy, _, said = make()
    toy.reading = Reading(True, (math.nan,) * 6)
    assert not hand.read(0).held
    assert "must be in -1..1, got nan" in said[0]


def test_keys_beside_the_device_act_even_when_it_is_lost() -> None:
    hand, toy, keys, _ = make()
    keys.append("r")
    reading = hand.read(0)
    assert reading.held and reading.acts == (Act.RECORD,)
    toy.broken = True
    keys.append("space")
    hand.read(1)
    keys.append("space")
    assert hand.read(2).acts == (Act.STOP,)


def test_at_the_start_a_device_is_waited_for_until_it_is_there_or_the_wait_is_over() -> None:
    toy, asked = Toy(), list[bool]()
    toy.broken = True

    def stop() -> bool:
        asked.append(True)
        toy.broken = len(asked) < 3
        return False

    Hand(toy, list, print).open(60.0, stop)
    assert toy.opened == 1
    toy.broken = True
    with pytest.raises(TeleopError, match="toy: not there"):
        Hand(toy, list, print).open(0.0)
    with pytest.raises(TeleopError, match="toy: not there"):
        Hand(toy, list, print).open(60.0, lambda: True)
