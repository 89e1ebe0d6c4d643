"""Frames of data that comes in steps: each with a measured pose and a target, nothing between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from reconvla_ros.dataset.frame import Frame, Rgb
from reconvla_ros.errors import DatasetError
from reconvla_ros.types import Float, Pose

EULER = "xyz"  # rotations about fixed axes


@dataclass(frozen=True, eq=False)
class Steps:
    """The figures of one episode of N steps.

    Attributes:
        stamps: (N,) [ns]. positions (N, 3) [m], quaternions (N, 4), gripper (N,) [m]: measured.
        targets (N, 3), target_quaternions (N, 4), target_gripper (N,) [m]: where the step sent the arm.
        joints: (N, 6) [rad] or None. human: (N,) bool.
    """

    stamps: Sequence[int]
    positions: Float
    quaternions: Float
    gripper: Float
    targets: Float
    target_quaternions: Float
    target_gripper: Float
    joints: Float | None
    human: Sequence[bool]

    def __post_init__(self) -> None:
        for name in ("positions", "quaternions", "gripper", "targets", "target_quaternions", "target_gripper"):
            values = getattr(self, name)
            if len(values) != len(self.stamps):
                raise DatasetError(f"{name}: {len(self.stamps)} steps, {len(values)} entries")
            if not np.isfinite(values).all():
                raise DatasetError(f"{name}: step {int(np.argwhere(~np.isfinite(values))[0][0])} is not finite")
        if any(b <= a for a, b in zip(self.stamps, list(self.stamps)[1:], strict=False)):
            raise DatasetError("stamps go back or stand still")


def frames_of(steps: Steps, views: Iterator[tuple[Rgb, Rgb | None]], count: int, middle: float) -> Iterator[Frame]:
    """One frame a step, with `count` targets each; beyond the end the last one stands.

    Args:
        views: base and wrist view of each step. middle: opening [m] beyond which the gripper is open.
    """
    total = len(steps.stamps)
    for k, (base, wrist) in zip(range(total), views, strict=False):
        ahead = np.minimum(np.arange(k, k + count), total - 1)
        openings = steps.target_gripper[ahead]
        before = steps.target_gripper[k - 1] if k else steps.gripper[0]
        yield Frame(
            tick=k, at_ns=int(steps.stamps[k]), stamp_ns=int(steps.stamps[k]), base=base, wrist=wrist,
            tcp=Pose(steps.positions[k], steps.quaternions[k]), gripper=float(steps.gripper[k]),
            joints=None if steps.joints is None else steps.joints[k], open_before=bool(before > middle),
            positions=steps.targets[ahead], quaternions=steps.target_quaternions[ahead], opens=openings > middle,
            openings=openings, valid=min(count, total - k), human=bool(steps.human[k]),
        )  # fmt: skip


def moved(positions: Float, euler: Float, deltas: Float) -> tuple[Float, Float, Float]:
    """Poses (N, 3), (N, 3) [rad] and steps (N, 6) [m, rad] -> quaternions (N, 4), targets (N, 3), their quaternions."""
    now = Rotation.from_euler(EULER, euler)
    then = Rotation.from_euler(EULER, deltas[:, 3:6]) * now
    return now.as_quat(), positions + deltas[:, :3], then.as_quat()
