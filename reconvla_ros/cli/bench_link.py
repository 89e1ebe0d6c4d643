"""`reconvla bench link`: what the graph in two halves sends to the policy, raw and compressed, by width of link."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reconvla_ros.errors import ConfigError


def add(benches: Any, write: Callable[[Path, object], None]) -> None:
    """`reconvla bench link`."""
    parser = benches.add_parser("link", help="robot and policy on two made-up computers: MB/s, losses, age of pictures")
    parser.add_argument(
        "--mbit", type=float, nargs="*", default=[0.0, 1000.0, 100.0], help="widths of the link; 0 = not bounded"
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement [8]")
    parser.add_argument("--rate", type=int, default=10, help="pictures a second of each camera [10]")
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.set_defaults(run=lambda options: _run(options, write))


def _run(options: argparse.Namespace, write: Callable[[Path, object], None]) -> int:
    if not 2.0 <= options.seconds <= 120.0 or not 1 <= options.rate <= 30 or any(m < 0 for m in options.mbit):
        raise ConfigError(f"--seconds must be in 2..120, --rate in 1..30, --mbit not negative; got {options.seconds:g}, "
                          f"{options.rate}, {options.mbit}")  # fmt: skip
    from reconvla_ros.cli.bench_link_live import measure

    rows = []
    print(f"{'images':<12}{'link':>10}{'MB/s':>8}{'arrived':>9}{'age p50':>9}{'chunks/s':>10}  policy says", flush=True)
    for images in ("raw", "compressed"):
        for row in measure(images, options.mbit, options.seconds, options.rate):
            rows.append(row)
            width = f"{row['mbit']:g} Mbit" if row["mbit"] else "veth"
            print(f"{images:<12}{width:>10}{row['mb_s']:>8.2f}{row['arrived']:>9.0%}{row['age_ms']:>6.0f} ms"
                  f"{row['chunks_s']:>10.2f}  {row['state']} {row['reason']}"[:150], flush=True)  # fmt: skip
    if options.json:
        write(options.json, {"rate": options.rate, "seconds": options.seconds, "rows": rows})
    return 0
