"""YAML -> dataclasses: what is wrong is named, with the bound, the value and the choices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from reconvla_ros.config import build, flatten, load, node_parameters, param, read_yaml
from reconvla_ros.errors import ConfigError


@dataclass(frozen=True)
class Example:
    rate: float = param(30.0, "frames a second", unit="Hz", low=1.0, high=90.0)
    count: int = param(3, "how many", low=0)
    live: bool = param(False, "whether")
    kind: str = param("sim", "which", options=("sim", "steel"))
    box: tuple[float, ...] = param((0.0, 1.0), "a range", unit="m", length=2)


def test_defaults_and_values() -> None:
    made = build(Example, {"rate": 60, "box": [0, 2]})
    assert made == Example(rate=60.0, box=(0.0, 2.0))
    assert isinstance(made.rate, float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rat": 1.0}, "unknown parameter 'rat' (did you mean 'rate'? valid: box, count, kind, live, rate)"),
        ({"rate": 0.5}, "rate: must be in 1..90 Hz, got 0.5"),
        ({"rate": float("nan")}, "rate: must be finite, got nan"),
        ({"rate": "fast"}, "rate: must be a number, got 'fast'"),
        ({"rate": True}, "rate: must be a number, got True"),
        ({"count": 1.5}, "count: must be a whole number, got 1.5"),
        ({"count": -1}, "count: must be in 0..inf, got -1"),
        ({"live": 1}, "live: must be true or false, got 1"),
        ({"kind": "steal"}, "kind: 'steal' (did you mean 'steel'? valid: sim, steel)"),
        ({"kind": 3}, "kind: must be text, got 3"),
        ({"box": [1.0]}, "box: must have 2 entries, got 1 ([1.0])"),
        ({"box": 1.0}, "box: must be a list, got 1.0"),
        ({"box": [0.0, float("inf")]}, "box[1]: must be finite, got inf"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(Example, values)
    assert str(caught.value) == message


@dataclass(frozen=True)
class Switched:
    mode: str = param("auto", "which", options=("auto", "off"))
    word: str = param("a", "any")


def test_a_bare_off_of_yaml_is_the_option_of_that_name() -> None:
    assert build(Switched, {"mode": False}).mode == "off"
    with pytest.raises(ConfigError, match="mode: must be text, got True"):
        build(Switched, {"mode": True})
    with pytest.raises(ConfigError, match="word: must be text, got False"):
        build(Switched, {"word": False})


def test_the_three_ways_to_name_a_node(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("/**:\n  ros__parameters: {rate: 10.0, count: 1}\n/**/cam:\n  ros__parameters: {rate: 20.0}\n")
    assert load(Example, path, "cam") == Example(rate=20.0, count=1)
    assert load(Example, path, "other") == Example(rate=10.0, count=1)
    path.write_text("cam:\n  ros__parameters: {count: 7}\n")
    assert node_parameters(path, "cam") == {"count": 7}


def test_a_file_that_is_not_there_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "piper.yaml").touch()
    with pytest.raises(ConfigError, match=r"does not exist \(.* holds: piper\.yaml\)"):
        read_yaml(tmp_path / "pipe.yaml")


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1\n", "cam:\n  rate: 3\n"])
def test_a_file_in_another_form_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"p\.yaml"):
        node_parameters(path, "cam")


def test_flatten() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a.b": 1, "a.c.d": 2, "e": 3}
