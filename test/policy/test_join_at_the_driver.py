"""A policy that takes its time, and the driver: the new chunk starts at the measured latency and joins without a jump.

The driver is the real one on an injected clock; the policy's answer is made up, its delay is exact.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fake_arm import MS, ROS_START, FakeArm

from reconvla_ros.arm.control import DriverCore
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.model.tokens import ActionCodec
from reconvla_ros.policy.actions import to_targets
from reconvla_ros.policy.contract import Contract
from reconvla_ros.policy.joining import Joined, join
from reconvla_ros.policy.protocol import Plan
from reconvla_ros.policy.rate import slowed
from reconvla_ros.types import ActionChunk, Float, JointCommand

READY = np.array([0.0, 1.2, -1.2, 0.0, 0.9, 0.0])
PIPER = Contract()
CODEC = ActionCodec(PIPER.vocab_base, PIPER.bins)
TICK = 5 * MS
LATENCY = 250 * MS  # [ns] from the picture to the driver: two and a half steps
FORTH, BACK = (0.25, 0.25, 0.1), (-0.25, 0.25, -0.1)  # [unit a step], 0.05 m/s


class LaggingArm(FakeArm):
    """Follows as an arm does: what is left of the way shrinks with a time constant of 50 ms."""

    def send(self, command: JointCommand) -> None:
        super().send(JointCommand(self.joints + 0.1 * (command.position - self.joints), command.gripper))
        self.target = command.position


class Stage:
    def __init__(self, joined: bool, step_dt: float = 0.1) -> None:
        self.arm = LaggingArm(READY)
        self.core = DriverCore(self.arm, DriverConfig(dry_run=False))
        self.joins, self.step_dt = joined, step_dt
        self.mono, self.ros = 5_000 * MS, ROS_START
        self.previous: ActionChunk | None = None
        self.sequence = 0
        self.goals: list[Float] = []  # TCP target in force, each tick
        self.sent: list[Float] = []  # commanded TCP, each tick
        self.run(2)
        self.core.set_task("t")

    def run(self, ticks: int) -> None:
        for _ in range(ticks):
            self.mono, self.ros = self.mono + TICK, self.ros + TICK
            self.arm.stamp_ns = self.ros
            self.result = self.core.tick(self.mono, self.ros)
            asked = self.result.asked
            if asked is not None and asked.wanted is not None:
                self.goals.append(asked.wanted.pose.position)
                self.sent.append(self.core.kinematics.tcp(self.arm.target).position)

    def observe_infer_give(self, way: tuple[float, float, float], factor: float = 1.0) -> tuple[Joined, int]:
        """One round of the policy: look, think for LATENCY while the arm moves on, deliver. Steps dropped as late."""
        stamp, tcp = self.ros, self.core.kinematics.tcp(self.arm.joints)
        joined = Joined()
        if self.previous is not None and self.joins:
            joined = join(Plan(self.previous, self.step_dt, stamp + LATENCY), stamp, tcp, PIPER, CODEC)
        free = CODEC.encode(np.tile([*way, 0, 0, 0, 1.0], (5 - joined.forced, 1))).ravel()
        ids = (*joined.prefix, *map(int, free))
        positions, turns, gripper = to_targets(CODEC.decode(ids).reshape(5, 7), tcp, PIPER)
        self.sequence += 1
        chunk = ActionChunk(
            stamp,
            "t",
            self.sequence,
            self.step_dt,
            tcp,
            positions,
            turns,
            gripper,
            token_ids=ids,
            prefix_steps=joined.forced,
        )
        chunk = slowed(chunk, factor)
        self.run(LATENCY // TICK)
        accepted = self.core.accept_chunk(chunk, self.mono, self.ros)
        assert accepted.ok, accepted.detail
        self.previous = chunk
        return joined, accepted.dropped


def turned_back(stage: Stage, before: int) -> float:
    """How far the target in force goes against its way at the hand-over [m]; `before` = its last tick under the old chunk."""
    way = np.array(FORTH) / np.linalg.norm(FORTH)
    return -min(0.0, float((stage.goals[before + 1] - stage.goals[before]) @ way))


@pytest.mark.parametrize("step_dt", [0.1, 0.15, 0.4])
def test_a_chunk_joins_without_a_jump(step_dt: float) -> None:
    jumps, backs = {}, {}
    for joins in (True, False):
        stage = Stage(joins, step_dt)
        stage.observe_infer_give(FORTH)
        stage.run(round(0.05 / 0.005))
        joined, dropped = stage.observe_infer_give(BACK)
        before = len(stage.goals) - 1
        stage.run(1)
        assert stage.result.asked is not None and stage.result.asked.wanted is not None
        assert dropped == stage.result.asked.wanted.step == int(0.25 / step_dt)  # what is over by then is dropped
        assert joined.forced == (int(np.ceil(0.25 / step_dt)) if joins else 0), joined.reason
        jumps[joins] = float(np.linalg.norm(stage.goals[-1] - stage.goals[before]))
        backs[joins] = turned_back(stage, before)
    one_step = 0.02 * float(np.linalg.norm(FORTH))
    assert jumps[True] <= one_step * 1.01 and backs[True] <= 0.02 / 255
    assert jumps[False] > 2.0 * jumps[True] + 1e-4
    assert backs[False] > 10 * max(backs[True], 1e-4)


def test_over_many_chunks_a_steady_model_moves_steadily() -> None:
    """Without forcing, every chunk starts where the arm was a quarter of a second ago, and the targets saw."""
    worst = {}
    for joins in (True, False):
        stage = Stage(joins)
        for _ in range(12):
            stage.observe_infer_give(FORTH)
        way = np.array(FORTH) / np.linalg.norm(FORTH)
        along = np.diff(np.array(stage.goals[100:]) @ way)
        worst[joins] = -float(along.min())
    assert worst[True] <= 0.02 / 255 * 2  # [m], the rounding of tokens
    assert worst[False] > 0.002


@pytest.mark.parametrize("factor", [2.0, 3.0])
def test_a_slowed_chunk_joins_as_well(factor: float) -> None:
    stage = Stage(True)
    stage.observe_infer_give(FORTH)
    stage.run(10)
    joined, _ = stage.observe_infer_give(FORTH, factor)
    assert joined.forced == 3
    before = len(stage.goals) - 1
    stage.run(1)
    one_step = 0.02 * float(np.linalg.norm(FORTH))
    assert (
        turned_back(stage, before) <= one_step
    )  # the step in force is cut anew, and ends within a step of where it ended
    # Three steps keep their time, two take `factor` times as long; a quarter of a second was over when it came.
    left = round((0.1 * (3 + 2 * factor) - 0.25) / 0.005)
    ends = stage.core.reasons["chunk_end"]
    stage.run(left - 3)
    assert stage.core.reasons["chunk_end"] == ends
    stage.run(4)
    assert stage.core.reasons["chunk_end"] == ends + 1


def test_late_by_more_than_was_planned_the_steps_that_are_over_are_dropped() -> None:
    stage = Stage(True)
    stage.observe_infer_give(FORTH)
    assert stage.previous is not None
    stage.run(10)
    stamp, tcp = stage.ros, stage.core.kinematics.tcp(stage.arm.joints)
    joined = join(Plan(stage.previous, 0.1, stamp + 100 * MS), stamp, tcp, PIPER, CODEC)
    assert joined.forced == 1
    stage.run(70)  # 0.35 s instead of the 0.1 s that were foreseen
    late = replace(stage.previous, stamp_ns=stamp, sequence=9, anchor=tcp, prefix_steps=1)
    accepted = stage.core.accept_chunk(late, stage.mono, stage.ros)
    assert accepted.ok and accepted.dropped == 3
