from __future__ import annotations

import os
import pty
import termios
from pathlib import Path

import pytest

from reconvla_ros.errors import TeleopError
from reconvla_ros.teleop.terminal import Terminal, parse


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"ws", ["w", "s"]),
        (b" \r\x7f", ["space", "enter", "backspace"]),
        (b"\x1b[Aw\x1bOB", ["up", "w", "down"]),
        (b"\x1b[15~w", ["w"]),  # F5 is no motion
        (b"\x1b[1;5Aw", ["w"]),  # neither is Ctrl with an arrow
        (b"\x1bw", []),  # nor Alt with a key
        ("wäé€s".encode(), ["w", "s"]),
        (b"\x00\x01\x1b", []),
        (b"", []),
    ],
)
def test_keys_have_names_and_what_is_not_understood_has_none(data: bytes, keys: list[str]) -> None:
    assert parse(data) == keys


def test_a_terminal_gives_single_keys_and_is_given_back_as_it_was() -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave, "r") as stream:
        before = termios.tcgetattr(slave)
        terminal = Terminal(stream)
        terminal.open()
        assert terminal.keys() == []
        os.write(master, b"w ")
        assert terminal.keys() == ["w", "space"]
        terminal.close()
        terminal.close()
        assert termios.tcgetattr(slave) == before
    os.close(master)


def test_a_terminal_that_goes_away_is_named() -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave, "r") as stream:
        terminal = Terminal(stream)
        terminal.open()
        os.close(master)
        with pytest.raises(TeleopError, match=r"keyboard: the terminal (was closed|is gone)"):
            terminal.keys()


def test_something_else_is_no_terminal(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("wwww")
    with file.open() as stream, pytest.raises(TeleopError, match="no terminal"):
        Terminal(stream).open()
