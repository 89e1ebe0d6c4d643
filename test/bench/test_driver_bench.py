from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.bench import driver_bench, driver_bench_ik, driver_bench_loop
from reconvla_ros.bench.driver_bench_arm import Session, load
from reconvla_ros.cli import bench, bench_driver
from reconvla_ros.errors import ConfigError, SetupError


def test_period_errors_are_those_of_the_starts() -> None:
    starts = np.array([0, 5_000_000, 10_500_000, 15_000_000])
    assert driver_bench_loop.period_errors(starts, 0.005) == pytest.approx([0.0, 0.0005, 0.0005])


def test_the_bare_loop_keeps_absolute_deadlines() -> None:
    starts = driver_bench_loop.bare_loop(0.002, 0.1)
    assert len(starts) == 50
    assert np.all(starts >= starts[0] + np.arange(50) * 2_000_000)  # a deadline is never anticipated


def test_sides_take_turns_and_change_who_goes_first() -> None:
    order: list[str] = []
    driver_bench_loop.alternate(lambda: order.append("ours"), lambda: order.append("bare"), 3)
    assert order == ["ours", "bare", "bare", "ours", "ours", "bare"]


def test_a_ratio_is_a_median_with_its_extremes() -> None:
    found = driver_bench_loop.spread([3.0, 1.0, 10.0])
    assert (found["ratio"], found["ratio_min"], found["ratio_max"], found["rounds"]) == (3.0, 1.0, 10.0, 3)


def test_every_target_is_reached_on_its_branch() -> None:
    result = driver_bench_ik.measure(200, seed=4)
    assert result["ours"]["solved"] == result["ours"]["same_branch"] == 200
    assert result["clik"]["solved"] >= 190  # it is a fair opponent: the same arm, a working solver
    assert result["ratio"] == pytest.approx(result["clik_p50_us"] / result["ours_p50_us"], rel=0.01)


def test_answers_off_by_two_micrometres_or_on_another_branch_do_not_count() -> None:
    kinematics, seconds = Kinematics(), np.ones(4)
    truth, _ = driver_bench_ik.targets(4)
    poses = [kinematics.tcp(q) for q in truth]
    right = driver_bench_ik.judge(driver_bench_ik.Answers(seconds, list(truth)), truth, poses)
    assert right["solved"] == right["same_branch"] == 4
    off = [truth[0], truth[1] + [0, 4e-6, 0, 0, 0, 0], None, _other_branch(kinematics, truth[3])]
    found = driver_bench_ik.judge(driver_bench_ik.Answers(seconds, off), truth, poses)
    assert (found["solved"], found["same_branch"]) == (2, 1)


def _other_branch(kinematics: Kinematics, joints: np.ndarray) -> np.ndarray:
    branches = kinematics.branches(kinematics.tcp(joints))
    return np.asarray(branches[int(np.argmax(np.abs(branches - joints).max(axis=1)))])


def test_without_pinocchio_the_remedy_is_named_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pinocchio", None)
    with pytest.raises(SetupError, match=r"pinocchio.*requirements/test\.txt.*--only B10,B11"):
        driver_bench.measure(progress=lambda line: pytest.fail("the work began"))


def test_an_unknown_bench_is_refused_with_the_choices() -> None:
    with pytest.raises(ConfigError, match="B10, B11, B12"):
        bench_driver.names("B10,B13")
    with pytest.raises(ConfigError, match="--only"):
        bench_driver.names("")
    assert bench_driver.names("B12, B10") == ("B12", "B10")


def test_a_json_that_cannot_be_written_is_known_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot be written"):
        bench.main(["driver", "--only", "B12", "--json", str(tmp_path / "none" / "x.json")])


def test_loop_and_tick_are_measured_on_an_arm_that_moves() -> None:
    with Session() as session:
        assert session.newest.state is not None
        place = session.newest.state.position.copy()
        for _ in range(5):  # a busy host may let the feedback grow stale, which freezes the arm: then once more
            tick = driver_bench_loop.tick_time(session, 0.4, 2)
            loop = driver_bench_loop.loop_period(session, 0.4, 2)
            if tick.get("ticks", 0) > 20 and loop["moving_share"] > 0.3:
                break
        assert np.abs(session.newest.state.position - place).max() > 0.005
    assert tick["ticks"] > 20 and tick["ratio"] > 1.0 and tick["frames_per_s"] > 500
    assert loop["moving_share"] > 0.3 and loop["ours_p99_ms"] > 0.0 and loop["rounds"] == 2


def test_the_load_is_there_and_ends_with_its_block() -> None:
    me, before = psutil.Process(), len(psutil.Process().children())
    with load("busy"):
        assert len(me.children()) == before + (psutil.cpu_count() or 1)
    assert len(me.children()) == before
