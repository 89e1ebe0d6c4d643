"""`reconvla bench camera`: the fault table of the RealSense node."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def add(benches: Any, write: Callable[[Path, object], None]) -> None:
    """Add `camera` to the sub-commands; `write` puts the result into a file."""
    made = benches.add_parser(
        "camera", help="RealSense faults on librealsense's software device: what is said, how soon"
    )
    made.add_argument("--json", type=Path, help="write the result here")
    made.set_defaults(run=lambda options: _run(options, write))


def _run(options: argparse.Namespace, write: Callable[[Path, object], None]) -> int:
    from reconvla_ros.bench.camera_faults import measure

    if options.json:
        write(options.json, {})  # a path that cannot be written is known before the work, not after
    result = measure(lambda line: print(line, file=sys.stderr, flush=True))
    if options.json:
        write(options.json, result)
    print("| fault | made by | said | noticed after [s] | frames again after [s] |\n|---|---|---|---|---|")
    for row in result["faults"]:
        back = "-" if row["back_s"] is None else f"{row['back_s']:.2f}"
        noticed = "never" if row["noticed_s"] is None else f"{row['noticed_s']:.2f}"
        print(f"| {row['fault']} | {row['by']} | {row['said'].replace('|', '/')} | {noticed} | {back} |")
    bad = [row["fault"] for row in result["faults"] if not row["kept"]]
    bounds = result["bounds"]
    print(f"\n{len(result['faults'])} faults, bounds {bounds['noticed_s']:g} s and {bounds['back_s']:g} s: "
          + (f"missed by {', '.join(bad)}" if bad else "all kept"))  # fmt: skip
    return 0 if result["kept"] else 1
