"""A gamepad whose file is a pipe: what the kernel would say is written by the test."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from reconvla_ros.teleop.gamepad import Gamepad, axis_map, button_map
from reconvla_ros.teleop.protocol import Reading
from reconvla_ros.teleop.settings import TeleopConfig

AXIS, BUTTON, INITIAL = 2, 1, 0x80


class Pad:
    """The other end of the file; plugged in from the start."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "js0"
        os.mkfifo(self.path)
        config = TeleopConfig()
        self.device = Gamepad(str(self.path), axis_map(config.axes), button_map(config.buttons), 0.1)
        self.fd: int | None = None
        self.plug()
        self.device.open()

    def plug(self) -> None:
        self.fd = os.open(self.path, os.O_RDWR)  # the writer first: a pipe that nobody writes to reads as unplugged
        for axis in range(8):
            self.event(AXIS | INITIAL, axis, 0)
        for button in range(11):
            self.event(BUTTON | INITIAL, button, 0)

    def event(self, kind: int, number: int, value: int) -> None:
        assert self.fd is not None
        os.write(self.fd, struct.pack("<IhBB", 0, value, kind, number))

    def hold(self) -> None:
        self.event(BUTTON, 4, 1)
        self.event(AXIS, 1, -32767)

    def let_go(self) -> None:
        self.event(BUTTON, 4, 0)

    def unplug(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def read(self) -> Reading:
        return self.device.read(0)
