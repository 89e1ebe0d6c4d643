from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_type_hints

import pytest

from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.config import build, load
from reconvla_ros.errors import ConfigError, LimitError

FILE = Path(__file__).resolve().parents[2] / "config" / "piper.yaml"
FROM_LAUNCH = {"arm", "can_interface", "can_port", "sim_port", "dry_run", "auto_enable", "auto_ready"}


def test_the_file_says_the_defaults() -> None:
    assert load(DriverConfig, FILE, "driver") == DriverConfig()


def test_the_file_states_every_key_but_those_of_the_launch() -> None:
    text = FILE.read_text()
    for field in dataclasses.fields(DriverConfig):
        assert (f"    {field.name}: " in text) is (field.name not in FROM_LAUNCH), field.name


def test_safe_when_nothing_is_said() -> None:
    assert DriverConfig().dry_run and not DriverConfig().auto_enable


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("joint_sped: 0.5", "did you mean 'joint_speed'"),
        ("joint_speed: 9.0", "joint_speed: must be in 0.01..3 rad/s, got 9.0"),
        ("rate: fast", "rate: must be a number"),
        ("workspace_lower: [0.0, 0.0]", "workspace_lower: must have 3 entries, got 2"),
        ("mounting: sideways", "valid: keep, upright, left, right"),
        ("gripper_range: .nan", "gripper_range: must be finite"),
    ],
)
def test_bad_keys_and_values_are_named(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "piper.yaml"
    file.write_text(f"driver:\n  ros__parameters:\n    {line}\n")
    with pytest.raises(ConfigError, match=message):
        load(DriverConfig, file, "driver")


def test_limits_check_each_other() -> None:
    with pytest.raises(LimitError, match="joint_lower"):
        DriverConfig(joint_lower=(-3.0, 0.0, -2.9, -1.7, -1.2, -2.0)).limits()


def test_the_bus_follows_the_interface() -> None:
    assert DriverConfig().bus == ("udp_multicast", "239.74.163.2", 43113)
    assert DriverConfig(can_interface="socketcan", can_port="can1").bus == ("socketcan", "can1", 0)


def wrong_values() -> list[tuple[str, object, str]]:
    """For every parameter: below and above its bounds, not a number, of the wrong type, of the wrong length."""
    hints = get_type_hints(DriverConfig)
    wrong: list[tuple[str, object, str]] = []
    for field in dataclasses.fields(DriverConfig):
        info, hint = field.metadata["param"], str(hints[field.name])
        if hint.startswith("tuple"):
            values = list(getattr(DriverConfig(), field.name)) or [0.0] * 6  # a list that is empty may be longer
            wrong += [
                (field.name, v, field.name) for v in (1.0, "text", ["x"] * len(values), [float("nan")] * len(values))
            ]
            if info.length is not None:
                wrong += [(field.name, v, f"must have {info.length} entries") for v in (values[:-1], [*values, 0.0])]
        elif hint == str(bool):
            wrong += [(field.name, v, "must be true or false") for v in (1, "yes", None)]
        elif hint in (str(int), str(float)):
            wrong += [(field.name, v, "number") for v in ("fast", True, None, [1.0])]
            wrong += [(field.name, v, "finite|whole") for v in (float("nan"), float("inf"))]
            step = 1 if hint == str(int) else 1e-6
            wrong += [(field.name, info.low - step, "must be in")] if info.low is not None else []
            wrong += [(field.name, info.high + step, "must be in")] if info.high is not None else []
        else:
            wrong += [(field.name, v, "must be text") for v in (1, None, ["can0"])]
            wrong += [(field.name, "nonsense", "valid: ")] if info.options else []
    return wrong


@pytest.mark.parametrize(("name", "value", "words"), wrong_values())
def test_every_parameter_refuses_what_it_cannot_be(name: str, value: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        build(DriverConfig, {name: value})
    assert str(caught.value).startswith(name)


def test_every_number_has_both_bounds() -> None:
    hints = get_type_hints(DriverConfig)
    for field in dataclasses.fields(DriverConfig):
        if hints[field.name] in (int, float):
            info = field.metadata["param"]
            assert info.low is not None and info.high is not None, field.name
