"""The demo's report: numbers from the nodes and from the bag, printed for a person and written for a program."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from reconvla_ros.cli import demo_bag
from reconvla_ros.cli.monitor import Monitor
from reconvla_ros.graph import CAMERAS, TOPICS

Report = dict[str, Any]


def setup_seconds(home: Path) -> dict[str, float]:
    """Seconds of each stage of `./reconvla`'s setup on this machine; 0 for what was ready when the demo began."""
    path = home / "setup.json"
    known: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    # The demo reports what a fresh machine took, so it takes the stages of the setup that made this environment.
    return {name: float(seconds) for name, seconds in known.items()}


@contextlib.contextmanager
def timed(stages: dict[str, float], name: str) -> Iterator[None]:
    """Add the seconds of a block."""
    begin = time.monotonic()
    yield
    stages[name] = round(time.monotonic() - begin, 1)


def make_sure_of_checkpoint(values: Mapping[str, str]) -> str:
    """Make the demo's random checkpoint when it is asked for and not there yet; returns what kind of checkpoint it is."""
    from reconvla_ros.policy.contract import load_contract
    from reconvla_ros.policy.factory import resolve_checkpoint

    if values["policy"] == "scripted":
        return "scripted"
    folder = resolve_checkpoint(
        values["checkpoint"], int(values["seed"]), lambda text: print(f"demo: {text}", flush=True)
    )
    return load_contract(folder).checkpoint_kind


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    if not len(values):
        return {"p50": math.nan, "p99": math.nan, "n": 0}
    p50, p99 = np.percentile(np.asarray(values, dtype=float), [50, 99])
    return {"p50": round(float(p50), 2), "p99": round(float(p99), 2), "n": len(values)}


def _streams(monitor: Monitor, facts: demo_bag.BagFacts) -> dict[str, dict[str, float]]:
    """Per topic: published, received (by the policy where it listens, else by the recorder), recorded, rate, loss."""
    published, at_policy = monitor.published(), monitor.received("policy")
    rows: dict[str, dict[str, float]] = {}
    for topic in sorted(set(facts.counts) | {t for t, n in published.items() if n}):
        if topic in ("diagnostics", "record/state"):
            continue  # they count themselves, or are not recorded
        recorded = facts.counts.get(topic, 0)
        received = at_policy.get(topic, recorded)
        times = facts.published.get(topic, [])
        span = (times[-1] - times[0]) / 1e9 if len(times) > 1 else 0.0
        sent = published.get(topic, recorded)
        rows[topic] = {
            "published": sent,
            "received": received,
            "recorded": recorded,
            "rate_hz": round((len(times) - 1) / span, 2) if span > 0 else 0.0,
            "received_rate_hz": round((received - 1) / span, 2) if span > 0 else 0.0,
            "lost_percent": round(100.0 * (1.0 - received / sent), 2) if sent else 0.0,
        }
    return rows


def _latency(monitor: Monitor, facts: demo_bag.BagFacts) -> dict[str, dict[str, float]]:
    """Per stage of the road [ms]: p50, p99, n."""
    stages: dict[str, Sequence[float]] = {}
    images = [f"{c}/color/image_raw" for c in CAMERAS]
    stages["capture_to_publish"] = [
        (p - s) / 1e6 for t in images for p, s in zip(facts.published.get(t, []), facts.stamps.get(t, []), strict=False)
    ]
    stages["capture_to_inference"] = monitor.stages.get("observation_age", [])
    for name, values in monitor.stages.items():
        if name != "observation_age":
            stages[name] = values
    applied = facts.chunk_first_applied
    stages["chunk_to_bus"] = [
        (applied[k] - facts.chunk_published[k]) / 1e6 for k in applied if k in facts.chunk_published
    ]
    stages["capture_to_bus"] = [
        (applied[k] - facts.chunk_captured[k]) / 1e6 for k in applied if k in facts.chunk_captured
    ]
    return {name: _percentiles(values) for name, values in stages.items()}


def build(monitor: Monitor, bag: Path, sheet: Path, setup: Mapping[str, float], kind: str, seconds: float) -> Report:
    """Everything, as JSON can hold it."""
    facts = demo_bag.read(bag)
    demo_bag.contact_sheet(facts, sheet, f"reconvla demo: {kind} checkpoint, {seconds:g} s, what the policy saw")
    arm, policy = monitor.arm, monitor.policy
    return {
        "streams": _streams(monitor, facts),
        "latency_ms": _latency(monitor, facts),
        "chunks": facts.counts.get("policy/action_chunk", 0),
        "chunks_refused": int(policy.refused) if policy else 0,
        "frames_sent": int(monitor.number("driver", "frames_sent")) if monitor.values.get("driver") else 0,
        "interventions": dict(zip(arm.reasons, map(int, arm.reason_counts), strict=False)) if arm else {},
        "commands": {
            "passed": int(arm.commands_passed), "clamped": int(arm.commands_clamped), "refused": int(arm.commands_refused),
        } if arm else {},
        "arm_travel_rad": round(facts.travel, 4),
        "loop_period_error_ms": {p: monitor.number("driver", f"loop_period_error_ms_{p}") for p in ("p50", "p99")},
        "rss_mb": monitor.rss_mb,
        "cpu_percent": monitor.cpu_percent,
        "setup_s": dict(setup),
        "bag": str(bag.resolve()),
        "contact_sheet": str(sheet.resolve()),
        "checkpoint": {"kind": kind, "path": policy.checkpoint if policy else "", "device": policy.device if policy else ""},
        "seconds": seconds,
        "diagnostics": monitor.values,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "cpu_percent_of": "one core"},
    }  # fmt: skip


def passed(report: Report) -> bool:
    """The graph ran: chunks were made, frames sent, the arm moved, and the bag holds what was published."""
    # Compressed images are made for whoever listens and are not recorded beside the raw ones.
    recorded = {t.name for t in TOPICS}
    whole = all(row["recorded"] >= row["published"] for name, row in report["streams"].items() if name in recorded)
    return bool(report["chunks"] and report["frames_sent"] and report["arm_travel_rad"] > 0 and whole)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*map(str, row))
    return table


def show(report: Report, console: Console | None = None) -> None:
    """The report for a person."""
    out = console or Console(width=110)
    out.print()
    rows = [(t, int(r["published"]), int(r["received"]), int(r["recorded"]), r["rate_hz"], f"{r['lost_percent']} %")
            for t, r in report["streams"].items()]  # fmt: skip
    out.print(_table("streams", ("topic", "published", "received", "in the bag", "Hz", "lost"), rows))
    out.print(_table("latency [ms]", ("stage", "p50", "p99", "n"),
                     [(s, v["p50"], v["p99"], v["n"]) for s, v in report["latency_ms"].items()]))  # fmt: skip
    cpu, rss = report["cpu_percent"], report["rss_mb"]
    out.print(_table("processes (100 % = one core)", ("process", "CPU %", "memory MB"),
                     [(n, cpu.get(n, ""), rss.get(n, "")) for n in sorted(set(cpu) | set(rss))]))  # fmt: skip
    out.print(_table("setup [s]", ("stage", "s"), list(report["setup_s"].items())))
    loop = report["loop_period_error_ms"]
    commands = report["commands"]
    out.print(
        f"\nchunks {report['chunks']} (refused by the token gate: {report['chunks_refused']}), CAN frames sent "
        f"{report['frames_sent']}, arm travel {report['arm_travel_rad']:.2f} rad\n"
        f"commands passed {commands.get('passed')}, clamped {commands.get('clamped')}, refused {commands.get('refused')}; "
        f"interventions by reason: {report['interventions'] or 'none'}\n"
        f"driver loop period error p50 {loop['p50']} ms, p99 {loop['p99']} ms\n"
        f"bag            {report['bag']}\ncontact sheet  {report['contact_sheet']}"
    )
    if report["checkpoint"]["kind"] == "random":
        out.print(
            "\nThe checkpoint is random: the arm moved aimlessly. That is the whole road, without a trained model."
        )
    out.print(
        "\nresult: " + ("the graph ran and the bag is whole" if passed(report) else "NOT as it should be, see above")
    )
