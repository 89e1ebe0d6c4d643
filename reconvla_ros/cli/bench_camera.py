"""`reconvla bench camera`: the fault table of the RealSense node, and what a frame costs."""

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
    made.add_argument("--cost", action="store_true", help="what a frame costs beside a memcpy, instead of the faults")
    made.add_argument("--json", type=Path, help="write the result here")
    made.set_defaults(run=lambda options: _run(options, write))


def _run(options: argparse.Namespace, write: Callable[[Path, object], None]) -> int:
    if options.json:
        write(options.json, {})  # a path that cannot be written is known before the work, not after
    if options.cost:
        return _cost(options, write)
    from reconvla_ros.bench.camera_faults import measure

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


def _cost(options: argparse.Namespace, write: Callable[[Path, object], None]) -> int:
    from reconvla_ros.bench.camera_cost import measure

    result = measure()
    if options.json:
        write(options.json, result)
    ratio, whole = result["ratio"], result["whole"]
    print(f"a colour frame of 640x480: the one copy {result['copy_us']:g} us, a memcpy {result['memcpy_us']:g} us: ratio "
          f"{ratio['median']:g} (quartiles {ratio['low']:g} {ratio['high']:g}), bound >= {result['bound']:g}\n"
          f"handling without touching pixels {result['handling_us']:g} us; memcpy / all of it {whole['median']:g}\n"
          f"librealsense's alignment of depth {result['align_us']:g} us")  # fmt: skip
    return 0 if result["kept"] else 1
