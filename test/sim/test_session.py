from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from reconvla_ros.errors import ConfigError
from reconvla_ros.policy.expert import ExpertPolicy
from reconvla_ros.sim.scenes import make
from reconvla_ros.sim.session import Result, Session, SessionConfig
from reconvla_ros.types import ActionChunk, CameraFrame, Observation

BLIND = SessionConfig(images=False)


def episode(name: str, seed: int, timeout: float = 0.0, **changes: float) -> tuple[Result, ExpertPolicy, Session]:
    scene = make(name, seed)
    assert scene.setup is not None
    setup = scene.setup
    session = Session(scene, SessionConfig(images=False, **changes))  # type: ignore[arg-type]
    session.get_ready()
    director = session.arm.world.director
    assert director is not None
    policy = ExpertPolicy(lambda: setup, lambda: director.things(session.arm.world.data))
    return session.run(policy.infer, timeout=timeout), policy, session


@pytest.mark.parametrize("name", ["fruit_in_bowl+unseen", "stack_bowls", "flip_cup", "fruit_in_bowl+moved"])
def test_the_expert_does_it_through_the_driver(name: str) -> None:
    result, policy, session = episode(name, 2)
    assert (result.success, result.missing, policy.attempts) == (True, (), 1)
    assert result.refused == 0
    assert set(result.reasons) <= {"effort", "chunk_end"}
    assert session.core.holder == "none"


def test_two_runs_are_the_same_and_chunks_that_come_later_than_they_last_do_nothing() -> None:
    ends = []
    for latency in (0.0, 0.0, 0.6):
        _, _, session = episode("fruit_in_bowl", 5, timeout=2.0, latency=latency)
        assert session.last is not None and session.last.tcp is not None
        ends.append(session.last.tcp.position)
    np.testing.assert_array_equal(ends[0], ends[1])
    begin = session.core.kinematics.tcp(np.array(session.driver.ready_position)).position
    assert np.linalg.norm(ends[0] - begin) > 0.1
    assert np.linalg.norm(ends[2] - begin) < 0.005


def test_nobody_acts_and_nothing_is_done() -> None:
    session = Session(make("fruit_in_bowl", 0), BLIND)
    session.get_ready()
    assert session.last is not None and session.last.tcp is not None
    place = session.last.tcp

    def stays(observation: Observation) -> ActionChunk:
        return ActionChunk(
            observation.stamp_ns, observation.task_id, 0, 0.1, place,
            place.position[None], place.quaternion[None], np.array([0.07]),
        )  # fmt: skip

    result = session.run(stays, timeout=1.0)
    assert not result.success and result.missing and result.seconds == pytest.approx(1.0, abs=0.01)
    assert session.last.tcp.position == pytest.approx(place.position, abs=0.002)


def test_pictures_come_at_their_rate_and_make_observations() -> None:
    seen: list[tuple[str, CameraFrame]] = []
    watcher = SimpleNamespace(
        tick=lambda result, session: None,
        frame=lambda camera, frame: seen.append((camera, frame)),
        chunk=lambda chunk: None,
    )
    with Session(make("stack_bowls", 1), SessionConfig(64, 48), watcher=watcher) as session:
        session.get_ready()
        seen.clear()
        session.rest(1.0)
        found = session.observe("stack")
    assert len(seen) == 20
    assert found.stamp_ns == seen[-1][1].stamp_ns
    np.testing.assert_array_equal(found.wrist, seen[-1][1].color)
    assert seen[0][1].color.shape == (48, 64, 3) and seen[0][1].depth is not None


def test_what_cannot_be_run() -> None:
    session = Session(make("empty"), BLIND)
    session.get_ready()
    with pytest.raises(ConfigError, match="has no task"):
        session.run(lambda observation: pytest.fail("asked"))
    with pytest.raises(ConfigError, match="camera_rate"):
        SessionConfig(camera_rate=30.0)
