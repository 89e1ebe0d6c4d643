"""The soak, small: it runs, finds nothing, and would find something."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.bench.judge import QUANTUM, Judge
from reconvla_ros.bench.judge_bounds import Bounds, tcp_of
from reconvla_ros.bench.soak import soak
from reconvla_ros.bench.soak_rig import Rig, bounds_of
from reconvla_ros.cli.main import main
from reconvla_ros.errors import ArmError
from reconvla_ros.safety.supervisor import State

CONFIG = DriverConfig(dry_run=False, can_interface="virtual")
BOUNDS = bounds_of(CONFIG)
READY = np.array(CONFIG.ready_position)


def quiet(line: str) -> None:
    """No progress."""


def send(judge: Judge, joints: np.ndarray, measured: np.ndarray | None = None) -> None:
    """One tick with one target (6,) [rad]; the arm is there, or at `measured`."""
    counts = [round(float(v) / QUANTUM) for v in joints]
    for i in range(3):
        judge.frame(0x155 + i, struct.pack(">ii", *counts[2 * i : 2 * i + 2]))
    judge.end_tick(joints if measured is None else measured)


def targets(judge: Judge, path: list[np.ndarray]) -> dict[str, int]:
    """The violations of a path, one target (6,) [rad] a tick."""
    for joints in path:
        send(judge, joints)
    judge.finish()
    return dict(judge.violations)


def settled() -> Judge:
    """A judge of an arm with power."""
    judge = Judge(BOUNDS)
    judge.power([True] * 6)
    return judge


def test_the_command_writes_a_clean_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "soak.json"
    assert main(["bench", "soak", "--commands", "2000", "--json", str(path), "--seed", "4"]) == 0
    result = json.loads(path.read_text())
    assert result["violations"] == {} and result["commands"] == 2000
    assert result["frames"] > 500 and result["moving_ticks"] > 300 and result["extremes"]["way"] > 1.0
    assert {"refused", "passed"} <= set(result["verdicts"])
    assert "0 violations" in capsys.readouterr().out


def test_the_same_seed_is_the_same_run_however_many_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconvla_ros.bench.soak.EPISODE", 100)
    said: list[str] = []
    first, again = soak(250, 7, progress=said.append), soak(250, 7, workers=2, progress=quiet)
    del first["seconds"], again["seconds"]
    assert first == again and first["episodes"] == 3 and len(said) == 3
    alone = soak(250, 7, only=1, progress=quiet)
    assert alone["commands"] == 100 and 0 < alone["frames"] < first["frames"]


def test_a_driver_that_keeps_wider_bounds_is_found_out() -> None:
    tighter = replace(
        BOUNDS, joint_speed=0.2, joint_acceleration=0.5, joint_upper=(2.6, 0.5, 0.0, 1.7, 1.2, 2.0), tcp_speed=0.01,
        tcp_angular_speed=0.05, workspace_upper=(0.24, 0.45, 0.7),
    )  # fmt: skip
    with Rig(CONFIG, tighter) as rig:
        rig.step()
        rig.enable()
        rig.step()
        assert rig.core.ready()[0]
        for _ in range(700):
            rig.step()
        rig.judge.finish()
        assert rig.core.standing and rig.last is not None and rig.last.decision.state is State.HOLDING
        assert np.abs(rig.measured - READY).max() < 1e-3
        kinds = {"joint_speed", "joint_acceleration", "joint_range", "tcp_speed", "tcp_angular_speed", "workspace"}
        assert set(rig.judge.violations) == kinds


def test_the_judge_has_the_kinematics_of_the_sdk() -> None:
    joints = np.random.default_rng(0).uniform(CONFIG.joint_lower, CONFIG.joint_upper, (50, 6))
    place, rotation = tcp_of(joints, CONFIG.tcp_offset)
    ours = np.array([Kinematics().tcp_matrix(q) for q in joints])
    assert np.abs(ours[:, :3, 3] - place).max() < 1e-9 and np.abs(ours[:, :3, :3] - rotation).max() < 1e-9


def test_a_still_target_and_a_slow_one_pass() -> None:
    ramp = [READY + np.array([0.5 * 2.0 * (0.005 * k) ** 2, 0, 0, 0, 0, 0]) for k in range(30)]
    assert targets(settled(), [READY] * 3 + ramp) == {}


@pytest.mark.parametrize(("joint", "step", "kind"), [(0, 0.004, "joint_speed"), (1, 0.0005, "joint_acceleration")])
def test_a_leap_and_a_jerk_are_seen(joint: int, step: float, kind: str) -> None:
    leap = READY.copy()
    leap[joint] += step
    assert targets(settled(), [READY, READY, READY, leap, leap])[kind] > 0


def test_a_leap_across_the_border_of_two_batches_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconvla_ros.bench.judge._BATCH", 4)
    leap = READY + np.array([0.004, 0, 0, 0, 0, 0])
    for at in range(1, 9):
        assert targets(settled(), [READY] * at + [leap] * (12 - at))["joint_speed"] == 1


MOVED = READY + np.array([0.2, 0, 0, 0, 0, 0])


def test_power_excuses_one_target_and_only_at_the_arm() -> None:
    judge = settled()
    for _ in range(3):
        send(judge, READY)
    judge.power([False] * 6)
    send(judge, READY + 0.1)  # moves nothing
    judge.power([True] * 6)
    send(judge, MOVED)
    send(judge, MOVED)
    judge.finish()
    assert not judge.violations and judge.seeds == 2
    send(judge, READY)
    judge.finish()
    assert judge.violations["joint_speed"] == 1


def test_power_that_came_back_between_two_targets_excuses_the_second() -> None:
    """Live, a tick of the judge is a target, and none is sent to an arm without power."""
    judge = settled()
    for _ in range(3):
        send(judge, READY)
    judge.power([True, False] + [True] * 4)
    judge.power([True] * 6)
    send(judge, MOVED)
    judge.finish()
    assert not judge.violations and judge.seeds == 2


def test_the_first_target_with_power_lies_at_the_arm() -> None:
    judge = settled()
    send(judge, READY, measured=READY + 0.02)
    assert dict(judge.violations) == {"far_seed": 1}


def test_a_motor_without_power_excuses_nothing_of_the_others() -> None:
    judge = settled()
    send(judge, READY)
    judge.power([True] * 5 + [False])
    send(judge, MOVED, measured=READY)
    assert judge.violations["far_seed"] == 1


@pytest.mark.parametrize(("stands", "kinds"), [(25, set()), (5, {"joint_speed", "joint_acceleration", "tcp_speed"})])
def test_a_target_is_taken_to_an_arm_elsewhere_only_when_it_stands(stands: int, kinds: set[str]) -> None:
    judge = settled()
    for _ in range(30):
        send(judge, READY)
    for k in range(40):
        send(judge, READY, measured=READY + (MOVED - READY) * k / 40)
    for _ in range(stands):
        send(judge, READY, measured=MOVED)
    send(judge, MOVED)
    judge.finish()
    assert kinds <= set(judge.violations) and bool(kinds) == bool(judge.violations)


@pytest.mark.parametrize(("sag", "aim", "clean"), [(0.001, 1.0, True), (0.001, 0.5, False), (0.02, 1.0, False)])
def test_the_sag_of_a_standing_arm_may_be_taken_over_and_nothing_else(sag: float, aim: float, clean: bool) -> None:
    judge, down = settled(), np.array([0.0, sag, 0.0, 0.0, 0.0, 0.0])
    send(judge, READY)
    for _ in range(30):
        send(judge, READY, measured=READY + down)
    send(judge, READY + aim * down, measured=READY + down)
    judge.finish()
    assert bool(judge.violations) != clean and judge.seeds == 1 + clean


def test_a_freeze_is_counted_and_needs_a_reason() -> None:
    for may_freeze in (True, False):
        judge = settled()
        for k in range(40):
            send(judge, READY + np.array([0.5 * 2.0 * (0.005 * k) ** 2, 0, 0, 0, 0, 0]))
        judge.stopped(False, may_freeze=may_freeze)
        for _ in range(3):
            send(judge, READY + np.array([0.5 * 2.0 * (0.005 * 39) ** 2, 0, 0, 0, 0, 0]))
        judge.finish()
        assert judge.freezes == may_freeze and judge.violations["joint_acceleration"] == (not may_freeze)
        assert judge.extremes["joint_acceleration"] < BOUNDS.joint_acceleration + 2.0 or not may_freeze


def test_a_freeze_is_a_stand_not_a_brake() -> None:
    judge = settled()
    judge.stopped(False, may_freeze=True)
    way = [0.0, 0.0, 0.0, 0.0, *np.cumsum([0.0025 * 0.1 * k for k in range(1, 10)])]
    for offset in [*way, way[-1] + 0.0005, way[-1] + 0.0006, way[-1] + 0.0006]:
        send(judge, READY + np.array([offset, 0, 0, 0, 0, 0]))
    judge.finish()
    assert judge.violations["joint_acceleration"] > 0


def test_from_outside_the_box_only_nearer() -> None:
    toward = [np.array([1.5 - 0.0004 * k, 0, 0, 0, 0, 0]) for k in range(40)]  # x from 0.01 m, allowed from 0.08
    assert "workspace" not in targets(settled(), toward)
    assert targets(settled(), toward[::-1])["workspace"] > 0


def test_a_target_that_changes_after_a_stop_is_seen() -> None:
    judge = settled()
    for k in range(50):
        judge.stopped(10 <= k < 40)
        send(judge, READY + np.array([0.0001 * k, 0, 0, 0, 0, 0]))
    judge.finish()
    assert dict(judge.violations) == {"moved_while_stopped": 29}


@pytest.mark.parametrize(
    ("can_id", "data", "kind"),
    [
        (0x150, "0100000000000000", "unasked_estop"),
        (0x150, "0200000000000000", "unasked_reset"),
        (0x471, "0701000000000000", "unasked_disable"),
        (0x471, "0702000000000000", "unasked_enable"),
        (0x151, "01013200ad000000", None),
        (0x151, "010032000000", "frame_length"),
        (0x151, "0101640000000000", "mode"),
        (0x151, "010132ad00000000", "mode"),
        (0x159, "00011171" + "03e80100", "gripper_range"),
        (0x159, "00000000" + "0fa00100", "gripper_effort"),
        (0x159, "00000000" + "03e80000", "gripper_code"),
        (0x152, "0000000000000000", "unknown_frame"),
        (0x156, "0000000000000000", "torn_set"),
        (0x155, "7fffffff00000000", None),
    ],
)
def test_every_wrong_frame_has_its_name(can_id: int, data: str, kind: str | None) -> None:
    judge = Judge(BOUNDS)
    judge.frame(can_id, bytes.fromhex(data))
    assert dict(judge.violations) == ({} if kind is None else {kind: 1})


def test_what_was_asked_for_is_no_violation() -> None:
    judge = Judge(BOUNDS)
    judge.expect("estop")
    judge.frame(0x150, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
    assert not judge.violations
    judge.frame(0x150, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
    assert judge.violations["unasked_estop"] == 1


def test_bounds_are_those_of_the_parameters() -> None:
    assert isinstance(BOUNDS, Bounds)
    assert BOUNDS.workspace_lower[2] == pytest.approx(CONFIG.table_z + CONFIG.table_clearance)


def get_going(rig: Rig) -> None:
    """Powered, and on the way to the ready position."""
    rig.step()
    rig.enable()
    rig.step()
    assert rig.core.ready()[0]
    for _ in range(60):
        rig.step()


def test_an_arm_that_gets_power_back_is_not_sent_to_where_it_was_before() -> None:
    """Power is lost on the way, someone moves the arm, and power is given: the target begins where the arm is."""
    with Rig(CONFIG) as rig:
        get_going(rig)
        rig.firmware.receive(0x471, bytes([7, 1, 0, 0, 0, 0, 0, 0]))
        for _ in range(20):
            rig.step()
        assert rig.core.standing and rig.last is not None and rig.last.decision.state is State.DISABLED
        rig.push(np.array([0.5, 0.2, 0.0, 0.0, 0.0, 0.0]), 100)
        for _ in range(101):
            rig.step()
        place = rig.measured.copy()
        rig.enable()
        for _ in range(60):
            rig.step()
        rig.judge.finish()
        assert not {"two_targets", "joint_speed", "tcp_speed"} & set(
            rig.judge.violations
        )  # the power loss is a leap too
        assert np.abs(rig.measured - place).max() < 2e-3
        assert rig.last is not None and rig.last.decision.state is State.HOLDING


def test_enabling_an_arm_in_motion_changes_nothing_and_its_power_stays() -> None:
    with Rig(CONFIG) as rig:
        get_going(rig)
        rig.enable()
        with pytest.raises(ArmError, match="the arm moves"):
            rig.core.enable(False)
        for _ in range(60):
            rig.step()
        rig.judge.finish()
        assert not rig.judge.violations
