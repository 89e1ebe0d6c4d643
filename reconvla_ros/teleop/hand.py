"""A device that may be lost and found again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from reconvla_ros.errors import TeleopError
from reconvla_ros.teleop.keyboard import acts_of
from reconvla_ros.teleop.protocol import Device, Reading, checked

_REOPEN_NS = 1_000_000_000  # between attempts to find a lost device
_PAUSE = 0.2  # [s] between attempts at the start


class Hand:
    """Reads a device; one that is gone or gives nonsense counts as let go, and is looked for.

    Args:
        device: opened by `open`.
        panel: keys beside the device, for what is no motion.
        say: gets the words of every loss and return.

    Attributes:
        lost: why there is no device now; empty while there is.
    """

    def __init__(self, device: Device, panel: Callable[[], Sequence[str]], say: Callable[[str], None]) -> None:
        self.device, self._panel, self._say = device, panel, say
        self.lost = ""
        self._reopen_at = 0

    def open(self, wait: float = 0.0, stop: Callable[[], bool] = lambda: False) -> None:
        """Find the device; `stop` ends the wait of up to `wait` [s].

        Raises:
            TeleopError: as `Device.open`.
        """
        end = time.monotonic() + wait
        while True:
            try:
                self.device.open()
                return
            except TeleopError:
                if stop() or time.monotonic() >= end:
                    raise
            time.sleep(_PAUSE)

    def read(self, now_ns: int) -> Reading:
        """What the hand does at monotonic `now_ns`."""
        try:
            if self.lost and now_ns >= self._reopen_at:
                self._reopen_at = now_ns + _REOPEN_NS
                self.device.open()
                self.lost = ""
                self._say(f"{self.device.name} is back: let go, then press again")
            if not self.lost:
                reading = checked(self.device.name, self.device.read(now_ns))
                return reading if not (keys := self._panel()) else _with(reading, keys)
        except TeleopError as error:
            if not self.lost:
                self._reopen_at = now_ns + _REOPEN_NS
                self._say(f"{error}; the arm holds")
            self.lost = str(error)
            self.device.close()
        return Reading(acts=acts_of(self._panel()), note=self.lost)

    def close(self) -> None:
        """Give the device back."""
        self.device.close()


def _with(reading: Reading, keys: Sequence[str]) -> Reading:
    return Reading(
        reading.held, reading.twist, reading.grip, reading.joints, reading.opening,
        (*reading.acts, *acts_of(keys)), reading.note,
    )  # fmt: skip
