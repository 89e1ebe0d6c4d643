from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from reconvla_ros.camera import keeper
from reconvla_ros.camera.keeper import CameraKeeper
from reconvla_ros.camera.protocol import Report
from reconvla_ros.errors import CameraError
from reconvla_ros.types import CameraFrame, CameraIntrinsics

PINHOLE = CameraIntrinsics(4, 2, 5.0, 5.0, 1.5, 0.5)


class Scripted:
    """A camera whose `open` and `read` do what a list says: True a frame, False none, an exception is raised."""

    def __init__(self, opens: list[object], reads: list[object], end: Callable[[], None]) -> None:
        self.opens, self.reads, self.end, self.closed = opens, reads, end, 0

    def open(self) -> CameraIntrinsics:
        if self.opens and isinstance(step := self.opens.pop(0), Exception):
            raise step
        return PINHOLE

    def read(self, timeout: float) -> CameraFrame | None:
        if not self.reads:
            self.end()
            return None
        step = self.reads.pop(0)
        if isinstance(step, Exception):
            raise step
        picture = np.zeros((2, 4, 3), np.uint8)
        return CameraFrame(len(self.reads), "x", picture, None, PINHOLE) if step else None

    def close(self) -> None:
        self.closed += 1

    def report(self) -> Report:
        return Report("hot", {"serial": "1"})


def run(opens: list[object], reads: list[object]) -> tuple[CameraKeeper, list[CameraFrame], list[tuple[bool, str]]]:
    stop, frames, said = threading.Event(), list[CameraFrame](), list[tuple[bool, str]]()
    kept = CameraKeeper(Scripted(opens, reads, stop.set), frames.append, lambda grave, text: said.append((grave, text)))
    kept.run(stop)
    return kept, frames, said


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "RETRY", 0.001)


def test_a_camera_that_comes_late_and_goes_away_is_got_back() -> None:
    kept, frames, said = run([CameraError("none"), CameraError("none"), None, CameraError("gone"), None],
                             [True, CameraError("gone"), False, True])  # fmt: skip
    assert len(frames) == 2 and kept.recoveries == 2
    assert [text for _, text in said] == ["none", "the camera is back", "gone", "the camera is back"], (
        "once per problem"
    )
    assert kept.report() == Report("hot", {"recoveries": 2, "serial": "1"})


def test_opening_alone_is_not_being_back() -> None:
    kept, _, said = run([None, None], [CameraError("silent"), CameraError("silent")])
    assert kept.recoveries == 0
    assert said == [(False, "silent")]
    assert kept.report().warning == "silent", "the problem before what the camera says of itself"


def test_an_error_that_nobody_foresaw_does_not_end_the_thread() -> None:
    _, frames, said = run([None, None], [TypeError("odd"), True])
    assert len(frames) == 1
    assert said[0] == (True, "TypeError: odd")


def test_a_problem_after_the_start_is_grave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "START_PATIENCE", 0.0)
    _, _, said = run([None, None], [True, CameraError("gone"), True])
    assert said[0] == (True, "gone")
