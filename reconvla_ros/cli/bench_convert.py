"""`reconvla bench convert`: frames a second beside plain Pillow and pyarrow in one process."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def add(benches: Any, write: Callable[[Path, object], None]) -> None:
    """Register the sub-command; `write` puts a result into a file."""
    parser = benches.add_parser("convert", help="episodes to ReconVLA samples, beside plain Pillow and pyarrow")
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--rounds", type=int, default=5, help="of each side [5]")
    parser.add_argument("--episodes", type=int, default=6, help="made up for it [6]")
    parser.add_argument("--seconds", type=float, default=8.0, help="each of them [8]")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="of our side [one per core]")
    parser.add_argument("--from", dest="given", type=Path, help="convert these episodes instead")
    parser.add_argument("--folder", type=Path, help="on the disk in question [the folder for temporary files]")
    parser.set_defaults(run=lambda options: run(options, write))


def run(options: argparse.Namespace, write: Callable[[Path, object], None]) -> int:
    """0 = the bound is kept, 1 = not."""
    from reconvla_ros.bench.convert_bench import BOUND, measure

    if options.json:
        write(options.json, {})  # a path that cannot be written is known before the work, not after

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(dir=options.folder, prefix="bench-convert-") as folder:
        result = measure(Path(folder), options.rounds, options.episodes, options.seconds, options.workers,
                         options.given, say)  # fmt: skip
    if options.json:
        write(options.json, result)
    found = result["convert"]
    print(f"convert: {found['frames_s']:.1f} frames/s on {found['workers']} workers ({found['one_worker_frames_s']:.1f} on one), "
          f"plain {found['plain_frames_s']:.1f}; CPU a frame {found['one_worker_cpu_ms_per_frame']:.1f} and "
          f"{found['plain_cpu_ms_per_frame']:.1f} ms: {found['ratio']:.2f} times ({found['ratio_spread'][0]:.2f} to "
          f"{found['ratio_spread'][1]:.2f}), bound {BOUND:g}: {'kept' if found['kept'] else 'NOT kept'}")  # fmt: skip
    return 0 if found["kept"] else 1
