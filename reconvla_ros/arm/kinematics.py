"""Forward and inverse kinematics of the PiPER on EAIK: all branches in closed form, nearest to the present joints.

The wrist is spherical, so eight branches exist at most; EAIK finds them in about 6 microseconds. Poses are `tool0` or
`tcp` in `base_link`; joints (6,) [rad].
"""

from __future__ import annotations

import math

import eaik.pybindings.EAIK as eaik
import numpy as np

from reconvla_ros.arm.rotations import matrix_from_quaternion, quaternion_from_matrix
from reconvla_ros.errors import KinematicsError
from reconvla_ros.tables import JOINT_LOWER, JOINT_UPPER, TCP_OFFSET, DhRow, dh_table
from reconvla_ros.types import N_JOINTS, Float, Pose

# A solution EAIK calls approximate, and one settled by us, is taken when its pose error is below this [m and 1].
RESIDUAL = 1e-6
# Below this |sin q5| joint 5 is set to zero: joints 4 and 6 turn about one axis and only their sum matters.
WRIST_SINGULAR = 5e-7
_WRIST_NEAR = 1e-4  # below this |sin q5| the wrist is solved by us
_TURN = 2.0 * math.pi
_SLACK = 1e-6  # [rad] a solution this far beyond a limit is rounding, and is moved onto it


def _link(row: DhRow, theta: float) -> Float:
    """Modified DH transform of one link (4, 4)."""
    ca, sa = math.cos(row.alpha), math.sin(row.alpha)
    ct, st = math.cos(theta + row.offset), math.sin(theta + row.offset)
    return np.array(
        [
            [ct, -st, 0.0, row.a],
            [st * ca, ct * ca, -sa, -sa * row.d],
            [st * sa, ct * sa, ca, ca * row.d],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )


def _wrap(angles: Float) -> Float:
    """Angles into [-pi, pi)."""
    return (angles + np.pi) % (2.0 * np.pi) - np.pi


def _nearest(branches: list[list[float]], seed: list[float]) -> tuple[float, list[float]]:
    """The largest joint difference [rad] of the branch where it is smallest, and that branch; (inf, []) of none."""
    least, best = math.inf, list[float]()
    for q in branches:
        jump = 0.0
        for a, b in zip(q, seed, strict=True):
            jump = max(jump, abs(a - b))
            if jump >= least:
                break
        else:
            least, best = jump, q
    return least, best


def _say(tcp: Pose) -> str:
    return "[" + ", ".join(f"{v:.4f}" for v in tcp.position) + "]"


class Kinematics:
    """One arm geometry.

    Args:
        variant: `dh_is_offset`, 1 for firmware from S-V1.6-3 on, 0 before.
        tcp_offset: from `tool0` to `tcp` [m] (3,), same orientation.
        lower, upper: joint limits [rad] (6,) that solutions must respect.
    """

    def __init__(
        self,
        variant: int = 1,
        tcp_offset: tuple[float, ...] = TCP_OFFSET,
        lower: tuple[float, ...] = JOINT_LOWER,
        upper: tuple[float, ...] = JOINT_UPPER,
    ) -> None:
        self.variant = variant
        self._rows = dh_table(variant)
        self._offset = np.array(tcp_offset, dtype=np.float64)
        self._bounds = [(float(low), float(high)) for low, high in zip(lower, upper, strict=True)]
        frames = self.link_frames(np.zeros(N_JOINTS))
        origins = np.array([frame[:3, 3] for frame in frames])
        axes = np.array([frame[:3, 2] for frame in frames]).T  # (3, 6)
        steps = np.diff(np.vstack([np.zeros(3), origins, origins[-1]]), axis=0).T  # (3, 7); the flange is frame 6
        self._robot = eaik.Robot(axes, steps, frames[-1][:3, :3], [], True)

    def link_frames(self, joints: Float) -> list[Float]:
        """link1..link6 in `base_link`, each (4, 4); the last is `tool0`."""
        frames: list[Float] = []
        frame = np.eye(4)
        for row, theta in zip(self._rows, joints, strict=True):
            frame = frame @ _link(row, float(theta))
            frames.append(frame)
        return frames

    def flange(self, joints: Float) -> Float:
        """`tool0` in `base_link` (4, 4)."""
        return np.asarray(self._robot.fwdkin(joints))

    def tcp_matrix(self, joints: Float) -> Float:
        """`tcp` in `base_link` (4, 4)."""
        frame = self.flange(joints).copy()
        frame[:3, 3] += frame[:3, :3].dot(self._offset)
        return frame

    def tcp(self, joints: Float) -> Pose:
        """`tcp` in `base_link`."""
        frame = self.tcp_matrix(joints)
        return Pose(frame[:3, 3], quaternion_from_matrix(frame))

    def branches(self, tcp: Pose, joint4: float = 0.0) -> Float:
        """Every joint position that reaches `tcp`, limits not yet asked: (N, 6) [rad] in [-pi, pi), N in 0..8.

        At the wrist singularity joints 4 and 6 turn about one axis; there joint 4 is taken to be `joint4` [rad].
        """
        return np.array(self._branches(tcp, joint4)).reshape(-1, N_JOINTS)

    def _branches(self, tcp: Pose, joint4: float) -> list[list[float]]:
        """As plain floats: once a tick, small arrays cost several times more than the arithmetic."""
        target = np.eye(4)
        rotation = matrix_from_quaternion(tcp.quaternion)
        target[:3, :3] = rotation
        target[:3, 3] = tcp.position - rotation.dot(self._offset)
        found = self._robot.calculate_IK(target)
        kept = []
        for solution, approximate in zip(found.Q.tolist(), found.is_LS.tolist(), strict=True):
            q = solution
            singular = abs(math.sin(q[4])) < _WRIST_NEAR and math.cos(q[4]) > 0.0
            if singular:
                q = self._settle_wrist(np.array(q), target, joint4).tolist()
            if not (approximate or singular) or float(np.abs(self.flange(np.array(q)) - target).max()) < RESIDUAL:
                kept.append([v if -math.pi <= v < math.pi else (v + math.pi) % _TURN - math.pi for v in q])
        return kept

    def solve(self, tcp: Pose, seed: Float, max_jump: float = math.inf) -> Float:
        """The branch inside the limits nearest to `seed` (6,).

        Raises:
            KinematicsError: out of reach, every branch outside the limits (the nearest miss is named), or the nearest
                branch is further than `max_jump` [rad] from the seed in some joint.
        """
        near = seed.tolist()
        branches = self._branches(tcp, near[3])
        if not branches:
            raise KinematicsError(f"tcp {_say(tcp)} m: no joint position reaches it")
        jump, best = _nearest(branches, near)
        if (
            self._outside(best)[0] > _SLACK
        ):  # seldom: the nearest of all is mostly inside, and then nothing else is asked
            jump, best = _nearest([q for q in branches if self._outside(q)[0] <= _SLACK], near)
        if not best:
            nearest = min(branches, key=lambda q: self._outside(q)[0])
            joint = self._outside(nearest)[1]
            raise KinematicsError(
                f"tcp {_say(tcp)} m: needs joint{joint + 1} = {nearest[joint]:.4f} rad, "
                f"allowed {self._bounds[joint][0]:.4f}..{self._bounds[joint][1]:.4f}"
            )
        if jump > max_jump:
            joint = max(range(N_JOINTS), key=lambda j: abs(best[j] - near[j]))
            raise KinematicsError(
                f"tcp {_say(tcp)} m: joint{joint + 1} would jump {jump:.3f} rad to another branch, "
                f"allowed {max_jump:.3f}"
            )
        return np.array([min(max(v, low), high) for v, (low, high) in zip(best, self._bounds, strict=True)])

    def _outside(self, joints: list[float]) -> tuple[float, int]:
        """How far [rad] the worst joint lies outside the limits (negative inside), and which one."""
        return max(
            (max(low - v, v - high), j) for j, (v, (low, high)) in enumerate(zip(joints, self._bounds, strict=True))
        )

    def limit_distance(self, joints: Float) -> Float:
        """Per joint (6,) how far [rad] it is from the nearer of its limits; negative outside."""
        return np.array([min(v - low, high - v) for v, (low, high) in zip(joints.tolist(), self._bounds, strict=True)])

    def jacobian(self, joints: Float) -> Float:
        """Geometric Jacobian of `tcp` in `base_link` (6, 6): rows 0..2 [m/rad], rows 3..5 [rad/rad]."""
        frames = self.link_frames(joints)
        tip = frames[-1][:3, 3] + frames[-1][:3, :3] @ self._offset
        columns = [np.concatenate([np.cross(f[:3, 2], tip - f[:3, 3]), f[:3, 2]]) for f in frames]
        return np.array(columns).T

    def singularity(self, joints: Float) -> float:
        """Smallest singular value of the Jacobian; 0 at a singularity, about 0.1 in the open."""
        return float(np.linalg.svd(self.jacobian(joints), compute_uv=False)[-1])

    def _settle_wrist(self, q: Float, target: Float, joint4: float) -> Float:
        """The wrist anew from the first three joints: near its singularity EAIK loses the sum of joints 4 and 6.

        The wrist turns as Rz(q4) Ry(q5) Rz(q6); of its two solutions the one with joint 4 near `joint4` is given.
        """
        base = np.array([*q[:3], 0.0, 0.0, 0.0])
        left = self.flange(base)[:3, :3].T @ target[:3, :3]
        sine = math.hypot(left[0, 2], left[1, 2])
        if sine < WRIST_SINGULAR:
            turn = math.atan2(left[1, 0] - left[0, 1], left[0, 0] + left[1, 1])
            return np.array([*q[:3], joint4, 0.0, turn - joint4])
        wrist = np.array([math.atan2(left[1, 2], left[0, 2]), math.asin(sine), math.atan2(left[2, 1], -left[2, 0])])
        if abs(_wrap(wrist[:1] - joint4)[0]) > math.pi / 2:
            wrist = np.array([wrist[0] + math.pi, -wrist[1], wrist[2] + math.pi])
        return np.array([*q[:3], *wrist])
