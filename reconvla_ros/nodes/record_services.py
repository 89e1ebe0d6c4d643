"""The services of the recorder: record/start, record/stop, record/relabel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from reconvla_ros.errors import ReconVlaError
from reconvla_ros.srv import RecordRelabel, RecordStart, RecordStop


class Recorder(Protocol):
    """What the services ask of the node; each returns (message, path) or raises an error of ours."""

    def begin(self, instruction: str, operator: str, tags: list[str]) -> tuple[str, str]:
        """Open an episode."""

    def finish(self, outcome: str, discard: bool) -> tuple[str, str]:
        """Close the open one."""

    def relabel(self, name: str, outcome: str, instruction: str, tags: list[str], trash: bool) -> tuple[str, str]:
        """Change a closed one."""


def _answer(act: Callable[[Any], tuple[str, str]]) -> Callable[[Any, Any], Any]:
    """A callback that fills `accepted`, `message` and `path`."""

    def callback(request: Any, response: Any) -> Any:
        try:
            response.message, response.path = act(request)
            response.accepted = True
        except ReconVlaError as error:
            response.accepted, response.message = False, str(error)
        return response

    return callback


def offer(node: Any) -> None:
    """Create the services on `node`, a `Recorder`."""
    recorder: Recorder = node
    start = _answer(lambda q: recorder.begin(q.instruction, q.operator_name, list(q.tags)))
    stop = _answer(lambda q: recorder.finish(q.outcome, q.discard))
    relabel = _answer(lambda q: recorder.relabel(q.episode, q.outcome, q.instruction, list(q.tags), q.trash))
    node.create_service(RecordStart, "record/start", start)
    node.create_service(RecordStop, "record/stop", stop)
    node.create_service(RecordRelabel, "record/relabel", relabel)
