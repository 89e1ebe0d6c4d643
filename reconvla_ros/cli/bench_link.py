"""`reconvla bench link`: what the graph in two halves sends to the policy, raw and compressed, by width of link."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from reconvla_ros.bench.link import Link
from reconvla_ros.cli.two_hosts import Half, Watcher
from reconvla_ros.errors import ConfigError, SetupError

_SETTLE = 4.0  # [s] after the link's width changed: queues, and diagnostics, which come once a second
_TASK = "put fruit in bowl"


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


def measure(images: str, widths: list[float], seconds: float, rate: int) -> list[dict[str, Any]]:
    """One graph in two halves, working on a task, with the link as wide as each of `widths` [Mbit/s] in turn.

    Raises:
        SetupError: no namespaces here, or the graph does not come up.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reconvla_link")))
        link = stack.enter_context(Link())
        robot = [f"camera_rate:={rate}", f"record_folder:={folder}/episodes"]
        halves = [stack.enter_context(closing(Half(link, "robot", folder / "robot", robot))),
                  stack.enter_context(closing(Half(link, "policy", folder / "policy", [f"images:={images}"])))]  # fmt: skip
        for half in halves:
            half.wait_up()
        watcher = stack.enter_context(closing(Watcher(link)))
        watcher.give_task(_TASK, 600.0)
        return [_one(link, watcher, images, mbit, seconds) for mbit in widths]


def _one(link: Link, watcher: Watcher, images: str, mbit: float, seconds: float) -> dict[str, Any]:
    monitor = watcher.monitor
    topics = [
        f"{c}/color/image_raw" + ("/compressed" if images == "compressed" else "")
        for c in ("camera_base", "camera_wrist")
    ]
    link.narrow(mbit)
    time.sleep(_SETTLE)
    if monitor.policy_state() == "IDLE":  # the task ended for lack of pictures: a new one
        try:
            watcher.give_task(_TASK, 600.0)
        except SetupError as error:
            print(f"  {error}", file=sys.stderr)

    def counts() -> tuple[int, int]:
        published, received = monitor.published(), monitor.received("policy")
        return sum(published.get(t, 0) for t in topics), sum(received.get(t, 0) for t in topics)

    begin, sent, before = time.monotonic(), link.sent(), counts()
    chunks, ages = monitor.policy.chunks, len(monitor.stages.get("observation_age", []))
    time.sleep(seconds)
    spent, after = time.monotonic() - begin, counts()
    age = monitor.stages.get("observation_age", [])[ages:]
    return {
        "images": images, "mbit": mbit, "mb_s": round((link.sent() - sent) / spent / 1e6, 3),
        "arrived": round((after[1] - before[1]) / max(after[0] - before[0], 1), 3),
        "age_ms": round(float(np.median(age)), 1) if age else float("nan"),
        "chunks_s": round((monitor.policy.chunks - chunks) / spent, 2),
        "state": monitor.policy.state, "reason": monitor.policy.reason,
    }  # fmt: skip
