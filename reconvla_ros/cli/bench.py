"""`reconvla bench NAME`: measurements with a verdict. 0 = every bound kept, 1 = not."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from reconvla_ros.cli import bench_driver
from reconvla_ros.errors import SetupError


def _count(word: str) -> int:
    value = int(word)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def _soak(options: argparse.Namespace) -> int:
    from reconvla_ros.bench.soak import soak

    if options.json:
        _write(options.json, {})  # a path that cannot be written is known before the work, not after
    result = soak(options.commands, options.seed)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if options.json:
        _write(options.json, result)
    rate = result["commands"] / max(result["seconds"], 1e-3)
    print(f"{result['commands']} commands in {result['seconds']:g} s ({rate:.0f}/s, seed {result['seed']}): "
          f"{result['ticks']} ticks, {result['moving_ticks']} of them in motion, {result['frames']} frames judged")  # fmt: skip
    for kind, count in sorted(result["violations"].items()):
        print(f"  {kind:<22} {count:>8}   {'; '.join(result['examples'].get(kind, []))}")
    print(f"{sum(result['violations'].values())} violations")
    return 1 if result["violations"] else 0


def _write(path: Path, result: object) -> None:
    try:
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise SetupError(f"--json {path}: cannot be written ({error})") from error


def main(words: list[str]) -> int:
    """0 = every bound kept, 1 = violations."""
    parser = argparse.ArgumentParser("reconvla bench", description="Measurements with a verdict.")
    benches = parser.add_subparsers(dest="bench", required=True, metavar="NAME")
    soak = benches.add_parser(
        "soak", help="sane and insane commands on an injected clock; an independent judge reads the bus"
    )
    soak.add_argument("--commands", type=_count, default=20_000, help="how many [20000]")
    soak.add_argument("--seed", type=int, default=0, help="the same seed is the same run [0]")
    soak.add_argument("--json", type=Path, help="write the result here")
    soak.set_defaults(run=_soak)
    bench_driver.add(benches, _write)
    options = parser.parse_args(words)
    return int(options.run(options))
