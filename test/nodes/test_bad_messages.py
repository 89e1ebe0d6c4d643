"""Every field of what the driver takes, out of range, of the wrong length or not a number: named, never executed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Pose as PoseMessage
from reconvla_ros.msg import ActionChunk, EndEffectorCommand

from reconvla_ros.errors import ShapeError
from reconvla_ros.nodes import convert
from reconvla_ros.types import MAX_STEPS

NAN, INF = math.nan, math.inf


def pose(x: float = 0.3, w: float = 1.0) -> PoseMessage:
    message = PoseMessage()
    message.position.x, message.position.z, message.orientation.w = x, 0.2, w
    return message


def chunk(steps: int = 5) -> ActionChunk:
    return ActionChunk(
        header=convert.header(1_700_000_000_000_000_000, "base_link"), task_id="t", step_dt=Duration(nanosec=100_000_000),
        anchor=pose(), poses=[pose() for _ in range(steps)], gripper=[0.03] * steps, confidence=[0.5] * steps,
        token_ids=[151400] * (7 * steps),
    )  # fmt: skip


def command() -> EndEffectorCommand:
    return EndEffectorCommand(header=convert.header(1, "base_link"), source="teleop", pose=pose(), gripper=0.03)


def put(path: str, value: Any) -> Callable[[Any], None]:
    """Sets `a.b[2].c` past the checks of Python's setters, as the bytes of a foreign sender would."""

    def change(message: Any) -> None:
        *way, last = path.split(".")
        for name in way:
            bare, _, index = name.partition("[")
            message = getattr(message, bare)
            message = message[int(index[:-1])] if index else message
        setattr(message, f"_{last}" if hasattr(message, f"_{last}") else last, value)

    return change


POSE_FAULTS = [
    (f"{part}.{axis}", value)
    for part, axes in (("position", "xyz"), ("orientation", "xyzw"))
    for axis in axes
    for value in (NAN, INF, -INF)
]
CHUNK_FAULTS: list[tuple[str, Any, str]] = [
    ("header.frame_id", "map", "frame_id: 'map'.*base_link"),
    ("header.frame_id", "", "frame_id"),
    ("step_dt", Duration(), "step_dt: must be in 0.001..10 s, got 0"),
    ("step_dt", Duration(sec=-1), "step_dt"),
    ("step_dt", Duration(sec=11), "step_dt: must be in 0.001..10 s, got 11"),
    ("poses", [], "poses"),
    ("poses", [pose()] * 4, "quaternions|gripper"),
    ("poses", [pose()] * (MAX_STEPS + 1), "1..1000 steps, got 1001"),
    ("gripper", [0.03] * 4, "gripper: expected shape"),
    ("gripper", [0.03] * 4 + [NAN], r"gripper\[4\]: must be finite"),
    ("gripper", [INF] + [0.03] * 4, r"gripper\[0\]: must be finite"),
    ("confidence", [0.5] * 6, "confidence: expected shape"),
    ("confidence", [0.5] * 4 + [NAN], "confidence.*finite"),
    ("confidence", [0.5] * 4 + [1.5], r"confidence\[4\]: must be in 0..1, got 1.5"),
    ("confidence", [-0.1] + [0.5] * 4, r"confidence\[0\]"),
    ("token_ids", [1] * 34, "token_ids: must have 0 or 35 ids, got 34"),
    ("prefix_steps", 6, "prefix_steps: must be in 0..5, got 6"),
    ("anchor", pose(w=0.0), "quaternion: must have unit length"),
    ("anchor", pose(w=2.0), "quaternion: must have unit length"),
    *[(f"anchor.{path}", value, "finite") for path, value in POSE_FAULTS],
    *[(f"poses[3].{path}", value, "finite") for path, value in POSE_FAULTS],
]
COMMAND_FAULTS: list[tuple[str, Any, str]] = [
    ("header.frame_id", "tcp", "frame_id: 'tcp'.*base_link"),
    ("source", "", "source"),
    ("source", "none", "source: 'none'.*policy, teleop, home, replay"),
    ("source", "Policy", "source"),
    ("gripper", INF, "gripper.*finite"),
    ("pose", pose(w=0.0), "quaternion"),
    *[(f"pose.{path}", value, "finite") for path, value in POSE_FAULTS],
]


def test_what_is_changed_below_is_right_before() -> None:
    assert convert.from_chunk(chunk()).steps == 5
    assert convert.from_ee_command(command()).gripper == pytest.approx(0.03)


@pytest.mark.parametrize(("path", "value", "words"), CHUNK_FAULTS)
def test_a_bad_chunk_is_named(path: str, value: Any, words: str) -> None:
    message = chunk()
    put(path, value)(message)
    with pytest.raises(ShapeError, match=words):
        convert.from_chunk(message)


@pytest.mark.parametrize(("path", "value", "words"), COMMAND_FAULTS)
def test_a_bad_command_is_named(path: str, value: Any, words: str) -> None:
    message = command()
    put(path, value)(message)
    with pytest.raises(ShapeError, match=words):
        convert.from_ee_command(message)
