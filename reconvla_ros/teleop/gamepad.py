"""A gamepad over the joystick interface of Linux (/dev/input/js*).

Records of eight bytes (u32 time [ms], s16 value, u8 type, u8 number; linux/joystick.h), the state of every axis and
button first. Nothing else is needed of it, so no library stands between: python-evdev wants a compiler and kernel headers.
A cable that is pulled shows at the next read. A wireless pad that falls silent with its button down does not, as long
as its receiver stays plugged in: docs/how-to/teleoperation.md.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from reconvla_ros.errors import ConfigError, TeleopError, choices
from reconvla_ros.teleop.protocol import Act, Reading

MOTIONS = ("x", "y", "z", "rx", "ry", "rz")
_RECORD = struct.Struct("<IhBB")
_BUTTON, _AXIS, _INITIAL = 0x01, 0x02, 0x80
_FULL = 32767.0
_GONE = "was unplugged or switched off"
BUTTON_ACTS = {
    "stop": Act.STOP, "hand_over": Act.HAND_OVER, "record": Act.RECORD, "failed": Act.FAILED, "discard": Act.DISCARD,
    "slow": Act.SLOW, "medium": Act.MEDIUM, "fast": Act.FAST, "engage": Act.ENGAGE, "quit": Act.QUIT,
}  # fmt: skip
BUTTONS = ("dead_man", "open", "close", *BUTTON_ACTS)


def _pairs(name: str, lines: Iterable[str], known: Iterable[str]) -> dict[str, tuple[int, float]]:
    """`x=-1` -> {"x": (1, -1.0)}; a minus is a direction of its own, so that axis 0 can be turned round, too."""
    known, found = tuple(known), dict[str, tuple[int, float]]()
    for line in lines:
        what, separator, number = line.partition("=")
        if what not in known:
            raise ConfigError(f"teleop.{name}: {choices(what, known)}")
        digits = number.removeprefix("-")
        if not separator or not digits.isdigit() or int(digits) > 255:
            raise ConfigError(f"teleop.{name}: expected {what}=0..255 (a minus turns an axis round), got {line!r}")
        if what in found:
            raise ConfigError(f"teleop.{name}: {what} is named twice")
        found[what] = (int(digits), -1.0 if number.startswith("-") else 1.0)
    return found


def axis_map(lines: Iterable[str]) -> dict[str, tuple[int, float]]:
    """Motion -> (axis number, direction).

    Raises:
        ConfigError: an unknown motion, or a line of another form.
    """
    return _pairs("axes", lines, MOTIONS)


def button_map(lines: Iterable[str]) -> dict[str, int]:
    """What -> button number.

    Raises:
        ConfigError: an unknown word, a line of another form, one button for two things, no dead-man.
    """
    found = {what: number for what, (number, _) in _pairs("buttons", lines, BUTTONS).items()}
    if "dead_man" not in found:
        raise ConfigError("teleop.buttons: there must be a dead_man: without it nobody can let go")
    taken: dict[int, str] = {}
    for what, number in found.items():
        if number in taken:
            raise ConfigError(f"teleop.buttons: button {number} is both {taken[number]} and {what}")
        taken[number] = what
    return found


class Gamepad:
    """A `Device` over a joystick file.

    Args:
        path: e.g. /dev/input/js0.
        axes, buttons: as `axis_map` and `button_map` give them.
        dead_zone: share of an axis that gives nothing; from there on it grows from zero.
    """

    name, toggles = "gamepad", False

    def __init__(
        self, path: str, axes: dict[str, tuple[int, float]], buttons: dict[str, int], dead_zone: float = 0.12
    ) -> None:
        self._path, self._map, self._buttons, self._zone = path, axes, buttons, dead_zone
        self._what = {number: what for what, number in buttons.items()}
        self._fd: int | None = None
        self._axis: dict[int, float] = {}
        self._down: set[int] = set()
        self._rest = b""

    def open(self) -> None:
        """See `Device.open`."""
        self.close()
        try:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError as error:
            there = ", ".join(sorted(str(p) for p in Path("/dev/input").glob("js*"))) or "none"
            raise TeleopError(f"gamepad: {self._path} does not exist (joysticks here: {there}); plug it in, or "
                              "sudo modprobe joydev") from error  # fmt: skip
        except OSError as error:
            hint = "; add yourself to the group input" if isinstance(error, PermissionError) else ""
            raise TeleopError(f"gamepad: {self._path} cannot be opened: {error.strerror}{hint}") from error
        self._axis, self._down, self._rest = {}, set(), b""

    def read(self, now_ns: int) -> Reading:
        """See `Device.read`."""
        acts: list[Act] = []
        self._take(self._bytes(), acts.append)
        held = self._buttons["dead_man"] in self._down
        if not held:
            return Reading(acts=tuple(acts))
        twist = tuple(self._value(motion) for motion in MOTIONS)
        grip = float(self._buttons.get("open") in self._down) - float(self._buttons.get("close") in self._down)
        return Reading(True, twist, grip, acts=tuple(acts))

    def _bytes(self) -> bytes:
        if self._fd is None:
            raise TeleopError(f"gamepad: {self._path} is not open")
        data = self._rest
        while True:
            try:
                part = os.read(self._fd, 4096)
            except BlockingIOError:
                break
            except OSError as error:
                raise TeleopError(f"gamepad: {self._path} {_GONE} ({error.strerror})") from error
            if not part:
                raise TeleopError(f"gamepad: {self._path} {_GONE}")
            data += part
        whole = len(data) - len(data) % _RECORD.size
        self._rest = data[whole:]
        return data[:whole]

    def _take(self, data: bytes, act: Callable[[Act], None]) -> None:
        for _, value, kind, number in _RECORD.iter_unpack(data):
            if kind & ~_INITIAL == _AXIS:
                self._axis[number] = max(-1.0, value / _FULL)
            elif kind & ~_INITIAL == _BUTTON:
                (self._down.add if value else self._down.discard)(number)
                what = self._what.get(number, "")
                if value and not kind & _INITIAL and what in BUTTON_ACTS:
                    act(BUTTON_ACTS[what])

    def _value(self, motion: str) -> float:
        number, direction = self._map.get(motion, (-1, 0.0))
        value = self._axis.get(number, 0.0)
        beyond = max(0.0, abs(value) - self._zone) / (1.0 - self._zone)
        return direction * (beyond if value > 0.0 else -beyond)

    def close(self) -> None:
        """See `Device.close`."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
