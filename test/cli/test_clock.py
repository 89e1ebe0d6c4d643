"""What doctor says of this clock, and what `bench link` refuses."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from reconvla_ros.cli import clock, doctor
from reconvla_ros.cli.main import main
from reconvla_ros.observation.clock_offset import Offset

pytest.importorskip("reconvla_ros.msg", reason="needs the built workspace")


@pytest.mark.parametrize(
    ("offset", "good", "words"),
    [
        (None, True, "no graph is up here"),
        (
            Offset(0.002, 0.001, 0.0),
            True,
            "+2.0 ms (+- 1.0 ms) from that of the robot's computer (refused beyond 50 ms)",
        ),
        (Offset(-0.2, 0.001, 0.0), False, "-200.0 ms"),
        (Offset(0.2, 0.3, 0.0), True, "+200.0 ms (+- 300.0 ms)"),  # nothing is certain of it
    ],
)
def test_doctor_says_how_far_the_clock_is_off(
    monkeypatch: pytest.MonkeyPatch, offset: Offset | None, good: bool, words: str
) -> None:
    @contextlib.contextmanager
    def nobody(name: str) -> Iterator[None]:
        yield None

    monkeypatch.setattr(clock, "connected", nobody)
    monkeypatch.setattr(clock, "measure", lambda client: offset)
    row = doctor._clock()
    assert row[:2] == (good, "clock")
    assert words in row[2] and "chrony" in row[3]


def test_doctor_shows_peers_and_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_STATIC_PEERS", "127.0.0.1;10.0.0.2")
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    assert "discovery SUBNET, peers 127.0.0.1;10.0.0.2" in doctor._middleware()[2]


def test_measurements_of_the_link_are_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "link", "--seconds", "1"]) == 2
    assert "--seconds must be in 2..120" in capsys.readouterr().err
    assert main(["bench", "link", "--mbit", "-5"]) == 2
