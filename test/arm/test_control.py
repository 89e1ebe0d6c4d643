from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fake_arm import MS, ROS_START, FakeArm  # type: ignore[import-not-found]

from reconvla_ros.arm.control import DriverCore
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.arm.tick import TickResult
from reconvla_ros.errors import ArmError
from reconvla_ros.safety.filter import Verdict
from reconvla_ros.safety.supervisor import State
from reconvla_ros.types import ActionChunk, EeCommand, Float, JointCommand, Pose

READY = np.array([0.0, 1.2, -1.2, 0.0, 0.9, 0.0])
CONFIG = DriverConfig(dry_run=False)
DT = 0.005


class Bench:
    """A core on a fake arm with a clock that only `run` moves."""

    def __init__(self, joints: Float = READY, **config: Any) -> None:
        self.arm = FakeArm(joints)
        self.core = DriverCore(self.arm, replace(CONFIG, **config))
        self.mono, self.ros = 5_000 * MS, ROS_START
        self.sequence = 0
        self.last = self.run(1)[-1]

    def run(self, ticks: int) -> list[TickResult]:
        results = []
        for _ in range(ticks):
            self.mono, self.ros = self.mono + 5 * MS, self.ros + 5 * MS
            self.arm.stamp_ns = self.ros
            self.last = self.core.tick(self.mono, self.ros)
            results.append(self.last)
        return results

    @property
    def tcp(self) -> Pose:
        return self.core.kinematics.tcp(self.arm.joints)

    def chunk(self, move: tuple[float, float, float], **values: Any) -> ActionChunk:
        tcp = self.tcp
        self.sequence += 1
        way = np.array([np.array(move) * (k + 1) / 5 for k in range(5)])
        chunk = ActionChunk(
            self.ros,
            "t",
            self.sequence,
            0.1,
            tcp,
            tcp.position + way,
            np.tile(tcp.quaternion, (5, 1)),
            np.full(5, 0.05),
        )
        return replace(chunk, **values)

    def give(self, move: tuple[float, float, float] = (0.03, 0.0, -0.02), **values: Any) -> str:
        accepted = self.core.accept_chunk(self.chunk(move, **values), self.mono, self.ros)
        return "" if accepted.ok else accepted.reason

    def point(self, move: tuple[float, float, float] = (0.03, 0.0, -0.02)) -> str:
        """One command of the teleoperator, from where the arm is."""
        tcp = self.tcp
        command = EeCommand(self.ros, "teleop", Pose(tcp.position + np.array(move), tcp.quaternion))
        return self.core.accept_ee(command, self.mono, self.ros).reason

    def path(self) -> Float:
        return np.array([command.position for command in self.arm.sent])


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.core.set_task("t")
    return bench


def test_nothing_is_sent_before_a_request() -> None:
    bench = Bench()
    bench.run(200)
    assert bench.arm.sent == [] and bench.last.decision.state is State.HOLDING


def test_a_chunk_moves_the_tcp_and_its_end_holds(bench: Bench) -> None:
    start = bench.tcp.position
    assert bench.give((0.03, 0.0, -0.02)) == ""
    assert {r.decision.state for r in bench.run(60)[5:]} == {State.MOVING}
    bench.run(200)
    assert bench.last.decision.state is State.HOLDING and bench.core.reasons["chunk_end"] == 1
    assert np.linalg.norm(bench.tcp.position - start) > 0.02
    assert bench.arm.gripper == pytest.approx(0.05)


def test_a_chunk_that_is_taken_back_ends_in_a_hold(bench: Bench) -> None:
    assert bench.give((0.03, 0.0, -0.02)) == ""
    bench.run(20)
    assert bench.core.end_chunk("another").reason == "task_id"
    assert bench.run(1)[0].decision.state is State.MOVING
    assert bench.core.end_chunk("t").ok and bench.core.reasons["chunk_withdrawn"] == 1
    bench.run(30)  # 0.15 s: it decelerates; the chunk would have gone on for 0.4 s
    assert bench.last.decision.state is State.HOLDING and bench.core.reasons["chunk_end"] == 0
    assert bench.give((0.0, 0.0, -0.02), sequence=9) == ""  # the task goes on


def test_what_reaches_the_arm_keeps_every_limit(bench: Bench) -> None:
    rng = np.random.default_rng(3)
    for _ in range(40):
        bench.give(tuple(rng.uniform(-0.2, 0.2, 3)))
        bench.run(int(rng.integers(5, 60)))
    path, limits = bench.path(), bench.core.limits
    speed = np.diff(path, axis=0) / DT
    poses = np.array([bench.core.kinematics.tcp(q).position for q in path])
    assert np.all(path >= limits.joint_lower) and np.all(path <= limits.joint_upper)
    assert np.abs(speed).max() <= CONFIG.joint_speed * (1 + 1e-6)
    assert np.linalg.norm(np.diff(poses, axis=0), axis=1).max() / DT <= CONFIG.tcp_speed * (1 + 1e-6)
    assert np.all(poses >= [*limits.workspace_lower[:2], limits.floor])
    assert np.abs(np.diff(speed, axis=0) / DT).max() <= CONFIG.stop_acceleration * 1.05
    assert np.abs(path - READY).max() > 0.1


def test_the_first_target_is_where_the_arm_is(bench: Bench) -> None:
    bench.arm.follows = False
    bench.give()
    bench.run(3)
    assert np.abs(bench.arm.sent[0].position - READY).max() < 1e-3


def test_a_new_chunk_joins_without_a_step(bench: Bench) -> None:
    bench.give((0.05, 0.0, 0.0))
    bench.run(50)
    bench.give((0.0, 0.05, 0.0))
    bench.run(50)
    acceleration = np.diff(bench.path(), n=2, axis=0) / DT**2
    assert np.abs(acceleration).max() <= CONFIG.stop_acceleration * 1.05


def test_chunks_without_the_lease_or_the_task_are_refused_and_counted() -> None:
    bench = Bench()
    assert bench.give() == "lease"
    bench.core.set_task("t")
    assert bench.core.holder == "policy"
    assert bench.give(task_id="other") == "task_id"
    assert bench.give() == ""
    bench.core.set_source("teleop")
    assert bench.give() == "lease"
    assert bench.core.reasons["lease"] == 2 and bench.core.verdicts["refused"] == 3


def test_the_end_of_a_task_holds_and_returns_the_lease(bench: Bench) -> None:
    late = bench.chunk((0.05, 0.0, 0.0))
    bench.give((0.05, 0.0, 0.0))
    bench.run(40)
    bench.core.set_task(None)
    bench.run(100)
    assert bench.last.decision.state is State.HOLDING and bench.core.holder == "none"
    assert not bench.core.accept_chunk(late, bench.mono, bench.ros).ok
    sent = len(bench.arm.sent)
    bench.run(100)
    assert len(bench.arm.sent) == sent


def test_a_chunk_anchored_elsewhere_is_refused(bench: Bench) -> None:
    elsewhere = Pose(bench.tcp.position + np.array([0.06, 0.0, 0.0]), bench.tcp.quaternion)
    assert bench.give(anchor=elsewhere) == "anchor"


def test_the_anchor_is_judged_where_the_arm_was_at_the_stamp(bench: Bench) -> None:
    old = bench.chunk((0.0, 0.0, 0.05), step_dt=1.0)
    for _ in range(4):
        bench.give((0.05, 0.05, 0.0))
        bench.run(100)
    assert np.linalg.norm(bench.tcp.position - old.anchor.position) > 0.06
    fresh = replace(old, sequence=99, stamp_ns=old.stamp_ns)
    assert bench.core._anchored(fresh) is None
    assert bench.core._anchored(replace(fresh, stamp_ns=bench.ros)) is not None


def test_stop_freezes_latches_and_clear_never_moves(bench: Bench) -> None:
    bench.give((0.05, 0.0, 0.0))
    bench.run(40)
    bench.core.stop("test")
    moving = len(bench.arm.sent)
    assert np.abs(np.diff(bench.path(), axis=0)[-1]).max() > 1e-4
    bench.run(100)
    assert bench.last.decision.state is State.STOPPED and bench.core.stop_latched
    assert len(bench.arm.sent) == moving  # not one target more: the arm's own smoothing brakes
    assert bench.give() == "not_ready"
    sent = len(bench.arm.sent)
    assert bench.core.clear_stop()[0]
    bench.run(100)
    assert len(bench.arm.sent) == sent and bench.last.decision.state is State.HOLDING
    assert bench.give() == "lease"  # whoever moved before must ask again


@pytest.mark.parametrize(
    "facts", [{"joint_age": 0.2}, {"arm_status": 7}, {"comm_bits": 2}, {"bus_ok": False}, {"ctrl_mode": 2}]
)
def test_a_fault_freezes_and_forgets_the_request(bench: Bench, facts: dict[str, Any]) -> None:
    bench.give((0.05, 0.0, 0.0))
    bench.run(40)
    sent = len(bench.arm.sent)
    bench.arm.facts = facts
    bench.run(100)
    assert bench.last.decision.state is State.FAULT
    bench.arm.facts = {}
    bench.run(200)
    bench.core.clear_stop()
    bench.run(50)
    assert bench.last.decision.state is State.HOLDING and len(bench.arm.sent) == sent


def test_an_arm_without_power_is_sent_nothing(bench: Bench) -> None:
    bench.arm.enabled = (True, True, False, True, True, True)
    bench.run(2)
    assert bench.last.decision.state is State.DISABLED
    assert bench.give() == "not_ready"
    bench.run(50)
    assert bench.arm.sent == []


def test_a_dry_run_decides_as_if_powered() -> None:
    bench = Bench(dry_run=True)
    bench.arm.enabled = (False,) * 6
    bench.run(2)
    assert bench.last.decision.state is State.HOLDING


def test_the_leash_waits_for_the_arm(bench: Bench) -> None:
    bench.arm.follows = False
    bench.give((0.25, 0.0, 0.0), step_dt=1.0)
    bench.run(900)
    off = np.abs(bench.path() - READY).max()
    assert off < CONFIG.joint_leash + 0.05
    assert bench.core.reasons["leash"] >= 1


def test_single_commands_of_the_holder(bench: Bench) -> None:
    bench.core.set_task(None)
    goal = Pose(bench.tcp.position + np.array([0.0, 0.05, 0.0]), bench.tcp.quaternion)
    command = EeCommand(bench.ros, "teleop", goal, 0.01)
    assert bench.core.accept_ee(command, bench.mono, bench.ros).reason == "lease"
    assert bench.core.set_source("teleop")[0]
    for _ in range(40):
        assert bench.core.accept_ee(replace(command, stamp_ns=bench.ros), bench.mono, bench.ros).ok
        bench.run(10)
    assert np.allclose(bench.tcp.position, goal.position, atol=1e-3)
    old = replace(command, stamp_ns=bench.ros - 310 * MS)
    assert bench.core.accept_ee(old, bench.mono, bench.ros).reason == "age"


def test_a_person_takes_the_arm_from_a_task_and_hands_it_back(bench: Bench) -> None:
    """A chunk of a picture from before the hand-over leads to where the arm was before the person had moved it."""
    before = bench.chunk((0.03, 0.0, -0.02))
    bench.run(2)
    assert bench.core.set_source("teleop")[0]
    assert bench.give() == "lease" and bench.core.supervisor.counts == {}
    assert bench.point((0.0, 0.02, 0.0)) == ""
    bench.run(200)
    assert bench.core.set_source("none")[0]
    bench.run(100)
    assert bench.give() == "lease"  # giving the arm back starts nothing
    assert bench.core.set_source("policy")[0]
    seen = bench.core.accept_chunk(replace(before, anchor=bench.tcp), bench.mono, bench.ros)
    assert (seen.ok, seen.reason) == (False, "lease") and "before the policy got the arm" in seen.detail
    bench.run(1)
    assert bench.give() == ""
    assert State.MOVING in {r.decision.state for r in bench.run(40)}


def test_a_silent_teleoperator_means_hold(bench: Bench) -> None:
    bench.core.set_source("teleop")
    goal = Pose(bench.tcp.position + np.array([0.0, 0.2, 0.0]), bench.tcp.quaternion)
    bench.core.accept_ee(EeCommand(bench.ros, "teleop", goal), bench.mono, bench.ros)
    bench.run(200)
    assert bench.last.decision.state is State.HOLDING and bench.core.reasons["command_end"] == 1
    assert np.linalg.norm(bench.tcp.position - goal.position) > 0.1


def test_home_goes_home_and_gives_the_lease_back() -> None:
    bench = Bench()
    assert bench.core.home() == (True, "on the way home")
    bench.run(3)
    assert bench.core.holder == "home"
    bench.run(2000)
    assert np.allclose(bench.arm.joints, CONFIG.home_position, atol=1e-6)
    assert bench.core.holder == "none" and bench.last.decision.state is State.HOLDING


def test_home_is_refused_while_stopped() -> None:
    bench = Bench()
    bench.core.stop("button")
    bench.run(1)
    assert bench.core.home() == (False, "not now: a stop is latched")


def test_power_is_cut_only_when_parked() -> None:
    bench = Bench()
    with pytest.raises(ArmError, match=r"without power falls: joint2, joint3 are 1.20 rad from their stops"):
        bench.core.enable(False)
    assert "disable" not in bench.arm.calls
    bench.arm.joints = np.array([0.5, 0.1, -0.1, 0.0, 0.0, 0.0])
    bench.core.enable(False)
    assert "disable" in bench.arm.calls


def test_release_stops_and_opens_the_gripper(bench: Bench) -> None:
    bench.give((0.05, 0.0, 0.0))
    bench.run(30)
    assert bench.core.release_gripper()[0]
    bench.run(200)
    assert bench.last.decision.state is State.STOPPED
    assert bench.arm.gripper == pytest.approx(CONFIG.gripper_range)


def test_an_unreachable_target_is_refused_and_nothing_moves(bench: Bench) -> None:
    tcp = bench.tcp
    upside_down = np.array([1.0, 0.0, 0.0, 0.0])
    quaternions = np.tile(upside_down if abs(tcp.quaternion[0]) < 0.9 else np.array([0, 0, 0, 1.0]), (5, 1))
    assert bench.give(quaternions=quaternions, positions=np.tile([0.30, 0.0, 0.45], (5, 1))) == ""
    bench.run(50)
    assert bench.last.verdict is Verdict.REFUSED and bench.last.reason == "kinematics"
    assert np.allclose(bench.arm.joints, READY, atol=1e-9)


def test_from_the_rest_pose_only_inward_motion() -> None:
    bench = Bench(np.zeros(6))
    bench.core.set_task("t")
    for _ in range(10):
        bench.give((0.03, 0.0, 0.05))
        bench.run(60)
    path = bench.path()
    assert len(path) and np.all(np.diff(path[:, 1]) >= -1e-9) and np.all(path[:, 2] <= 1e-9)


def test_a_late_tick_is_one_tick_of_motion(bench: Bench) -> None:
    bench.give((0.05, 0.0, 0.0), step_dt=2.0)
    bench.run(40)
    before = bench.arm.sent[-1].position
    bench.mono += 1_000 * MS
    bench.ros += 1_000 * MS
    bench.run(1)
    assert np.abs(bench.arm.sent[-1].position - before).max() <= CONFIG.joint_speed * DT * (1 + 1e-6)


def test_the_confirmed_calls_reach_the_arm(bench: Bench) -> None:
    bench.core.damped_stop()
    bench.core.power_cycle()
    assert bench.arm.calls[-2:] == ["damped_stop", "power_cycle"] and bench.core.stop_latched


def test_what_the_arm_holds_is_what_the_next_motion_starts_from(bench: Bench) -> None:
    """A pushed arm was taken as the new reference, the arm went on holding the old target, and the next one jumped."""
    bench.give((0.03, 0.0, 0.0))
    bench.run(300)
    bench.arm.joints = bench.arm.joints + np.array([0.1, 0.0, 0.0, 0.0, 0.0, 0.0])
    pushed = bench.arm.joints.copy()
    bench.arm.facts = {"arm_status": 7}
    bench.run(30)  # a target is given up only for an arm that stands
    assert np.abs(bench.arm.sent[-1].position - pushed).max() < 1e-9


def test_old_feedback_is_no_anchor(bench: Bench) -> None:
    """The motion ends while the feedback is frozen: the target stays where the motion ended."""
    bench.arm.follows = False
    bench.give((0.2, 0.0, 0.0), step_dt=1.0)
    bench.run(80)
    bench.arm.facts = {"joint_age": 0.2}
    bench.run(200)
    assert bench.core.standing and bench.last.decision.state is State.FAULT
    bench.core.clear_stop()
    bench.run(10)
    assert np.abs(np.diff(bench.path(), axis=0)).max() <= CONFIG.joint_speed * DT * (1 + 1e-6)
    assert np.abs(bench.path()[-1] - READY).max() > 0.05


def test_a_reference_taken_from_the_arm_is_sent_once() -> None:
    """The arm holds another target than the one the motion starts from: unsent, the first step would be their difference."""
    motion = Bench().core._motion
    taken = READY + 0.02
    motion.anchor(taken, 0.05)
    first, second = motion.advance(), motion.advance()
    assert first.command is not None and np.array_equal(first.command.position, taken) and not first.moving
    assert second.command is None


def test_the_reference_is_sent_even_when_the_goal_is_refused() -> None:
    motion = Bench().core._motion
    motion.anchor(READY, 0.05)
    assert motion.set_joints(READY + np.array([9.0, 0, 0, 0, 0, 0]), None).verdict is Verdict.REFUSED
    first = motion.advance()
    assert first.command is not None and np.array_equal(first.command.position, READY)


def test_power_lost_behind_a_fault_forgets_the_target(bench: Bench) -> None:
    """The fault hid that the motors had no power: 0.05 rad away the old target came back with the next goal."""
    bench.give((0.05, 0.0, 0.0))
    bench.run(40)
    bench.arm.facts, bench.arm.enabled = {"arm_status": 7}, (False,) * 6
    bench.run(1)
    sent, calls = len(bench.arm.sent), list(bench.arm.calls)
    bench.arm.joints = bench.arm.joints + 0.04
    bench.run(40)
    assert len(bench.arm.sent) == sent and bench.arm.calls == calls
    bench.arm.facts, bench.arm.enabled = {}, (True,) * 6
    bench.run(1)
    bench.core.clear_stop()
    bench.run(1)
    place = bench.arm.joints.copy()
    bench.core.set_source("teleop")
    assert bench.point() == ""
    bench.run(1)
    assert np.abs(bench.arm.sent[sent].position - place).max() < 1e-3


def test_an_arm_that_swings_back_is_no_reference(bench: Bench) -> None:
    """Pushed off its target it passed the place it was taken at, so that the next goal took it anew: two leaps."""
    bench.give((0.03, 0.0, 0.0))
    bench.run(300)
    bench.core.set_source("teleop")
    bench.arm.follows, target, sent = False, bench.arm.joints.copy(), len(bench.arm.sent)
    bench.arm.joints = target + 0.1
    bench.run(1)
    for k in range(20):
        bench.arm.joints = target + 0.2 - 0.005 * k
        assert bench.point() == ""
        bench.run(1)
        assert bench.last.reason == "leash" and "and moves" in bench.last.detail
    bench.core.set_source("none")
    assert "and moves" in bench.core.home()[1] and bench.core.holder == "none"
    assert len(bench.arm.sent) == sent
    bench.run(30)
    place = bench.arm.joints
    bench.core.set_source("teleop")
    bench.point()
    bench.run(1)
    assert np.abs(bench.arm.sent[-1].position - place).max() < 1e-3  # now that it stands


def test_who_moves_the_arm_does_not_open_its_hand(bench: Bench) -> None:
    bench.give((0.03, 0.0, 0.0), gripper=np.full(5, 0.01))
    bench.run(300)
    bench.arm.joints, bench.arm.gripper = bench.arm.joints + 0.2, 0.03  # around an object that keeps the fingers apart
    bench.arm.facts = {"arm_status": 7}
    bench.run(40)
    assert bench.arm.sent[-1].gripper == pytest.approx(0.01)


def test_the_next_motion_starts_from_the_target_that_came_with_the_power() -> None:
    """The arm sags below it; a start from where it is measured would lower the target by as much."""
    bench = Bench()
    seed = JointCommand(READY + np.array([0.0, 0.02, 0.0, 0.0, 0.0, 0.0]), 0.03)
    bench.arm.seed = seed
    bench.core.enable(True)
    bench.core.set_task("t")
    bench.give()
    bench.run(1)
    assert np.abs(bench.arm.sent[0].position - seed.position).max() < 1e-3


def test_nobody_commands_while_the_motors_get_power() -> None:
    """Two sources of targets in those 0.1 s: the place where power came, and a motion that had begun."""
    bench = Bench()
    bench.core.set_task("t")
    said: list[str] = []

    def enable(timeout: float = 5.0) -> None:
        said.extend([bench.give(), bench.core.ready()[1]])

    bench.arm.enable = enable  # type: ignore[method-assign]
    bench.core.enable(True)
    assert said == ["not_ready", "not now: the motors get power"]
    assert bench.give() == ""


def test_an_arm_outside_its_range_is_not_driven_into_it_by_a_leap() -> None:
    bench = Bench(READY + np.array([1.2, 0.0, 0.0, 0.0, 0.0, 0.0]), joint_upper=(1.0, 3.0, 0.0, 1.7, 1.2, 2.0))
    bench.core.set_source("teleop")
    assert bench.point() == ""
    bench.run(1)
    assert bench.arm.sent == [] and bench.last.reason == "joint_range" and "move it by hand" in bench.last.detail
    assert not bench.core.ready()[0]


def test_the_filter_knows_the_geometry_of_an_older_firmware() -> None:
    arm = FakeArm(READY)
    arm.setup = replace(arm.setup, firmware="S-V1.5-2")
    arm.facts = {"flange": None}
    core = DriverCore(arm, CONFIG)
    assert core.limits.variant == core.kinematics.variant == 0
    assert np.allclose(core.limits.body.look(READY[None], 0.0).tcp[0], core.kinematics.tcp(READY).position)


def test_after_a_stop_at_full_speed_the_next_task_moves(bench: Bench) -> None:
    # The governor used to keep the inverse kinematics it had run ahead to (0.15 rad at full speed) when a freeze threw
    # its place away; half of the time it then waited for joints that never came nearer: HOLDING, every chunk "passed".
    middle = bench.tcp.position
    for k in range(16):
        far = middle + np.array([0.0, 0.1 * (-1) ** k, 0.0])
        before = bench.arm.joints.copy()
        for _ in range(4):
            assert bench.give(positions=np.tile(far, (5, 1))) == ""
            bench.run(45 + k)
        assert np.abs(bench.arm.joints - before).max() > 0.05, f"after stop {k}: {bench.last.decision}"
        bench.core.stop()
        bench.run(40)
        assert bench.core.clear_stop()[0]
        bench.core.set_task(None)
        bench.core.set_task("t")
        bench.run(1)


def test_a_target_after_an_errand_that_was_broken_off_is_on_the_branch_of_the_arm(bench: Bench) -> None:
    """The inverse kinematics began at the end of the errand, on another branch, and every target was refused (step_size)."""
    limits = {"target_joint_step": 1.0, "singularity_stop": 0.0, "singularity_slow": 0.001}
    bench = Bench(np.array([0.0, 1.2, -1.2, 1.5, 0.9, -1.5]), home_position=(0.0, 1.2, -1.2, -1.6, -0.9, 1.6), **limits)
    assert bench.core.home()[0]
    bench.run(20)
    assert bench.core.set_source("teleop")[0]
    bench.run(100)
    pose = Pose(bench.tcp.position + np.array([0.0, 0.02, 0.0]), bench.tcp.quaternion)
    assert bench.core.accept_ee(EeCommand(bench.ros, "teleop", pose), bench.mono, bench.ros).ok
    bench.run(5)
    assert bench.last.verdict is Verdict.PASSED, bench.last.detail


def test_a_way_that_a_passing_fault_ended_is_told_from_one_that_arrived(bench: Bench) -> None:
    """On a busy host one late frame ended the way to the ready position at start, and the arm stayed where it was for good."""
    bench = Bench(np.array([0.0, 0.6, -0.6, 0.0, 0.5, 0.0]))
    assert bench.core.ready()[0]
    bench.run(40)
    bench.arm.facts = {"joint_age": 0.2}
    bench.run(20)
    assert bench.last.decision.state is State.FAULT and bench.core.broken_off and bench.core.holder == "none"
    bench.arm.facts = {}
    bench.run(200)
    assert bench.core.broken_off and np.abs(bench.arm.joints - np.array(CONFIG.ready_position)).max() > 0.1
    done, message = bench.core.ready()
    assert done, message
    bench.run(1000)
    assert bench.core.standing and not bench.core.broken_off
    assert np.abs(bench.arm.joints - np.array(CONFIG.ready_position)).max() < 0.01
