"""The one description of the graph."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from reconvla_ros.config import node_parameters
from reconvla_ros.errors import ConfigError
from reconvla_ros.graph import ARGUMENTS, CAMERAS, TOPICS, describe, resolve


def test_the_default_is_a_simulated_arm_with_rendered_cameras() -> None:
    nodes = {n.name: n for n in describe({})}
    assert list(nodes) == ["simulator", "driver", "task", *CAMERAS, "recorder", "policy"]
    assert nodes["driver"].parameters["arm"] == "sim"
    assert {n.half for n in nodes.values() if n.name != "policy"} == {"robot"}
    assert nodes["policy"].half == "policy"


def test_steel_has_no_simulator() -> None:
    nodes = {n.name: n for n in describe({"arm": "piper", "cameras": "realsense", "can_port": "can1"})}
    assert "simulator" not in nodes
    assert nodes["driver"].parameters["can_port"] == "can1"
    assert nodes["camera_base"].parameters["source"] == "realsense"


def test_everyone_in_one_simulation_has_the_same_bus() -> None:
    nodes = {n.name: n for n in describe({"sim_port": "43210"})}
    assert nodes["simulator"].parameters["sim_port"] == 43210
    assert nodes["driver"].parameters["sim_port"] == 43210
    assert all(nodes[c].parameters["sim_port"] == 43210 for c in CAMERAS)


def test_a_leader_has_a_bus_of_its_own_and_in_simulation_a_hand_that_moves_it() -> None:
    assert "teleop" not in {n.name for n in describe({})}
    nodes = {n.name: n for n in describe({"teleop": "leader", "sim_port": "43210"})}
    assert nodes["leader"].parameters["role"] == "leader"
    assert nodes["leader"].parameters["sim_port"] == nodes["teleop"].parameters["leader_udp_port"] == 43211
    steel = {"arm": "piper", "cameras": "realsense", "teleop": "leader", "leader_port": "can3"}
    nodes = {n.name: n for n in describe(steel)}
    assert "leader" not in nodes
    assert nodes["teleop"].parameters["leader_port"] == "can3"
    assert nodes["teleop"].parameters["follower_port"] == "can0"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"teleop": "keyboard"}, "launch argument teleop: 'keyboard' (valid: none, gamepad, leader)"),
        (
            {"arm": "piper", "cameras": "realsense", "teleop": "leader", "leader_port": "can0"},
            "'can0' is the bus of the arm that follows (can_port): it would obey the leader past every limit",
        ),
        ({"armm": "sim"}, "unknown launch argument 'armm' (did you mean 'arm'?"),
        ({"arm": "steel"}, "launch argument arm: 'steel' (valid: sim, piper)"),
        ({"sim_port": "80"}, "sim_port: must be a whole number in 1024..65535, got '80'"),
        ({"seed": "-1"}, "seed: must be a whole number"),
        ({"duty": "2"}, "duty: must be in 0..1, got '2'"),
        ({"duty": "nan"}, "duty: must be in 0..1, got 'nan'"),
        ({"arm": "piper"}, "with arm:=piper choose cameras:=realsense"),
    ],
)
def test_what_is_wrong_is_named(given: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        describe(given)
    assert message in str(caught.value)


def test_defaults_are_valid_choices() -> None:
    assert resolve({}) == {a.name: a.default for a in ARGUMENTS}


def test_every_node_has_its_module_and_its_configuration(root: Path) -> None:
    for node in describe({}):
        assert (root / "reconvla_ros" / "nodes" / f"{node.executable}.py").is_file()
        for name in node.config:
            path = root / "config" / name
            assert path.is_file()
            assert node_parameters(path, node.name), f"{name} says nothing about {node.name}"
            # A bare node name would miss a namespaced node, and with it every limit in the file.
            assert all(key.startswith("/**") for key in yaml.safe_load(path.read_text()))


def test_topics_are_relative_and_named_once() -> None:
    names = [t.name for t in TOPICS]
    assert len(names) == len(set(names))
    assert not any(n.startswith("/") for n in names)


def test_serials_of_the_launch_go_to_their_cameras_and_one_cannot_be_both() -> None:
    given = {"arm": "piper", "cameras": "realsense", "serial_wrist": "0012"}
    nodes = {n.name: n for n in describe(given)}
    assert nodes["camera_wrist"].parameters["serial"] == "0012"
    assert "serial" not in nodes["camera_base"].parameters
    with pytest.raises(ConfigError, match="'0012' is serial_base, too"):
        describe({**given, "serial_base": "0012"})
