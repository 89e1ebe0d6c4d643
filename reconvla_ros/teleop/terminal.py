"""Single keys from a terminal, without waiting for Enter. Ctrl-C stays what it is: it ends the program."""

from __future__ import annotations

import contextlib
import os
import re
import select
import sys
import termios
import tty
from typing import Any

from reconvla_ros.errors import TeleopError

_SEQUENCES = {"A": "up", "B": "down", "C": "right", "D": "left"}
_NAMES = {" ": "space", "\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace"}
# An escape sequence (ECMA-48: CSI, or SS3 as keypads send it), Alt with a key, or a plain character.
_KEY = re.compile(r"\x1b[\[O](?P<sequence>[0-9;?]*[ -/]*[@-~])|\x1b.?|(?P<plain>.)", re.DOTALL)


def parse(data: bytes) -> list[str]:
    """Names of the keys in what a terminal sent: printable ones as they are, and space, enter, backspace, arrows.

    Whatever is not understood (a function key, a broken sequence) is left out: it must not move an arm.
    """
    keys = []
    for match in _KEY.finditer(data.decode("ascii", "ignore")):
        plain = match["plain"]
        name = _NAMES.get(plain, plain) if plain else _SEQUENCES.get(match["sequence"] or "")
        if name and name.isprintable():
            keys.append(name)
    return keys


class Terminal:
    """A terminal that gives keys as they are pressed, from `open` to `close`.

    Args:
        stream: of the terminal, default the standard input.
    """

    def __init__(self, stream: Any = None) -> None:
        self._fd = (stream or sys.stdin).fileno()
        self._before: list[Any] | None = None

    def open(self) -> None:
        """Take the terminal.

        Raises:
            TeleopError: the stream is no terminal.
        """
        if not os.isatty(self._fd):
            raise TeleopError("keyboard: the standard input is no terminal; run it in one (docker: -it, ssh: -t)")
        if self._before is None:
            self._before = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd, termios.TCSANOW)

    def keys(self) -> list[str]:
        """Keys since the last call, oldest first; never waits.

        Raises:
            TeleopError: the terminal is gone.
        """
        data = b""
        try:
            while select.select([self._fd], [], [], 0.0)[0]:
                part = os.read(self._fd, 4096)
                if not part:
                    raise TeleopError("keyboard: the terminal was closed")
                data += part
        except OSError as error:
            raise TeleopError(f"keyboard: the terminal is gone: {error.strerror}") from error
        return parse(data)

    def close(self) -> None:
        """Give the terminal back as it was; safe to call twice."""
        if self._before is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSANOW, self._before)
            self._before = None
