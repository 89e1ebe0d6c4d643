"""`reconvla bench train`: a training step beside the original's; needs no ROS."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def add(benches: Any, write: Callable[[Path, object], None]) -> None:
    """Register the sub-command; `write` puts a result into a file."""
    parser = benches.add_parser(
        "train", help="a training step beside the original's: speed, loss curve, memory, overhead"
    )
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--rounds", type=int, default=7, help="measurements of each side [7]")
    parser.add_argument("--batch", type=int, default=2, help="samples of a step [2]")
    parser.add_argument(
        "--no-memory", action="store_true", help="leave out the peak memory, which takes a process a side"
    )
    parser.add_argument("--seed", type=int, default=0, help="of weights, data and chance [0]")
    parser.set_defaults(run=lambda options: run(options, write))


def run(options: argparse.Namespace, write: Callable[[Path, object], None]) -> int:
    """0 = every bound kept, 1 = not."""
    from reconvla_ros.bench.train_bench import Settings, measure, table

    if options.json:
        write(options.json, {})  # a path that cannot be written is known before the work, not after
    settings = Settings(options.rounds, options.batch, seed=options.seed, memory=not options.no_memory)
    result = measure(settings, lambda line: print(line, file=sys.stderr))
    if options.json:
        write(options.json, result)
    print(table(result))
    return 0 if result["kept"] else 1
