"""B14 of `reconvla bench policy`: from an image's capture to the first bus frame of its chunk, over the sum of its stages.

The graph of `reconvla up` runs with cameras made up by `cli/policy_road.py`, which hears chunks, traces, status and the bus.
What lies between the stages and in none of them is the difference of the two.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from reconvla_ros.bench.policy_bench import Progress, Settings
from reconvla_ros.bench.policy_timing import Bound, judge
from reconvla_ros.errors import SetupError

BOUND = Bound("<=", 1.15)
_SECONDS = 6.0  # of motion in a round: some ten chunks of the demo's policy
_NEEDED = 5  # chunks; fewer make no median


def measure(settings: Settings, progress: Progress) -> dict[str, Any]:
    """B14: p50 of capture to bus / sum of the medians of its stages.

    Raises:
        SetupError: ROS is not here, the graph does not come up, or too few chunks reached the bus.
    """
    for module in ("rclpy", "reconvla_ros.msg"):
        if importlib.util.find_spec(module) is None:
            raise SetupError(f"B14 runs the graph, and {module} is not here; remedy: run it by ./reconvla")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "road.json"
        words = [sys.executable, "-m", "reconvla_ros.cli.policy_road", str(settings.rounds * _SECONDS), str(out)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=os.sep)
        if done.returncode or not out.exists():
            raise SetupError(f"B14: the graph ended with status {done.returncode}: {done.stderr.strip()[-500:]}")
        return figure(json.loads(out.read_text(encoding="utf-8")))


def figure(heard: dict[str, Any]) -> dict[str, Any]:
    """What was heard -> the result.

    Args:
        heard: "chunks": task:sequence -> [capture, published, first tick, first bus frame] of each chunk that got there [ns];
            "stages": name -> seconds, one a chunk, as policy/status gives them; "sent": seconds from capture until both
            images were published.

    Raises:
        SetupError: fewer than 5 chunks reached the bus.
    """
    chunks = np.array(sorted(heard["chunks"].values()), dtype=np.int64).reshape(-1, 4)
    stages = {name: times for name, times in heard["stages"].items() if name != "publish" and times}
    if len(chunks) < _NEEDED or not stages:
        raise SetupError(f"B14: {len(chunks)} chunks reached the bus, at least {_NEEDED} are needed")
    captured, published, ticked, on_bus = chunks.T / 1e9
    # `publish` of the status is the time for all of the policy's topics; the chunk is the first and waits for none.
    medians = {name: float(np.median(times)) for name, times in stages.items()}
    medians |= {"driver": float(np.median(ticked - published)), "bus": float(np.median(on_bus - ticked))}
    whole, total = on_bus - captured, sum(medians.values())
    p50, p99 = (float(np.percentile(whole, p)) for p in (50, 99))
    low, lower, upper, high = np.percentile(whole, (0, 25, 75, 100)) / total
    result = {
        "ratio": round(p50 / total, 4), "ratio_min": round(float(low), 4), "ratio_max": round(float(high), 4),
        "spread": round(float(upper - lower) * total / p50, 4), "rounds": len(chunks),
        "ours_ms": round(p50 * 1e3, 3), "other_ms": round(total * 1e3, 3), "ours_p99_ms": round(p99 * 1e3, 3),
        "ratio_p99": round(p99 / total, 4), "between_ms": round((p50 - total) * 1e3, 3),
        "stages_ms": {name: round(seconds * 1e3, 3) for name, seconds in medians.items()},
        "images_published_ms": round(float(np.median(heard["sent"])) * 1e3, 3),
    }  # fmt: skip
    words = ", ".join(f"{name} {ms:.1f}" for name, ms in result["stages_ms"].items())
    result["notes"] = [
        f"[ms] {words}; between them {result['between_ms']:.1f}; p99 of the whole {result['ours_p99_ms']:.1f}"
    ]
    return judge(result, BOUND)
