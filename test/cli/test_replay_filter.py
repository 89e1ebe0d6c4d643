"""Bags are written by our own writer, with messages serialised by mcap_ros2 from the definitions in `msg/`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap_ros2._dynamic import serialize_dynamic

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.cli import main as cli
from reconvla_ros.cli import replay_filter
from reconvla_ros.recording.bag import BagWriter
from reconvla_ros.recording.schema import MessageSchema, message_schema
from reconvla_ros.types import Float, Pose

REPO = Path(__file__).resolve().parents[2]
T0 = 1_700_000_000_000_000_000
MS = 1_000_000
READY = np.array([0.0, 1.2, -1.2, 0.0, 0.9, 0.0])
TCP = Kinematics().tcp(READY)
OF_ROS = {
    "builtin_interfaces/Time": "int32 sec\nuint32 nanosec\n",
    "builtin_interfaces/Duration": "int32 sec\nuint32 nanosec\n",
    "std_msgs/Header": "builtin_interfaces/Time stamp\nstring frame_id\n",
    "geometry_msgs/Point": "float64 x\nfloat64 y\nfloat64 z\n",
    "geometry_msgs/Quaternion": "float64 x\nfloat64 y\nfloat64 z\nfloat64 w\n",
    "geometry_msgs/Pose": "Point position\nQuaternion orientation\n",
    "sensor_msgs/JointState": "std_msgs/Header header\nstring[] name\nfloat64[] position\nfloat64[] velocity\nfloat64[] effort\n",
}
TYPES = {
    "/policy/action_chunk": "reconvla_ros/msg/ActionChunk",
    "/arm/ee_command": "reconvla_ros/msg/EndEffectorCommand",
    "/joint_states": "sensor_msgs/msg/JointState",
}


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, MessageSchema]:
    prefix = tmp_path_factory.mktemp("prefix")
    for name, text in OF_ROS.items():
        path = prefix / "share" / name.replace("/", "/msg/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".msg").write_text(text)
    ours = prefix / "share" / "reconvla_ros" / "msg"
    ours.mkdir(parents=True)
    for path in (REPO / "msg").glob("*.msg"):
        (ours / path.name).write_text(path.read_text())
    return {name: message_schema(name, (prefix,)) for name in TYPES.values()}


def stamp(ns: int) -> dict[str, int]:
    return {"sec": ns // 1_000_000_000, "nanosec": ns % 1_000_000_000}


def header(ns: int, frame: str = "base_link") -> dict[str, Any]:
    return {"stamp": stamp(ns), "frame_id": frame}


def pose(offset: tuple[float, float, float] = (0.0, 0.0, 0.0), tcp: Pose = TCP) -> dict[str, Any]:
    x, y, z = (tcp.position + np.array(offset)).tolist()
    a, b, c, d = tcp.quaternion.tolist()
    return {"position": {"x": x, "y": y, "z": z}, "orientation": {"x": a, "y": b, "z": c, "w": d}}


def chunk(
    ns: int, offsets: list[tuple[float, float, float]], sequence: int = 0, frame: str = "base_link"
) -> dict[str, Any]:
    return {
        "header": header(ns, frame), "task_id": "t", "sequence": sequence, "step_dt": stamp(100 * MS), "anchor": pose(),
        "poses": [pose(o) for o in offsets], "gripper": [0.03] * len(offsets), "confidence": [], "token_ids": [],
        "prefix_steps": 0,
    }  # fmt: skip


def ee(ns: int, offset: tuple[float, float, float], gripper: float = 0.03) -> dict[str, Any]:
    return {"header": header(ns), "source": "teleop", "pose": pose(offset), "gripper": gripper}


def joints(ns: int, place: Float = READY) -> dict[str, Any]:
    names = [*(f"joint{i}" for i in range(1, 7)), "gripper"]
    return {"header": header(ns), "name": names, "position": [*place.tolist(), 0.03], "velocity": [], "effort": []}


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, schemas: dict[str, MessageSchema]) -> Write:
    def make(messages: list[tuple[str, int, dict[str, Any]]], namespace: str = "") -> Path:
        folder = tmp_path / f"episode{len(list(tmp_path.iterdir()))}"
        with BagWriter(folder) as bag:
            for topic, kind in TYPES.items():
                bag.add_topic(namespace + topic, schemas[kind])
            for topic, received, message in sorted(messages, key=lambda m: m[1]):
                kind = TYPES[topic]
                encode = serialize_dynamic(kind, schemas[kind].text)[kind]
                bag.write(namespace + topic, encode(message), received, received)
        return folder

    return make


def standing(seconds: float = 2.0, place: Float = READY) -> list[tuple[str, int, dict[str, Any]]]:
    return [("/joint_states", T0 + k * 20 * MS, joints(T0 + k * 20 * MS, place)) for k in range(int(seconds * 50))]


def run(bag: Path, *words: str) -> tuple[int, dict[str, Any]]:
    out = bag.parent / "out.json"
    status = replay_filter.main([str(bag), "--json", str(out), *words])
    return status, json.loads(out.read_text())


NEAR, FAR, BELOW = (0.005, 0.0, -0.005), (0.4, 0.0, 0.0), (0.0, 0.0, -0.4)


def test_an_episode_inside_the_limits_passes(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    status, result = run(
        write([*standing(), ("/policy/action_chunk", T0 + 150 * MS, chunk(T0 + 100 * MS, [NEAR] * 5))])
    )
    assert (status, result["passed"], result["refused"], result["judged"]) == (0, 5, 0, 5)
    assert result["shares"]["passed"] == 1.0 and result["examples"] == []
    assert "100.00%" in capsys.readouterr().out


def test_what_is_refused_is_named_with_stamp_and_detail(write: Write) -> None:
    steps = [NEAR, FAR, NEAR, BELOW, NEAR]
    status, result = run(write([*standing(), ("/policy/action_chunk", T0 + 150 * MS, chunk(T0 + 100 * MS, steps, 7))]))
    assert (status, result["passed"], result["refused"]) == (1, 3, 2)
    assert result["reasons"]["refused"] == {"distance": 2}
    first = result["examples"][0]
    assert (first["command"], first["source"], first["stamp_ns"]) == ("chunk 7 step 1", "policy", T0 + 200 * MS)
    assert "0.400 m" in first["detail"]


def test_tighter_limits_can_be_tried(write: Write) -> None:
    bag = write([*standing(), ("/policy/action_chunk", T0 + 150 * MS, chunk(T0 + 100 * MS, [(0.05, 0.0, 0.0)] * 5))])
    assert run(bag)[0] == 0
    status, result = run(bag, "--set", "target_distance=0.04")
    assert status == 1 and result["reasons"]["refused"] == {"distance": 5} and result["set"] == ["target_distance=0.04"]
    x = float(TCP.position[0])
    _, result = run(bag, "--set", f"workspace_upper=[{x + 0.02}, 0.45, 0.7]")
    assert result["clamped"] == 5 and result["reasons"]["clamped"] == {"workspace": 5}


def test_late_and_replaced_steps_are_counted_and_not_judged(write: Write) -> None:
    first, second = chunk(T0 + 100 * MS, [NEAR] * 5, 0), chunk(T0 + 400 * MS, [NEAR] * 5, 1)
    bag = write([
        *standing(), ("/policy/action_chunk", T0 + 310 * MS, first), ("/policy/action_chunk", T0 + 450 * MS, second),
    ])  # fmt: skip
    _, result = run(bag)
    # Of the first: two were over before it came, two were due until the second came, one was never due.
    assert result["not_judged"] == {"late: over before the chunk came": 2, "replaced by a newer chunk": 1}
    assert result["judged"] == 2 + 5


def test_each_target_is_judged_from_where_the_arm_was_then(write: Write) -> None:
    there, beyond = READY + np.array([0.5, 0, 0, 0, 0, 0]), READY + np.array([1.0, 0, 0, 0, 0, 0])
    moved = standing(1.0) + [
        ("/joint_states", T0 + k * 20 * MS, joints(T0 + k * 20 * MS, there)) for k in range(50, 100)
    ]
    target = pose(tcp=Kinematics().tcp(beyond))  # further than 0.3 m from the first place, not from the second
    bag = write([
        *moved,
        *(("/arm/ee_command", T0 + t * MS, ee(T0 + t * MS, NEAR) | {"pose": target}) for t in (500, 1500)),
    ])  # fmt: skip
    _, result = run(bag)
    assert result["reasons"]["refused"] == {"distance": 1}
    assert [e["time_s"] for e in result["examples"] if e["verdict"] == "refused"] == [0.0]


def test_commands_are_found_in_a_namespace_and_old_ones_are_refused_by_age(write: Write) -> None:
    bag = write([*standing(), ("/arm/ee_command", T0 + 900 * MS, ee(T0 + 100 * MS, NEAR))], namespace="/left")
    status, result = run(next(bag.glob("*.mcap")))
    assert status == 1 and result["reasons"]["refused"] == {"age": 1}


def test_a_message_that_is_no_command_is_refused_by_shape(write: Write) -> None:
    broken = [
        {**chunk(T0 + 100 * MS, [NEAR]), "gripper": []},
        chunk(T0 + 100 * MS, [NEAR], frame="camera"),
        chunk(T0 + 100 * MS, [(np.nan, 0, 0)]),
    ]
    _, result = run(write([*standing(), *(("/policy/action_chunk", T0 + 150 * MS, m) for m in broken)]))
    assert result["reasons"]["refused"] == {"shape": 3} and result["judged"] == 3


def test_commands_before_the_first_joints_are_not_judged(write: Write) -> None:
    bag = write([("/arm/ee_command", T0 - 500 * MS, ee(T0 - 500 * MS, NEAR)), *standing()])
    _, result = run(bag)
    assert result["judged"] == 0 and result["not_judged"] == {"before the first joint_states": 1}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{missing}"], "no bag .*nowhere; bags beside it: .*episode"),
        (["{empty}"], r"no \.mcap file in it \(it holds nothing\)"),
        (["{text}"], "cannot be read: InvalidMagic"),
        (["{silent}"], r"no commands in it .*it holds /joint_states"),
        (["{lonely}"], r"no joint_states with joint1\.\.joint6"),
        (["{good}", "--set", "tcp_sped=0.1"], "unknown parameter .*did you mean 'tcp_speed'"),
        (["{good}", "--set", "tcp_speed"], "write name=value"),
        (["{good}", "--set", "joint_speed=9"], r"joint_speed: must be in 0\.01\.\.3"),
        (["{good}", "--set", "workspace_lower=[0.7, -0.45, -0.2]"], "workspace"),
        (["{good}", "--config", "{missing}"], "config file .* does not exist"),
    ],
)  # fmt: skip
def test_what_cannot_be_tried_is_named(
    words: list[str], message: str, write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write([*standing(0.2), ("/arm/ee_command", T0 + 100 * MS, ee(T0 + 100 * MS, NEAR))])
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mcap").write_text("not a bag at all, only words")
    places = {
        "missing": tmp_path / "nowhere", "empty": tmp_path / "empty", "text": tmp_path / "text.mcap", "good": good,
        "silent": write(standing(0.2)), "lonely": write([("/arm/ee_command", T0, ee(T0, NEAR))]),
    }  # fmt: skip
    assert cli.main(["replay-filter", *(word.format(**places) for word in words)]) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    import re

    assert re.search(message, error), error


def test_a_bag_that_was_cut_off_is_read_up_to_the_cut_or_named(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = write([*standing(), ("/policy/action_chunk", T0 + 150 * MS, chunk(T0 + 100 * MS, [NEAR] * 5))])
    whole = next(bag.glob("*.mcap")).read_bytes()
    (tmp_path / "cut.mcap").write_bytes(whole[: len(whole) // 2])
    assert cli.main(["replay-filter", str(tmp_path / "cut.mcap")]) == 2
    assert "cannot be read" in capsys.readouterr().err
