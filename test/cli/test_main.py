"""`reconvla`: commands and their errors."""

from __future__ import annotations

import importlib

import pytest

from reconvla_ros.cli.main import COMMANDS, main


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


def test_every_command_has_its_module() -> None:
    for module, text in COMMANDS.values():
        assert callable(importlib.import_module(module).main)
        assert text


def test_an_unknown_command_gets_the_choices(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dmo"]) == 2
    assert "did you mean 'demo'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["up", "arm=sim"], "launch arguments are written name:=value"),
        (["up", "arm:=steel"], "launch argument arm: 'steel' (valid: sim, piper)"),
        (["up", "chekpoint:=x"], "did you mean 'checkpoint'?"),
        (["demo", "--seconds", "0"], "--seconds: must be in 2..3600, got 0"),
        (["demo", "arm:=piper"], "the demo runs in simulation"),
    ],
)
def test_wrong_arguments_are_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown


def test_make_checkpoint_refuses_a_folder_that_holds_something(
    tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    (folder / "precious.txt").write_text("keep")
    assert main(["make-checkpoint", str(folder)]) == 2
    assert str(folder) in capsys.readouterr().err
    assert (folder / "precious.txt").read_text() == "keep"
