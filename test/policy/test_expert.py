from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reconvla_ros.errors import ArmError, ConfigError
from reconvla_ros.policy import expert
from reconvla_ros.policy.factory import describe, open_policy
from reconvla_ros.policy.protocol import Policy
from reconvla_ros.policy.settings import PolicyConfig
from reconvla_ros.sim import shared_state
from reconvla_ros.sim.scenes import make
from reconvla_ros.sim.session import Session, SessionConfig
from reconvla_ros.sim.shared_state import Identity, StateWriter


@pytest.fixture
def session() -> Session:
    made = Session(make("fruit_in_bowl", 1), SessionConfig(images=False))
    made.get_ready()
    return made


def policy_of(session: Session) -> expert.ExpertPolicy:
    setup, director = session.scene.setup, session.arm.world.director
    assert setup is not None and director is not None
    return expert.ExpertPolicy(lambda: setup, lambda: director.things(session.arm.world.data))


def test_chunks_join_whatever_time_lies_between_them(session: Session) -> None:
    """The targets of one instant are the same in every chunk that has them, while the arm follows."""
    policy = policy_of(session)
    assert isinstance(policy, Policy)
    one = policy.infer(session._blind("put fruit in bowl"))
    session.core.set_task("in-process")
    assert session.core.accept_chunk(one, session.arm.now_ns, session.now_ns).ok
    session.rest(0.2)
    two = policy.infer(session._blind("put fruit in bowl"))
    np.testing.assert_allclose(two.positions[:3], one.positions[2:], atol=1e-9)
    np.testing.assert_allclose(two.gripper[:3], one.gripper[2:])
    assert (one.steps, one.step_dt, one.sequence, two.sequence) == (5, 0.1, 0, 1)
    steps = np.linalg.norm(np.diff(one.positions, axis=0), axis=1)
    assert np.all(steps <= 0.0091)  # within what a contract's action can say (0.02 m a step)


def test_a_task_begins_anew_after_a_reset(session: Session) -> None:
    policy = policy_of(session)
    policy.infer(session._blind("x"))
    assert (policy.doing, policy.attempts) != ("nothing", 0)
    policy.reset()
    assert (policy.doing, policy.attempts) == ("nothing", 0)


def test_the_truth_of_a_running_simulator(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_state, "folder", lambda: tmp_path)
    truth = expert.SharedTruth("udp_multicast:50001")
    with pytest.raises(ArmError, match="no simulated arm is running"):
        truth.setup()
    world = session.arm.world
    path = shared_state.path_for("udp_multicast:50001")
    identity = Identity("fruit_in_bowl", 1, session.scene.digest, world.model.nq, world.model.nv)
    writer = StateWriter(path, identity)
    try:
        writer.publish(1, world.time, world.data.qpos, world.data.qvel)
        assert truth.setup() == session.scene.setup
        assert world.director is not None
        told, true = truth.things(), world.director.things(world.data)
        for name, thing in true.items():
            np.testing.assert_allclose(told[name].position, thing.position, atol=1e-9)
            assert told[name].held == thing.held
    finally:
        writer.close()


def test_a_scene_without_a_task_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_state, "folder", lambda: tmp_path)
    writer = StateWriter(shared_state.path_for("udp_multicast:50002"), Identity("empty", 0, "ab" * 32, 8, 8))
    try:
        with pytest.raises(ConfigError, match="has no task"):
            expert.SharedTruth("udp_multicast:50002").setup()
    finally:
        writer.close()


def test_the_factory_makes_it_and_says_what_it_is() -> None:
    policy = open_policy(PolicyConfig(policy="expert"))
    assert isinstance(policy, expert.ExpertPolicy)
    about = describe(policy)
    assert about["checkpoint"] == "expert" and about["digest"]
