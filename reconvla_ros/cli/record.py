"""`reconvla record start|stop|discard|relabel|status`: episodes of a running graph."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from reconvla_ros.cli.client import Client, connected, wait_until
from reconvla_ros.recording.episode import OUTCOMES


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("reconvla record", description="Episodes of a running graph.")
    parser.add_argument("what", choices=("start", "stop", "discard", "relabel", "status"))
    parser.add_argument("--instruction", default="", help="what is demonstrated; empty = that of the running task")
    parser.add_argument("--operator", default="", help="who demonstrates")
    parser.add_argument("--tag", action="append", default=[], help="free word; may be given several times")
    parser.add_argument("--outcome", default="", choices=("", *OUTCOMES), help="of stop and relabel")
    parser.add_argument("--discard", action="store_true", help="stop: throw the open episode away, as `discard` does")
    parser.add_argument("--episode", default="", help="relabel: name of a closed one; empty = the last one")
    parser.add_argument("--trash", action="store_true", help="relabel: move it to the trash folder instead")
    parser.add_argument("--namespace", default="", help="of the graph")
    return parser


def _call(client: Client, options: argparse.Namespace) -> Any:
    from reconvla_ros.srv import RecordRelabel, RecordStart, RecordStop

    if options.what == "start":
        start = RecordStart.Request(instruction=options.instruction, operator_name=options.operator, tags=options.tag)
        return client.call(RecordStart, "record/start", start)
    if options.what == "relabel":
        relabel = RecordRelabel.Request(
            episode=options.episode, outcome=options.outcome, instruction=options.instruction, tags=options.tag,
            trash=options.trash,
        )  # fmt: skip
        return client.call(RecordRelabel, "record/relabel", relabel)
    stop = RecordStop.Request(outcome=options.outcome, discard=options.discard or options.what == "discard")
    return client.call(RecordStop, "record/stop", stop, answer=60.0)


def _status(client: Client) -> int:
    """Print the latched state; 0 = all is well, 1 = something is wrong or nobody records."""
    from reconvla_ros.msg import RecordState

    states: list[Any] = []
    client.listen(RecordState, "record/state", states.append, latched=True)
    if not wait_until(lambda: bool(states), 5.0):
        print("no record/state after 5 s: is the recorder up?", file=sys.stderr)
        return 1
    state = states[-1]
    if state.recording:
        rows = zip(state.topics, state.counts, state.rates, state.dropped, state.gaps, strict=False)
        print(f"{'topic':<52} {'messages':>9} {'Hz':>7} {'lost':>6} {'gaps':>6}")
        for topic, count, rate, lost, gaps in rows:
            print(f"{topic:<52} {count:>9} {rate:>7.1f} {lost:>6} {gaps:>6}")
        print(f"{state.path}: {state.duration:.1f} s, {state.bytes / 1e6:.0f} MB, {state.free_bytes / 1e9:.1f} GB free")
    else:
        print("not recording" + (f"; last episode {state.path}" if state.path else ""))
    if state.warning:
        print(f"warning: {state.warning}", file=sys.stderr)
    return 1 if state.warning or not state.recording else 0


def main(words: list[str]) -> int:
    """0 = done, 1 = refused."""
    options = _parser().parse_args(words)
    with connected("reconvla_record", options.namespace) as client:
        if options.what == "status":
            return _status(client)
        answer = _call(client, options)
    print(
        answer.message if answer.accepted else f"refused: {answer.message}",
        file=sys.stdout if answer.accepted else sys.stderr,
    )
    if answer.accepted and answer.path:
        print(answer.path)
    return 0 if answer.accepted else 1
