"""`reconvla up`: which processes it starts, and what it says."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, ClassVar

import pytest

from reconvla_ros.cli import up
from reconvla_ros.cli.main import main
from reconvla_ros.graph import describe


class Instant:
    """A supervisor whose nodes are up at once, and that is asked to end then."""

    started: ClassVar[list[str]] = []

    def __init__(self, folder: Path, *, namespace: str = "") -> None:
        self.running = {"node": SimpleNamespace(ready=True, reported=False)}

    def __enter__(self) -> Instant:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def start(self, specs: list[Any]) -> None:
        Instant.started = [s.name for s in specs]

    def poll(self) -> list[Any]:
        os.kill(os.getpid(), signal.SIGINT)
        return []


@pytest.fixture(autouse=True)
def instant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(up, "Supervisor", Instant)
    monkeypatch.setenv("RECONVLA_HOME", str(tmp_path))
    handlers = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("half", [None, "robot", "policy"])
def test_a_half_is_what_runs_on_one_of_the_computers(half: str | None) -> None:
    words = [] if half is None else ["--half", half]
    main(["up", "cameras:=sim", *words, "images:=compressed"])
    assert Instant.started == [s.name for s in describe({}) if half in (None, s.half)] != []


def test_what_is_said() -> None:
    whole = up._what_now(None, {"namespace": ""}, 3.0)
    assert "the graph is up after 3.0 s" in whole and "--half" not in whole
    robot = up._what_now("robot", {"namespace": "left"}, 3.0)
    assert "the robot half is up" in robot and "./reconvla up --half policy" in robot and "--namespace left" in robot


def test_an_unknown_half_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["up", "--half", "wheels"])
    assert "robot" in capsys.readouterr().err
