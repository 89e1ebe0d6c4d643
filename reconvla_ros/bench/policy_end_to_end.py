"""B14 of `reconvla bench policy`: from an image's capture to the first bus frame of its chunk, over the sum of its stages.

The graph of `reconvla up` runs with cameras made up by `cli/policy_road.py`, which hears chunks, traces, status and the bus.
What lies between the stages and in none of them is the difference of the two. Each chunk is compared with its own stages:
where decoding takes long or short (tokens that are forced, a busy second core), the sum of the stages' medians is the time
of no chunk. That quotient of medians is given beside it, as `ratio_of_medians`.
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
    """B14: median over the chunks of capture to bus / sum of the chunk's stages.

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
            "stages": task:sequence -> name -> seconds, as policy/status gives them; "sent": seconds from capture until both
            images were published.

    Raises:
        SetupError: fewer than 5 chunks reached the bus.
    """
    known = sorted(key for key in heard["chunks"] if heard["stages"].get(key))
    chunks = np.array([heard["chunks"][key] for key in known], dtype=np.int64).reshape(-1, 4)
    if len(chunks) < _NEEDED:
        raise SetupError(f"B14: {len(chunks)} chunks reached the bus, at least {_NEEDED} are needed")
    captured, published, ticked, on_bus = chunks.T / 1e9
    # `publish` of the status is the time for all of the policy's topics; the chunk is the first and waits for none.
    names = [name for name in heard["stages"][known[0]] if name != "publish"]
    stages = {name: np.array([heard["stages"][key].get(name, 0.0) for key in known]) for name in names}
    stages |= {"driver": ticked - published, "bus": on_bus - ticked}
    whole, own = on_bus - captured, np.sum(list(stages.values()), axis=0)
    low, lower, ratio, upper, high = np.percentile(whole / own, (0, 25, 50, 75, 100))
    p50, p99 = (float(np.percentile(whole, p)) for p in (50, 99))
    medians = {name: float(np.median(times)) for name, times in stages.items()}
    result: dict[str, Any] = {
        "ratio": round(float(ratio), 4), "ratio_min": round(float(low), 4), "ratio_max": round(float(high), 4),
        "spread": round(float((upper - lower) / ratio), 4), "rounds": len(chunks),
        "ours_ms": round(p50 * 1e3, 3), "other_ms": round(float(np.median(own)) * 1e3, 3),
        "ours_p99_ms": round(p99 * 1e3, 3), "ratio_of_medians": round(p50 / sum(medians.values()), 4),
        "between_ms": round(float(np.median(whole - own)) * 1e3, 3),
        "stages_ms": {name: round(seconds * 1e3, 3) for name, seconds in medians.items()},
        "images_published_ms": round(float(np.median(heard["sent"])) * 1e3, 3),
    }  # fmt: skip
    words = ", ".join(f"{name} {ms:.1f}" for name, ms in result["stages_ms"].items())
    result["notes"] = [
        f"[ms] {words}; between them {result['between_ms']:.1f}; p99 of the whole {result['ours_p99_ms']:.1f}"
    ]
    return judge(result, BOUND)
