"""`reconvla make-checkpoint` writes where it is told, or in its own place, and tries out what it wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconvla_ros.cli.make_checkpoint import main
from reconvla_ros.errors import ConfigError
from reconvla_ros.model.checkpoint import list_tensors
from reconvla_ros.policy.contract import load_contract


def test_it_writes_loads_and_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RECONVLA_HOME", str(tmp_path))
    assert main(["--size", "tiny", "--dtype", "fp16", "--seed", "7", "--answer", "cpu"]) == 0
    folder = tmp_path / "checkpoints" / "random-tiny-float16-7"
    assert {t.dtype for t in list_tensors(folder).values()} == {"F16"}
    assert load_contract(folder).checkpoint_kind == "random"
    said = capsys.readouterr().out
    assert "answered on cpu as float32: 35 tokens in" in said
    assert "loading: " in said and "of memory held" in said


def test_an_unknown_type_names_the_choices(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dtype: 'int8' \(.*valid: float32, bfloat16, float16"):
        main([str(tmp_path / "x"), "--dtype", "int8"])
    assert not list(tmp_path.iterdir())
