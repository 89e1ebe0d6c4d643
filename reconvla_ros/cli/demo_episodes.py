"""`reconvla demo --record --episodes N`: the demo as a collecting session: N labelled episodes, each verified."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from reconvla_ros.cli import places
from reconvla_ros.cli.client import Client, connected, wait_until
from reconvla_ros.cli.monitor import Monitor
from reconvla_ros.cli.supervise import Supervisor
from reconvla_ros.errors import ReconVlaError, SetupError
from reconvla_ros.graph import describe
from reconvla_ros.recording.verify import Verdict, verify


def _say(text: str) -> None:
    print(f"demo: {text}", file=sys.stderr, flush=True)


def _episode(
    supervisor: Supervisor, client: Client, monitor: Monitor, options: argparse.Namespace, seconds: float
) -> Path:
    """One episode: ready, record, task, label; returns its folder."""
    from std_srvs.srv import Trigger

    from reconvla_ros.cli.demo import JUDGED, begin_task, let_run
    from reconvla_ros.srv import RecordStart, RecordStop

    client.call(Trigger, "arm/ready", Trigger.Request())
    wait_until(lambda: not monitor.waiting(), 0.5)
    if not wait_until(monitor.waiting, 60.0):
        raise SetupError(f"the arm did not get ready: {monitor.why_not_ready()}")
    start = RecordStart.Request(instruction=options.instruction, operator_name="demo", tags=["demo"])
    answer = client.call(RecordStart, "record/start", start, answer=30.0)
    if not answer.accepted:
        raise SetupError(f"the recorder refused: {answer.message}")
    begin_task(client, monitor, options.instruction, seconds)
    let_run(supervisor, client, seconds, monitor)
    judged = "success" if monitor.success else "failure"
    outcome = judged if options.outcome == JUDGED else options.outcome
    if not wait_until(monitor.waiting, 10.0):
        raise SetupError(f"the arm did not come to rest: {monitor.why_not_ready()}")
    done = client.call(RecordStop, "record/stop", RecordStop.Request(outcome=outcome), answer=120.0)
    if not done.accepted:
        raise ReconVlaError(f"the recorder could not close the episode: {done.message}")
    _say(f"{Path(answer.path).name}: {outcome}; {done.message}")
    return Path(answer.path)


def _next_start(client: Client, options: argparse.Namespace) -> None:
    """The next seed on the table; what is asked for follows it, unless it was given."""
    from std_srvs.srv import Trigger

    from reconvla_ros.cli.demo import instruction_of

    answer = client.call(Trigger, "sim/next", Trigger.Request())
    if not answer.success:
        raise SetupError(f"the simulator has no next start: {answer.message}")
    _, scene, _, seed = answer.message.split()
    if not options.given_instruction:
        options.instruction = instruction_of(scene, int(seed))


def _row(folder: Path, verdict: Verdict) -> dict[str, Any]:
    episode = verdict.episode
    figures = {} if episode is None else {
        "outcome": episode.outcome, "seconds": round(episode.duration, 2), "lost": sum(episode.dropped.values()),
        "mb_s": round(episode.bytes / 1e6 / episode.duration, 1) if episode.duration else 0.0,
    }  # fmt: skip
    return {"path": str(folder.resolve()), **verdict.as_json(), **figures}


def run(options: argparse.Namespace, values: dict[str, str], seconds: float) -> int:
    """0 = every episode is there, labelled and verified."""
    from reconvla_ros.cli import demo_report
    from reconvla_ros.cli.demo import wait_for_graph

    demo_report.make_sure_of_checkpoint(values)
    folders = []
    with Supervisor(places.state() / "run", quiet=True) as supervisor, connected("reconvla_demo") as client:
        monitor = Monitor(client)
        supervisor.start(describe(values))
        supervisor.wait_ready(90.0)
        wait_for_graph(monitor)
        for count in range(options.episodes):
            if count:  # each from a start of its own
                _next_start(client, options)
            folders.append(_episode(supervisor, client, monitor, options, seconds))
    rows = [_row(folder, verify(folder)) for folder in folders]
    for row in rows:
        flaws = [name for name, check in row["checks"].items() if not check["ok"]]
        words = "good" if row["ok"] else "BAD"
        print(f"{row['episode']}: {words}, {row.get('outcome')}, {row.get('seconds')} s, {row.get('mb_s')} MB/s, "
              f"lost {row.get('lost')}, {'flaws: ' + ', '.join(flaws) if flaws else 'no flaws'}\n  {row['path']}")  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps({"episodes": rows}, indent=1))
    return 0 if rows and all(row["ok"] for row in rows) else 1
