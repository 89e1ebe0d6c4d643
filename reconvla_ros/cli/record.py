"""`reconvla record start|stop`: episodes of a running graph."""

from __future__ import annotations

import argparse
import sys

from reconvla_ros.cli.client import connected


def main(words: list[str]) -> int:
    """0 = done, 1 = refused."""
    parser = argparse.ArgumentParser("reconvla record", description="Start or stop an episode of a running graph.")
    parser.add_argument("what", choices=("start", "stop"))
    parser.add_argument("--instruction", default="", help="what is demonstrated; empty = that of the running task")
    parser.add_argument("--operator", default="", help="who demonstrates")
    parser.add_argument("--tag", action="append", default=[], help="free word; may be given several times")
    parser.add_argument("--outcome", default="unlabeled", choices=("success", "failure", "unlabeled"))
    parser.add_argument("--discard", action="store_true", help="throw the episode away")
    parser.add_argument("--namespace", default="", help="of the graph")
    options = parser.parse_args(words)
    with connected("reconvla_record", options.namespace) as client:
        from reconvla_ros.srv import RecordStart, RecordStop

        if options.what == "start":
            request = RecordStart.Request(
                instruction=options.instruction, operator_name=options.operator, tags=options.tag
            )
            answer = client.call(RecordStart, "record/start", request)
        else:
            stop = RecordStop.Request(outcome=options.outcome, discard=options.discard)
            answer = client.call(RecordStop, "record/stop", stop, answer=60.0)
    print(
        answer.message if answer.accepted else f"refused: {answer.message}",
        file=sys.stdout if answer.accepted else sys.stderr,
    )
    if answer.accepted and answer.path:
        print(answer.path)
    return 0 if answer.accepted else 1
