"""Between the model's numbers in [-1, 1] and absolute TCP targets, as a contract says; and the state it is shown."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from reconvla_ros.errors import ShapeError
from reconvla_ros.policy.contract import AXES, Contract
from reconvla_ros.types import ArmState, Float, Pose, frozen_array

EULER = {"extrinsic_xyz": "xyz"}  # scipy's small letters are rotations about fixed axes


def to_targets(values: ArrayLike, anchor: Pose, contract: Contract) -> tuple[Float, Float, Float]:
    """Actions (T, 7) -> positions (T, 3) [m], quaternions x y z w (T, 4), gripper openings (T,) [m], in base_link.

    Relative steps are integrated from `anchor`: the position moves by xyz * xyz_scale, the orientation is turned
    about the fixed axes of base_link by Euler * rotation_scale. The gripper opens or closes fully, by the sign.
    """
    actions = frozen_array("actions", values, (None, AXES))
    euler = EULER[contract.rotation_form]
    if contract.action_form == "absolute":
        low, high = np.array(contract.absolute_low), np.array(contract.absolute_high)
        pose = (actions[:, :6] + 1.0) / 2.0 * (high - low) + low
        positions, turns = pose[:, :3], Rotation.from_euler(euler, pose[:, 3:])
        quaternions = turns.as_quat()
    else:
        positions = anchor.position + np.cumsum(actions[:, :3], axis=0) * contract.xyz_scale
        steps = Rotation.from_euler(euler, actions[:, 3:6] * contract.rotation_scale)
        turn = Rotation.from_quat(anchor.quaternion)
        rows = []
        for k in range(len(actions)):
            turn = steps[k] * turn
            rows.append(turn.as_quat())
        quaternions = np.array(rows).reshape(-1, 4)
    opens = actions[:, 6] * contract.gripper_sign > 0.0
    return positions, quaternions, np.where(opens, contract.gripper_open, contract.gripper_closed)


def from_targets(
    positions: ArrayLike, quaternions: ArrayLike, opens: ArrayLike, anchor: Pose, contract: Contract
) -> Float:
    """The inverse of `to_targets`, for training data: (T, 3), (T, 4), (T,) bool -> actions (T, 7), not clipped."""
    position = frozen_array("positions", positions, (None, 3))
    turns = Rotation.from_quat(frozen_array("quaternions", quaternions, (len(position), 4)))
    euler = EULER[contract.rotation_form]
    if contract.action_form == "absolute":
        low, high = np.array(contract.absolute_low), np.array(contract.absolute_high)
        pose = np.hstack((position, turns.as_euler(euler)))
        motion = (pose - low) / (high - low) * 2.0 - 1.0
    else:
        before = np.vstack((anchor.position, position[:-1]))
        previous = Rotation.from_quat(np.vstack((anchor.quaternion, turns.as_quat()[:-1])))
        turned = (turns * previous.inv()).as_euler(euler) / contract.rotation_scale
        motion = np.hstack(((position - before) / contract.xyz_scale, turned))
    grip = np.where(np.asarray(opens, dtype=bool), 1.0, -1.0) * contract.gripper_sign
    return np.hstack((motion, grip[:, None]))


def state_vector(state: ArmState, tcp: Pose, gripper_action: float, contract: Contract) -> Float:
    """The proprioceptive state (slots,) in the contract's order, SI units.

    Args:
        gripper_action: the last one commanded, +1 or -1 in the contract's sign.

    Raises:
        ShapeError: an entry that is not finite.
    """
    roll, pitch, yaw = Rotation.from_quat(tcp.quaternion).as_euler(EULER[contract.rotation_form])
    known = dict(zip(("tcp_x", "tcp_y", "tcp_z"), tcp.position, strict=True))
    known |= {"tcp_roll": roll, "tcp_pitch": pitch, "tcp_yaw": yaw, "gripper": state.gripper, "zero": 0.0}
    known |= {f"joint{i}": value for i, value in enumerate(state.position, start=1)}
    known["gripper_action"] = gripper_action
    means = zip(contract.state_slots, contract.state_mean, strict=True)
    values = [known.get(slot, mean) for slot, mean in means]
    if not np.all(np.isfinite(values)):
        raise ShapeError(f"proprioception: must be finite, got {dict(zip(contract.state_slots, values, strict=True))}")
    return frozen_array("proprioception", values, (len(contract.state_slots),))


def gripper_action_of(opening: float, contract: Contract) -> float:
    """+1 or -1 in the contract's sign for a measured opening [m]: open when beyond the middle."""
    middle = (contract.gripper_open + contract.gripper_closed) / 2.0
    return float(contract.gripper_sign if opening > middle else -contract.gripper_sign)
