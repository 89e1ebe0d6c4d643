"""The launch files describe the same graph as `reconvla up`.

`launch` is in no package registry, so these tests put classes with the documented signatures in its place and look at what the
files hand them. `ros2 launch` itself is tried by hand.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from reconvla_ros.graph import ARGUMENTS, describe

ROOT = Path(__file__).resolve().parents[2]


class Recorded:
    """Keeps what it was made with."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.arguments, self.named = arguments, named


class LaunchDescription(Recorded):
    @property
    def entities(self) -> list[Any]:
        return list(self.arguments[0])


class LaunchConfiguration(Recorded):
    def perform(self, context: dict[str, str]) -> str:
        return context[self.arguments[0]]


def kinds(entities: list[Any], name: str) -> list[Any]:
    return [e for e in entities if type(e).__name__ == name]


@pytest.fixture
def fake_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    actions = ("DeclareLaunchArgument", "IncludeLaunchDescription", "OpaqueFunction", "SetEnvironmentVariable")
    source = "PythonLaunchDescriptionSource"
    modules: dict[str, dict[str, type]] = {
        "launch": {"LaunchDescription": LaunchDescription},
        "launch.actions": {n: type(n, (Recorded,), {}) for n in actions},
        "launch.launch_description_sources": {source: type(source, (Recorded,), {})},
        "launch.substitutions": {"LaunchConfiguration": LaunchConfiguration},
        "launch_ros": {},
        "launch_ros.actions": {"Node": type("Node", (Recorded,), {})},
        "launch_ros.parameter_descriptions": {"ParameterValue": type("ParameterValue", (Recorded,), {})},
    }
    for name, members in modules.items():
        module = types.ModuleType(name)
        for member, value in members.items():
            setattr(module, member, value)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "reconvla_ros.cli.launching", raising=False)


def load(name: str) -> Any:
    path = ROOT / "launch" / f"{name}.launch.py"
    spec = importlib.util.spec_from_file_location(f"launch_file_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


def values(**changes: str) -> dict[str, str]:
    return {a.name: a.default for a in ARGUMENTS} | changes


def started(name: str, **changes: str) -> list[Any]:
    function = kinds(load(name).entities, "OpaqueFunction")[0].named["function"]
    return list(function(values(**changes)))


@pytest.mark.usefixtures("fake_launch")
@pytest.mark.parametrize("name", ["robot", "policy", "bringup"])
def test_every_argument_is_declared_with_its_default_and_choices(name: str) -> None:
    declared = kinds(load(name).entities, "DeclareLaunchArgument")
    assert [d.arguments[0] for d in declared] == [a.name for a in ARGUMENTS]
    for made, argument in zip(declared, ARGUMENTS, strict=True):
        assert made.named["default_value"] == argument.default
        # An empty list would refuse every value.
        assert made.named["choices"] == (list(argument.options) or None)


@pytest.mark.usefixtures("fake_launch")
@pytest.mark.parametrize("name", ["robot", "policy"])
def test_a_half_starts_its_nodes_of_the_graph(name: str) -> None:
    nodes = {n.named["name"]: n.named for n in started(name)}
    wanted = {s.name: s for s in describe({}) if s.half == name}
    assert list(nodes) == list(wanted)
    for node_name, named in nodes.items():
        spec = wanted[node_name]
        assert named["package"] == "reconvla_ros"
        assert named["executable"] == spec.executable
        assert named["additional_env"] == spec.environment
        assert named["respawn"] is False
        *files, parameters = named["parameters"]
        assert [Path(f).name for f in files] == list(spec.config)
        assert all(Path(f).is_file() for f in files)
        plain = {k: v.arguments[0] if type(v).__name__ == "ParameterValue" else v for k, v in parameters.items()}
        assert plain == spec.parameters
        # A text such as "0" must not turn into a number on the way.
        assert all(
            type(parameters[k]).__name__ == "ParameterValue" for k, v in spec.parameters.items() if isinstance(v, str)
        )


@pytest.mark.usefixtures("fake_launch")
def test_rviz_is_started_when_asked_for() -> None:
    assert "rviz2" not in {n.named["package"] for n in started("robot")}
    rviz = [n.named for n in started("robot", rviz="true") if n.named["package"] == "rviz2"]
    assert len(rviz) == 1
    assert Path(rviz[0]["arguments"][1]).is_file()


@pytest.mark.usefixtures("fake_launch")
def test_bringup_is_both_halves_with_the_same_arguments() -> None:
    included = kinds(load("bringup").entities, "IncludeLaunchDescription")
    files = [Path(i.arguments[0].arguments[0]).name for i in included]
    assert files == ["robot.launch.py", "policy.launch.py"]
    for include in included:
        assert [name for name, _ in include.named["launch_arguments"]] == [a.name for a in ARGUMENTS]


@pytest.mark.usefixtures("fake_launch")
def test_a_namespace_reaches_every_node() -> None:
    assert {n.named["namespace"] for n in started("robot", namespace="left")} == {"left"}
