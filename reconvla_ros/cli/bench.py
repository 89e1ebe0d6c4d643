"""`reconvla bench NAME`: measurements with a verdict. 0 = every bound kept, 1 = not."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from reconvla_ros.cli import bench_camera, bench_driver, bench_faults, bench_policy, bench_record
from reconvla_ros.errors import SetupError


def _count(word: str) -> int:
    value = int(word)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def _minutes(word: str) -> float:
    value = float(word)
    if not 0.0 < value <= 600.0:
        raise argparse.ArgumentTypeError(f"must be in 0..600 minutes, got {value}")
    return value


def _soak(options: argparse.Namespace) -> int:
    from reconvla_ros.bench.soak import show, soak

    if options.json:
        _write(options.json, {})  # a path that cannot be written is known before the work, not after
    result = soak(options.commands, options.seed, options.workers, options.episode)
    if options.live:
        from reconvla_ros.cli import soak_live

        result["live"] = soak_live.run(options.live, options.seed, show)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if options.json:
        _write(options.json, result)
    rate = result["commands"] / max(result["seconds"], 1e-3)
    print(f"{result['commands']} commands in {result['seconds']:g} s ({rate:.0f}/s, seed {result['seed']}): "
          f"{result['ticks']} ticks, {result['moving_ticks']} of them in motion, {result['frames']} frames judged, "
          f"{result['freezes']} freezes, {result['seeds']} seeds")  # fmt: skip
    bad = _violations(result)
    if "live" in result:
        live = result["live"]
        print(f"live, {live['minutes']:g} min: {live['commands']} commands, {live['sets']} target sets, {live['frames']} "
              f"frames judged, {live['lost']} missed by the ear, {live['freezes']} freezes, {live['seeds']} seeds")  # fmt: skip
        bad += _violations(live)
    return 1 if bad else 0


def _violations(result: dict[str, Any]) -> int:
    for kind, count in sorted(result["violations"].items()):
        print(f"  {kind:<22} {count:>8}   {'; '.join(result['examples'].get(kind, []))}")
    for words in result["examples"].get("leap", []):
        print(f"  {words}")
    count = sum(result["violations"].values())
    print(f"{count} violations")
    return count


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
    soak.add_argument(
        "--workers", type=_count, default=os.cpu_count() or 1, help="processes; the result is the same [one per core]"
    )
    soak.add_argument("--live", type=_minutes, default=0.0, help="so many minutes more through the real graph [0]")
    soak.add_argument("--episode", type=int, help="replay one episode, by the number that an example names")
    soak.add_argument("--json", type=Path, help="write the result here")
    soak.set_defaults(run=_soak)
    bench_camera.add(benches, _write)
    bench_driver.add(benches, _write)
    bench_faults.add(benches, _write)
    bench_policy.add(benches, _write)
    bench_record.add(benches, _write)
    options = parser.parse_args(words)
    return int(options.run(options))
