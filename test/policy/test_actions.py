"""Numbers of the model <-> targets of the arm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from reconvla_ros.errors import ShapeError
from reconvla_ros.policy.actions import from_targets, gripper_action_of, state_vector, to_targets
from reconvla_ros.policy.contract import Contract
from reconvla_ros.types import ArmState, Pose

PIPER = Contract()
ANCHOR = Pose(np.array([0.3, -0.1, 0.2]), Rotation.from_euler("xyz", [0.3, 1.2, -0.4]).as_quat())


def test_one_unit_is_two_centimetres_and_0_05_rad_in_base_link() -> None:
    actions = np.zeros((2, 7))
    actions[0, 0], actions[1, 5] = 1.0, 1.0
    positions, quaternions, _ = to_targets(actions, ANCHOR, PIPER)
    np.testing.assert_allclose(positions - ANCHOR.position, [[0.02, 0, 0], [0.02, 0, 0]], atol=1e-12)
    turned = Rotation.from_quat(quaternions[1]) * Rotation.from_quat(ANCHOR.quaternion).inv()
    np.testing.assert_allclose(turned.as_rotvec(), [0, 0, 0.05], atol=1e-12)  # about base_link's z, not the tool's


def test_steps_add_up() -> None:
    positions, _, _ = to_targets(np.tile([0.5, -0.5, 0.25, 0, 0, 0, 1], (5, 1)), ANCHOR, PIPER)
    np.testing.assert_allclose(positions[-1] - ANCHOR.position, [0.05, -0.05, 0.025], atol=1e-12)


@pytest.mark.parametrize(
    ("sign", "value", "opening"), [(1, 1, 0.07), (1, -1, 0.0), (1, 0, 0.0), (-1, 1, 0.0), (-1, -1, 0.07)]
)
def test_gripper_sign(sign: int, value: float, opening: float) -> None:
    _, _, gripper = to_targets([[0, 0, 0, 0, 0, 0, value]], ANCHOR, Contract(gripper_sign=sign))
    assert gripper.tolist() == [opening]
    if value:
        assert gripper_action_of(opening, Contract(gripper_sign=sign)) == value


@settings(deadline=None, max_examples=60)
@given(arrays(np.float64, (5, 7), elements=st.floats(-1, 1, width=32)), st.sampled_from(["relative", "absolute"]))
def test_round_trip(actions: np.ndarray, form: str) -> None:
    contract = Contract(action_form=form)
    targets = to_targets(actions, ANCHOR, contract)
    back = from_targets(targets[0], targets[1], targets[2] > 0.035, ANCHOR, contract)
    np.testing.assert_allclose(back[:, :6], actions[:, :6], atol=1e-6)
    assert np.array_equal(back[:, 6] > 0, actions[:, 6] > 0)


@pytest.mark.parametrize("bad", [[[0.0] * 6], [[np.nan] * 7], [0.0] * 7])
def test_actions_of_another_shape_or_not_finite(bad: list) -> None:
    with pytest.raises(ShapeError, match="actions"):
        to_targets(bad, ANCHOR, PIPER)


def test_state_follows_the_slots() -> None:
    arm = ArmState(0, np.array([1.0, 2, 3, 4, 5, 6]), np.zeros(6), np.zeros(6), 0.05)
    values = state_vector(arm, ANCHOR, -1.0, PIPER)
    np.testing.assert_allclose(values[:7], [0.3, -0.1, 0.2, 0.3, 1.2, -0.4, 0.05], atol=1e-12)
    assert values[7:].tolist() == [1, 2, 3, 4, 5, 6, 0, -1]
    slots = ("joint7", "joint2", "gripper_action")
    other = Contract(state_slots=slots, state_mean=(2.5, 0.0, 0.0), state_std=(1.0,) * 3)
    assert state_vector(arm, ANCHOR, 1.0, other).tolist() == [2.5, 2.0, 1.0]  # no seventh joint: its mean
