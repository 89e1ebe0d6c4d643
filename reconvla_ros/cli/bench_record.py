"""`reconvla bench record`: speed of the writer (B13), losses beside the running graph, what a kill costs."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reconvla_ros.errors import ConfigError, choices

_PARTS = ("B13", "graph", "kill")


def add(benches: Any, write: Callable[[Path, object], None]) -> None:
    """Register the sub-command; `write` puts a result into a file."""
    parser = benches.add_parser("record", help="the recorder beside a bare write, the running graph, and kill -9")
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--only", default=",".join(_PARTS), help=f"some of them, with commas [{','.join(_PARTS)}]")
    parser.add_argument("--folder", type=Path, help="on the disk in question [the folder for temporary files]")
    parser.add_argument("--rounds", type=int, default=5, help="of each side of B13 [5]")
    parser.add_argument("--traffic", type=int, default=10, help="seconds of traffic a round of B13 writes [10]")
    parser.add_argument("--paced", type=float, default=20.0, help="seconds at the graph's own pace [20]")
    parser.add_argument("--seconds", type=float, default=60.0, help="beside the graph [60]")
    parser.add_argument(
        "--policy", choices=("scripted", "reconvla"), default="scripted", help="of the graph [scripted]"
    )
    parser.add_argument("--kills", type=int, default=50, help="random moments [50]")
    parser.add_argument("--seed", type=int, default=0, help="of the moments [0]")
    parser.set_defaults(run=lambda options: run(options, write))


def run(options: argparse.Namespace, write: Callable[[Path, object], None]) -> int:
    """0 = every bound kept, 1 = not."""
    wanted = tuple(word.strip() for word in options.only.split(",") if word.strip())
    for word in wanted or ("",):
        if word not in _PARTS:
            raise ConfigError(f"--only: no part {choices(word, _PARTS)}")
    if options.json:
        write(options.json, {})  # a path that cannot be written is known before the work, not after
    result: dict[str, Any] = {}

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(dir=options.folder, prefix="bench-record-") as folder:
        root = Path(folder)
        if "B13" in wanted:
            from reconvla_ros.bench.record_bench import measure

            result |= measure(root, options.rounds, options.traffic, options.paced, say)
        if "graph" in wanted:
            from reconvla_ros.cli.bench_record_live import beside_graph

            result["beside_graph"] = beside_graph(root / "graph", options.seconds, options.policy, say)
        if "kill" in wanted:
            from reconvla_ros.cli.bench_record_live import kills

            result["kill"] = kills(root / "kill", options.kills, options.seed, say)
    if options.json:
        write(options.json, result)
    broken = verdict(result)
    for line in broken:
        print(f"NOT kept: {line}")
    print(f"{len(broken)} of the bounds broken")
    return 1 if broken else 0


def verdict(result: dict[str, Any]) -> list[str]:
    """The bounds that are not kept, in words."""
    broken = []
    b13, graph, kill = (result.get(key) for key in ("B13", "beside_graph", "kill"))
    if b13 is not None:
        print(f"B13: {b13['mb_s']} MB/s ({b13['of_need']} x 92.2), {b13['ratio']} of a bare write ({b13['raw_mb_s']}), "
              f"{b13['dropped']} dropped in {b13['paced_seconds']:g} s at 92 MB/s")  # fmt: skip
        cpu = result["cpu"]
        print(
            f"CPU a MB: ours {cpu['ours_ms_per_mb']} ms, rosbags {cpu['rosbags_ms_per_mb']} ms, bare {cpu['raw_ms_per_mb']} ms"
        )
        if not b13["kept"]:
            broken.append("B13: ratio >= 0.25, >= 184.4 MB/s and 0 dropped")
    if graph is not None:
        allowed = 0.0 if graph["policy"] == "scripted" else 0.1  # [%]
        print(f"beside the graph: {graph['mb_s']} MB/s for {graph['seconds']} s, {graph['dropped']} dropped")
        if graph["dropped_percent"] > allowed:
            broken.append(
                f"beside the graph ({graph['policy']}): at most {allowed:g} % dropped, got {graph['dropped_percent']:g} %"
            )
    if kill is not None:
        print(f"kill -9: {kill['runs']} runs, {kill['unreadable']} unreadable, at most {kill['worst_lost_s']} s lost")
        if kill["unreadable"] or kill["worst_lost_s"] > 1.0:
            broken.append("kill: 0 unreadable, at most 1 s lost")
    return broken
