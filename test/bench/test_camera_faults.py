"""The fault table of the RealSense node: its rows run, and it can say no."""

from __future__ import annotations

import dataclasses

import pytest

pytest.importorskip("pyrealsense2", exc_type=ImportError)

from reconvla_ros.bench import camera_faults
from reconvla_ros.bench.camera_faults import FAULTS, PLAYED, Fault, run

BY_NAME = {fault.name: fault for fault in FAULTS}


@pytest.mark.parametrize("name", ["unsupported profile", "unplugged in mid-stream, plugged in again"])
def test_a_fault_is_named_and_the_frames_come_back(name: str) -> None:
    outcome = run(BY_NAME[name])
    assert outcome.kept, outcome
    assert outcome.said and outcome.noticed_s is not None
    assert (outcome.back_s is not None) == (BY_NAME[name].end is not None)


def test_a_fault_in_a_recording_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_faults, "_FRAMES", 24)
    fault = next(f for f in FAULTS if f.by == PLAYED and "frame numbers" in f.name)
    outcome = run(fault)
    assert outcome.kept and outcome.said == "color_dropped=12", outcome


def test_words_that_do_not_come_and_frames_that_do_not_come_back_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_faults, "_WAIT", 0.8)
    silent = run(Fault("nothing is wrong", "words that nobody says", stops=False))
    assert not silent.kept and silent.noticed_s is None
    lost = run(dataclasses.replace(BY_NAME["no camera"], end=lambda scene: None))
    assert not lost.kept and lost.said and lost.back_s is None


def test_every_fault_of_the_list_is_there() -> None:
    """Bad input of the issue: no camera, two of one serial, unplugged, depth without colour, unsupported profile."""
    assert {"no camera", "two of the same serial", "depth without colour", "colour without depth", "USB 2 port"} <= set(
        BY_NAME
    )
    assert any(fault.by == PLAYED for fault in FAULTS)
