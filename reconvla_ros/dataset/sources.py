"""Sources by their kind."""

from __future__ import annotations

from reconvla_ros.dataset.frame import Request, Source
from reconvla_ros.dataset.options import KINDS, Options, Place
from reconvla_ros.errors import DatasetError, choices
from reconvla_ros.policy.contract import Contract

REPEATS = 2
"""A LeRobot episode has a frame at every tick, so one that shows the last pair of images again may stand in, twice in a row."""


def open_source(place: Place) -> Source:
    """The source that `place` names; the library of its format is imported only now.

    Raises:
        DatasetError: no such kind, or nothing readable there.
    """
    if place.kind == "bag":
        from reconvla_ros.dataset.bag import BagSource

        return BagSource(place.root, place.names, place.discarded)
    if place.kind == "bridge":
        from reconvla_ros.dataset.bridge import BridgeSource

        return BridgeSource(place.root, place.names)
    if place.kind == "lerobot":
        from reconvla_ros.dataset.lerobot_source import LeRobotSource

        return LeRobotSource(place.root, place.names)
    raise DatasetError(f"source: {choices(place.kind, KINDS)}")


def request_of(options: Options, contract: Contract) -> Request:
    """What the source is asked for."""
    rate = options.rate if options.to == "lerobot" and options.rate else contract.rate
    return Request(rate, contract.chunk_steps, options.actions, repeats=REPEATS if options.to == "lerobot" else 0)
