"""What `reconvla collect` asks for; that its episodes are those of the graph is tested in test/graph/test_expert.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.cli.collect import UNSEEN_SEEDS, Job, _parse, driver_of, jobs_of, parameters_of
from reconvla_ros.errors import ReconVlaError
from reconvla_ros.sim.session import Session, SessionConfig


def ask(tmp_path: Path, *words: str) -> list[Job]:
    return jobs_of(_parse(["--folder", str(tmp_path / "episodes"), *words]))


def test_seeds_count_up_and_names_will_differ(tmp_path: Path) -> None:
    jobs = ask(
        tmp_path, "--task", "flip_cup+looks", "--episodes", "3", "--seed", "5", "--size", "64x48", "--rate", "20"
    )
    assert [job.seed for job in jobs] == [5, 6, 7]
    assert [round(job.at - jobs[0].at) for job in jobs] == [0, 1, 2]
    assert {job.scene for job in jobs} == {"flip_cup+looks"}
    assert (jobs[0].config.width, jobs[0].config.height, jobs[0].config.camera_rate) == (64, 48, 20.0)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--task", "fruit_in_bowls"], "did you mean 'fruit_in_bowl'"),
        (["--task", "fruit_in_bowl+odd"], "variant of task"),
        (["--episodes", "0"], "--episodes: must be in 1..100000, got 0"),
        (["--workers", "999"], "--workers"),
        (["--seed", "-1"], "--seed"),
        (["--seed", str(UNSEEN_SEEDS)], "--evaluation-seeds"),
        (["--spread", "2"], "--spread"),
        (["--size", "big"], "WIDTHxHEIGHT"),
        (["--rate", "30"], "must divide the 200 Hz"),
        (["--size", "1920x1080", "--episodes", "99999"], "GB are free"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is(tmp_path: Path, words: list[str], says: str) -> None:
    with pytest.raises(ReconVlaError, match=says.replace("+", r"\+")):
        ask(tmp_path, *words)


def test_seeds_for_evaluation_on_demand(tmp_path: Path) -> None:
    job = ask(tmp_path, "--seed", str(UNSEEN_SEEDS), "--episodes", "1", "--evaluation-seeds")[0]
    assert job.seed == UNSEEN_SEEDS


def test_a_start_elsewhere_is_the_seeds_own() -> None:
    plain, one, same, other = (
        driver_of(Job("flip_cup", seed, "x", SessionConfig(), False, 0.0, spread)).ready_position
        for seed, spread in ((1, 0.0), (1, 0.1), (1, 0.1), (2, 0.1))
    )
    assert plain == DriverConfig().ready_position
    assert one == same != other
    assert 0.0 < max(abs(a - b) for a, b in zip(one, plain, strict=True)) <= 0.1


def test_the_sidecar_says_which_scene_it_was() -> None:
    from reconvla_ros.sim.scenes import make

    session = Session(make("empty"), SessionConfig(images=False))
    said = parameters_of(Job("stack_bowls", 9, "x", SessionConfig(), False, 0.0), session.driver)
    assert said["simulator"] == {"scene": "stack_bowls", "seed": 9}
    assert said["camera_base"]["rate"] == 10.0
    assert said["driver"]["tcp_speed"] == session.driver.tcp_speed
