"""Launch arguments on the command line: ``name:=value`` as `ros2 launch` takes them, from the one table in graph.py."""

from __future__ import annotations

import argparse

from reconvla_ros.errors import ConfigError
from reconvla_ros.graph import ARGUMENTS


def epilog() -> str:
    """The table for --help."""
    rows = []
    for a in ARGUMENTS:
        options = f" ({'|'.join(a.options)})" if a.options else ""
        rows.append(f"  {a.name}:={a.default or chr(39) * 2:<18} {a.description}{options}")
    return "launch arguments, as for `ros2 launch reconvla_ros bringup.launch.py`:\n" + "\n".join(rows)


def split(words: list[str]) -> dict[str, str]:
    """['arm:=sim'] -> {'arm': 'sim'}.

    Raises:
        ConfigError: a word that is not name:=value.
    """
    given = {}
    for word in words:
        name, separator, value = word.partition(":=")
        if not separator:
            raise ConfigError(f"{word!r}: launch arguments are written name:=value, e.g. arm:=sim")
        given[name] = value
    return given


def parser(command: str, description: str) -> argparse.ArgumentParser:
    """An argument parser that shows the table."""
    made = argparse.ArgumentParser(
        f"reconvla {command}",
        description=description,
        epilog=epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("launch", nargs="*", metavar="name:=value", help="launch arguments, see below")
    return made
