"""B12 of `reconvla bench driver`: inverse kinematics, ours beside a warm-started CLIK of pinocchio, target by target.

Both get the same reachable targets and the same seeds, a policy's step away from the answer, and alternate who goes first. The
answers are judged by kinematics that are neither's (`judge.tcp_of`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from reconvla_ros import tables
from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.arm.rotations import matrix_from_quaternion
from reconvla_ros.bench.judge import tcp_of
from reconvla_ros.errors import KinematicsError, SetupError
from reconvla_ros.types import Float, Pose

BOUND = 1e-6  # [m], [rad] of the answers
SEED_OFF = 0.05  # [rad] in every joint: a turn by one step of a policy (contract `piper`)
_MARGIN = 0.1  # [rad] targets keep the driver's margin of the joint limits
_SAME_BRANCH = 0.2  # [rad] the driver's bound for a jump: further from the true joints is another branch
_MAX_ITERATIONS = 100
_DAMPING = 1e-12  # of pinocchio's own CLIK example, as is the step below, there with a rate of 0.1 instead of 1


@dataclass(frozen=True)
class Answers:
    """Of one solver: duration [s], joints (6,) or None, per target."""

    seconds: Float
    joints: list[Float | None]


def _pinocchio() -> Any:
    try:
        import pinocchio
    except ImportError as error:
        raise SetupError(
            f"B12 compares with pinocchio, which is not installed ({error}); remedy: pip install -r requirements/test.txt, or "
            "leave B12 out with --only B10,B11"
        ) from error
    return pinocchio


def clik(tcp_offset: tuple[float, ...] = tables.TCP_OFFSET) -> tuple[Callable[[Any, Float], Float | None], Any]:
    """A closed-loop IK on pinocchio (its own example, with a full Newton step) and the module.

    The solver takes an SE3 of the TCP and a seed (6,) [rad]; it gives joints (6,), or None when it does not converge.

    Raises:
        SetupError: pinocchio is not installed.
    """
    pin = _pinocchio()
    model = pin.Model()
    parent = 0
    for index, row in enumerate(tables.dh_table(1)):
        ca, sa = np.cos(row.alpha), np.sin(row.alpha)
        tilt = np.array([[1.0, 0.0, 0.0], [0.0, ca, -sa], [0.0, sa, ca]])
        turn = pin.SE3(pin.utils.rotate("z", row.offset), np.array([0.0, 0.0, row.d]))
        place = pin.SE3(tilt, np.array([row.a, 0.0, 0.0])) * turn
        parent = model.addJoint(parent, pin.JointModelRZ(), place, f"joint{index + 1}")
    data, to_flange = model.createData(), pin.SE3(np.eye(3), np.array(tcp_offset)).inverse()

    def solve(target: Any, seed: Float) -> Float | None:
        goal, q = target * to_flange, seed
        for _ in range(_MAX_ITERATIONS):
            pin.forwardKinematics(model, data, q)
            missing = data.oMi[6].actInv(goal)
            error = pin.log6(missing).vector
            if np.linalg.norm(error) < BOUND / 2.0:
                return q
            jacobian = -np.dot(pin.Jlog6(missing.inverse()), pin.computeJointJacobian(model, data, q, 6))
            step = jacobian.T.dot(np.linalg.solve(jacobian.dot(jacobian.T) + _DAMPING * np.eye(6), error))
            q = pin.integrate(model, q, -step)
        return None

    return solve, pin


def targets(count: int, seed: int = 0, off: float = SEED_OFF) -> tuple[Float, Float]:
    """Joints inside the limits and their margin, and seeds at most `off` from them, inside the limits: (count, 6) each [rad]."""
    rng = np.random.default_rng(seed)
    low, high = np.array(tables.JOINT_LOWER), np.array(tables.JOINT_UPPER)
    joints = rng.uniform(low + _MARGIN, high - _MARGIN, (count, 6))
    return joints, np.clip(joints + rng.uniform(-off, off, (count, 6)), low, high)


def measure(count: int = 1000, seed: int = 0) -> dict[str, Any]:
    """B12: ratio = t_clik / t_ours at the median (`ratio_p99` at the 99th percentile), and who reached what.

    Raises:
        SetupError: pinocchio is not installed.
    """
    solver, pin = clik()
    kinematics = Kinematics()
    joints, seeds = targets(count, seed)
    poses = [kinematics.tcp(q) for q in joints]
    placements = [pin.SE3(matrix_from_quaternion(p.quaternion), np.array(p.position)) for p in poses]

    def ours(index: int) -> Float | None:
        try:
            return kinematics.solve(poses[index], seeds[index])
        except KinematicsError:
            return None

    def theirs(index: int) -> Float | None:
        return solver(placements[index], seeds[index])

    for index in range(min(count, 50)):  # nobody pays for cold caches
        ours(index), theirs(index)
    mine, clik_answers = _interleaved((ours, theirs), count)
    judged = {"ours": judge(mine, joints, poses), "clik": judge(clik_answers, joints, poses)}
    p50 = [float(np.percentile(a.seconds, 50)) for a in (mine, clik_answers)]
    p99 = [float(np.percentile(a.seconds, 99)) for a in (mine, clik_answers)]
    reached = judged["ours"]["solved"] == judged["ours"]["same_branch"] == count
    ratio, tail = p50[1] / p50[0], p99[1] / p99[0]
    return {
        "ratio": round(ratio, 3), "ratio_p99": round(tail, 3), "bound": ">= 1, and all targets within 1e-6 on their branch",
        "targets": count, "seed_off_rad": SEED_OFF, **judged,
        "ours_p50_us": round(p50[0] * 1e6, 1), "ours_p99_us": round(p99[0] * 1e6, 1),
        "clik_p50_us": round(p50[1] * 1e6, 1), "clik_p99_us": round(p99[1] * 1e6, 1),
        "kept": bool(ratio >= 1.0 and tail >= 1.0 and reached),
    }  # fmt: skip


def _interleaved(solvers: tuple[Callable[[int], Float | None], ...], count: int) -> list[Answers]:
    seconds = np.zeros((len(solvers), count))
    answers: list[list[Float | None]] = [[None] * count for _ in solvers]
    for index in range(count):
        order = range(len(solvers)) if index % 2 else reversed(range(len(solvers)))
        for which in order:
            begin = time.perf_counter_ns()
            answers[which][index] = solvers[which](index)
            seconds[which, index] = (time.perf_counter_ns() - begin) / 1e9
    return [Answers(s, a) for s, a in zip(seconds, answers, strict=True)]


def judge(answers: Answers, truth: Float, poses: list[Pose]) -> dict[str, Any]:
    """How many answers are within BOUND of their pose, and on the branch of `truth`; the largest errors of those solved."""
    found = [i for i, q in enumerate(answers.joints) if q is not None]
    q = np.array([answers.joints[i] for i in found]).reshape(-1, 6)
    place, rotation = tcp_of(q, tables.TCP_OFFSET)
    off = np.linalg.norm(place - np.array([poses[i].position for i in found]).reshape(-1, 3), axis=1)
    wanted = np.array([matrix_from_quaternion(poses[i].quaternion) for i in found]).reshape(-1, 3, 3)
    # |R - W| (Frobenius) = 2 sqrt(2) sin(angle / 2)
    turn = 2.0 * np.arcsin(np.minimum(1.0, np.linalg.norm(rotation - wanted, axis=(1, 2)) / np.sqrt(8.0)))
    good = (off < BOUND) & (turn < BOUND)
    branch = np.abs(q - truth[found]).max(axis=1, initial=0.0) < _SAME_BRANCH
    return {
        "solved": int(good.sum()),
        "same_branch": int((good & branch).sum()),
        "largest_error_m": float(off[good].max(initial=0.0)),
        "largest_error_rad": float(turn[good].max(initial=0.0)),
    }
