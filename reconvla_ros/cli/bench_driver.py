"""`reconvla bench driver`: loop, tick and inverse kinematics beside the bare thing; and the plots of the docs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reconvla_ros.errors import ConfigError, choices


def add(benches: Any, write: Callable[[Path, object], None]) -> None:
    """Register the sub-command; `write` puts a result into a file."""
    parser = benches.add_parser(
        "driver", help="the driver's loop (B10), tick (B11) and inverse kinematics (B12) beside the bare thing"
    )
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--only", default="B10,B11,B12", help="some of them, with commas [B10,B11,B12]")
    parser.add_argument("--seconds", type=_positive(float), default=2.5, help="length of one block [2.5 s]")
    parser.add_argument("--rounds", type=_positive(int), default=7, help="blocks of each side and condition [7]")
    parser.add_argument(
        "--realtime", choices=("auto", "off"), default="auto", help="a real-time turn for both sides [auto]"
    )
    parser.add_argument("--plots", type=Path, help="write the plots of the docs into this folder instead of measuring")
    parser.set_defaults(run=lambda options: run(options, write))


def _positive(kind: type) -> Callable[[str], Any]:
    def parse(word: str) -> Any:
        value = kind(word)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"must be above 0, got {value}")
        return value

    return parse


def names(text: str) -> tuple[str, ...]:
    """'B10,B12' -> ('B10', 'B12').

    Raises:
        ConfigError: one that does not exist.
    """
    from reconvla_ros.bench.driver_bench import NAMES

    words = tuple(word.strip() for word in text.split(",") if word.strip())
    for word in words or ("",):
        if word not in NAMES:
            raise ConfigError(f"--only: no bench {choices(word, NAMES)}")
    return words


def run(options: argparse.Namespace, write: Callable[[Path, object], None]) -> int:
    """0 = every bound kept, 1 = not."""
    if options.plots is not None:
        from reconvla_ros.bench.driver_bench_plots import draw

        for path in draw(options.plots):
            print(path)
        return 0
    from reconvla_ros.bench.driver_bench import measure, table

    wanted = names(options.only)
    if options.json:
        write(options.json, {})  # a path that cannot be written is known before the work, not after
    result = measure(
        wanted, options.seconds, options.rounds, options.realtime, lambda line: print(line, file=sys.stderr, flush=True)
    )
    if options.json:
        write(options.json, result)
    print(table(result))
    return 0 if all(result[name]["kept"] for name in wanted) else 1
