"""What every device to steer with does; test files subclass `DeviceContract` and fill in the rig."""

from __future__ import annotations

from typing import Protocol

from reconvla_ros.errors import TeleopError
from reconvla_ros.teleop.protocol import Device, Reading, checked


class Rig(Protocol):
    """A device and the hand on it."""

    device: Device

    def hold(self) -> None:
        """Hold the dead-man and ask for motion."""

    def let_go(self) -> None:
        """Let go of everything."""

    def unplug(self) -> None:
        """Take the device away."""

    def read(self) -> Reading:
        """What the device says after a moment."""


class DeviceContract:
    """Tests of one device; `rig` is a fixture of the subclass. `moves` is False where nothing is ever held."""

    moves = True

    def test_it_is_a_device_with_a_name_of_one_word(self, rig: Rig) -> None:
        assert isinstance(rig.device, Device)
        assert rig.device.name.isidentifier()

    def test_nothing_is_held_before_the_hand_does_something(self, rig: Rig) -> None:
        reading = rig.read()
        assert not reading.held or rig.device.toggles
        assert reading.twist == (0.0,) * 6

    def test_a_held_device_gives_numbers_that_may_be_used(self, rig: Rig) -> None:
        rig.hold()
        reading = checked(rig.device.name, rig.read())
        assert reading.held == self.moves

    def test_letting_go_ends_it(self, rig: Rig) -> None:
        rig.hold()
        rig.read()
        rig.let_go()
        assert not rig.read().held

    def test_a_device_that_is_taken_away_is_named_or_silent(self, rig: Rig) -> None:
        rig.hold()
        rig.read()
        rig.unplug()
        try:
            reading = rig.read()
        except TeleopError as error:
            assert rig.device.name in str(error)
        else:
            assert not reading.held

    def test_closing_twice_is_fine(self, rig: Rig) -> None:
        rig.device.close()
        rig.device.close()

    def test_it_can_be_opened_again(self, rig: Rig) -> None:
        rig.device.close()
        rig.device.open()
        rig.read()
