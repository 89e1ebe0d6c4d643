from __future__ import annotations

from types import SimpleNamespace

import pytest
import yaml

from reconvla_ros.cli.teleop import _parser, node_arguments, status_lines
from reconvla_ros.config import load
from reconvla_ros.errors import TeleopError
from reconvla_ros.teleop.settings import TeleopConfig


def parameters(*words: str) -> dict[str, object]:
    arguments = node_arguments(_parser().parse_args(list(words)))
    given = [arguments[i + 1] for i, word in enumerate(arguments) if word == "-p"]
    return {name: yaml.safe_load(value) for name, _, value in (word.partition(":=") for word in given)}


def test_what_is_not_said_is_left_to_the_file() -> None:
    assert parameters() == {"device": "keyboard", "wait": 0.0}


def test_an_instruction_may_hold_anything() -> None:
    text = 'put "fruit": in \\ bowl, #2'
    assert parameters("--instruction", text)["instruction"] == text


def test_a_leaders_bus() -> None:
    assert parameters("--device", "leader", "--leader-port", "can_leader") == {
        "device": "leader", "wait": 0.0, "leader_interface": "socketcan", "leader_port": "can_leader",
    }  # fmt: skip
    assert parameters("--leader-port", "udp:43200")["leader_udp_port"] == 43200
    with pytest.raises(TeleopError, match="expected can1 or udp:43114, got 'udp:x'"):
        parameters("--leader-port", "udp:x")


def test_the_file_says_what_the_code_says(root: object) -> None:
    from pathlib import Path

    assert load(TeleopConfig, Path(str(root)) / "config" / "teleop.yaml", "teleop") == TeleopConfig()


def test_the_line_says_who_has_the_arm_and_why_it_does_not_move() -> None:
    ear = SimpleNamespace(
        recording=True, recorded=12.4, holder="policy", state="MOVING", record_warning="2 lost", refusal=lambda now: ""
    )
    node = SimpleNamespace(
        ear=ear, order=SimpleNamespace(note="asks for the lease"), message="", config=SimpleNamespace(device="gamepad"),
        session=SimpleNamespace(speed="slow"),
    )  # fmt: skip
    facts, words = status_lines(node, 0, 200)
    assert facts == "gamepad | lease policy | slow | MOVING | REC 12 s"
    assert words == "asks for the lease | recorder: 2 lost"
    ear.refusal = lambda now: "workspace: z 0.001 m"
    assert status_lines(node, 0, 200)[1].startswith("limited: workspace: z 0.001 m")
    assert max(map(len, status_lines(node, 0, 40))) < 40
