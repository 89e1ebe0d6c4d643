"""The measurements of `reconvla bench link`."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from reconvla_ros.bench.link import Link
from reconvla_ros.cli.two_hosts import Half, Watcher
from reconvla_ros.errors import SetupError

_SETTLE = 4.0  # [s] after the link's width changed: queues, and diagnostics, which come once a second
_TASK = "put fruit in bowl"


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
