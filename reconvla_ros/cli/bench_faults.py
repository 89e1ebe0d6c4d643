"""`reconvla bench faults`: break the running graph in every way we know, many times; the arm stops, holds, keeps power."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any


def add(benches: Any, write: Callable[[Path, object], None]) -> None:
    """Register the sub-command; `write` puts a result into a file."""
    parser = benches.add_parser(
        "faults", help="break the running graph in every way; the arm stops, holds, keeps power"
    )
    parser.add_argument("--runs", type=_count, default=20, help="of each fault [20]")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[], help="these faults only, e.g. e_stop bus_dead")
    parser.add_argument("--realtime", choices=("auto", "off"), default="auto", help="as the launch argument [auto]")
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.set_defaults(run=lambda options: run(options, write))


def _count(word: str) -> int:
    value = int(word)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def run(options: argparse.Namespace, write: Callable[[Path, object], None]) -> int:
    """0 = every bound kept, 1 = not."""
    from reconvla_ros.bench.faults_judge import table
    from reconvla_ros.cli.fault_runs import chosen, run_all

    wanted = chosen(options.only)
    if options.json:
        write(options.json, [])  # a path that cannot be written is known before the work, not after
    rows = run_all(wanted, options.runs, options.realtime)
    if options.json:
        write(options.json, [row.as_json() for row in rows])
    print(table(rows))
    kept = sum(not row.broken() for row in rows)
    print(f"{kept} of {len(rows)} faults within their bounds")
    return 0 if kept == len(rows) else 1
