"""The values that cross borders check themselves."""

from __future__ import annotations

import numpy as np
import pytest

from reconvla_ros.errors import ShapeError
from reconvla_ros.types import (
    ActionChunk,
    ArmState,
    CameraFrame,
    CameraIntrinsics,
    EeCommand,
    JointCommand,
    Observation,
    Pose,
    frozen_array,
)

IDENTITY = np.array([0.0, 0.0, 0.0, 1.0])
POSE = Pose(np.array([0.2, 0.0, 0.2]), IDENTITY)


def chunk(**changes: object) -> ActionChunk:
    values: dict[str, object] = {
        "stamp_ns": 1, "task_id": "t", "sequence": 0, "step_dt": 0.1, "anchor": POSE,
        "positions": np.zeros((5, 3)), "quaternions": np.tile(IDENTITY, (5, 1)), "gripper": np.zeros(5),
    }  # fmt: skip
    return ActionChunk(**(values | changes))  # type: ignore[arg-type]


def test_arrays_are_copied_and_read_only() -> None:
    source = np.zeros(6)
    command = JointCommand(source)
    source[0] = 1.0
    assert command.position[0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        command.position[0] = 1.0


def test_the_first_bad_entry_is_named() -> None:
    with pytest.raises(ShapeError, match=r"x\[1, 0\]: must be finite, got nan"):
        frozen_array("x", [[0.0, 1.0], [np.nan, 2.0]], (2, 2))
    with pytest.raises(ShapeError, match=r"x: expected shape \('any', 2\), got \(3,\)"):
        frozen_array("x", [1, 2, 3], (None, 2))
    with pytest.raises(ShapeError, match="x: not a numeric array"):
        frozen_array("x", ["a"], (1,))


def test_a_quaternion_must_have_unit_length() -> None:
    with pytest.raises(ShapeError, match="unit length"):
        Pose(np.zeros(3), np.zeros(4))
    assert np.isclose(np.linalg.norm(Pose(np.zeros(3), IDENTITY * 1.0005).quaternion), 1.0, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positions": np.zeros((0, 3))}, "1..1000 steps, got 0"),
        ({"positions": np.full((5, 3), np.inf)}, "must be finite"),
        ({"gripper": np.zeros(4)}, "chunk.gripper: expected shape"),
        ({"quaternions": np.zeros((5, 4))}, "unit length"),
        ({"step_dt": 0.0}, "step_dt"),
        ({"step_dt": 5e-324}, "step_dt"),  # a step of no nanoseconds once ended the driver by a division by zero
        ({"step_dt": float("nan")}, "step_dt"),
        ({"confidence": np.zeros(3)}, "confidence"),
        ({"prefix_steps": 6}, "prefix_steps"),
    ],
)
def test_a_chunk_refuses_what_does_not_fit(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        chunk(**changes)


def test_a_chunk_gives_its_steps() -> None:
    made = chunk(positions=np.arange(15.0).reshape(5, 3))
    assert made.steps == 5
    assert made.pose(2).position.tolist() == [6.0, 7.0, 8.0]


def test_a_frame_has_the_size_its_intrinsics_say() -> None:
    intrinsics = CameraIntrinsics(4, 3, 2.0, 2.0, 2.0, 1.5)
    color, depth = np.zeros((3, 4, 3), np.uint8), np.zeros((3, 4), np.uint16)
    assert CameraFrame(1, "f", color, depth, intrinsics).depth is depth
    with pytest.raises(ShapeError, match=r"color: expected uint8 \(3, 4, 3\), got uint8 \(4, 3, 3\)"):
        CameraFrame(1, "f", np.zeros((4, 3, 3), np.uint8), depth, intrinsics)
    with pytest.raises(ShapeError, match="depth: expected uint16"):
        CameraFrame(1, "f", color, depth.astype(np.float32), intrinsics)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="positive"):
        CameraIntrinsics(0, 3, 2.0, 2.0, 2.0, 1.5)


def test_commands_and_states() -> None:
    with pytest.raises(ShapeError, match="did you mean 'policy'"):
        EeCommand(1, "polcy", POSE)
    with pytest.raises(ShapeError, match="gripper"):
        EeCommand(1, "policy", POSE, float("nan"))
    with pytest.raises(ShapeError, match="expected 6 flags, got 2"):
        ArmState(1, np.zeros(6), np.zeros(6), np.zeros(6), 0.0, enabled=(True, True))
    state = ArmState(1, np.zeros(6), np.zeros(6), np.zeros(6), 0.0)
    image = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(ShapeError, match="instruction"):
        Observation(1, image, image, state, POSE, "  ", "t")
    with pytest.raises(ShapeError, match=r"observation\.wrist"):
        Observation(1, image, np.zeros((2, 2), np.uint8), state, POSE, "x", "t")
