from __future__ import annotations

import numpy as np
import pytest

from reconvla_ros.task.chunk_player import ChunkPlayer, Event
from reconvla_ros.types import ActionChunk, Pose

MS = 1_000_000
UP = np.array([0.0, 0.0, 0.0, 1.0])
MONO, ROS = 7_000 * MS, 1_700_000_000_000 * MS


def chunk(stamp_ns: int = ROS, sequence: int = 0, task_id: str = "t", steps: int = 5) -> ActionChunk:
    positions = np.array([[0.3 + 0.01 * k, 0.0, 0.2] for k in range(steps)])
    anchor = Pose(np.array([0.3, 0.0, 0.2]), UP)
    return ActionChunk(stamp_ns, task_id, sequence, 0.1, anchor, positions, np.tile(UP, (steps, 1)), np.zeros(steps))


@pytest.fixture
def player() -> ChunkPlayer:
    player = ChunkPlayer(max_age=1.0)
    player.set_task("t")
    return player


def test_steps_follow_the_clock_and_the_end_is_one_event(player: ChunkPlayer) -> None:
    assert player.due(MONO).event is Event.EMPTY
    assert player.accept(chunk(), MONO, ROS).ok
    seen = [player.due(MONO + t * MS) for t in (0, 99, 100, 250, 499)]
    assert [d.step for d in seen] == [0, 0, 1, 2, 4]
    assert player.due(MONO + 500 * MS).event is Event.ENDED
    assert player.due(MONO + 500 * MS).event is Event.EMPTY


def test_late_steps_are_dropped_by_the_age_of_the_observation(player: ChunkPlayer) -> None:
    accepted = player.accept(chunk(), MONO, ROS + 230 * MS)
    assert accepted.ok and accepted.dropped == 2
    assert player.due(MONO).step == 2
    assert player.due(MONO + 269 * MS).step == 4
    assert player.due(MONO + 270 * MS).event is Event.ENDED


def test_a_chunk_whose_steps_are_all_over_is_refused(player: ChunkPlayer) -> None:
    accepted = player.accept(chunk(), MONO, ROS + 500 * MS)
    assert not accepted.ok and accepted.reason == "chunk_late"
    assert player.due(MONO).event is Event.EMPTY


@pytest.mark.parametrize(
    ("given", "now_ros", "reason"),
    [
        (chunk(task_id="old"), ROS, "task_id"),
        (chunk(stamp_ns=ROS + 60 * MS), ROS, "future"),
        (chunk(steps=50), ROS + 1001 * MS, "chunk_age"),
    ],
)
def test_refusals(player: ChunkPlayer, given: ActionChunk, now_ros: int, reason: str) -> None:
    accepted = player.accept(given, MONO, now_ros)
    assert (accepted.ok, accepted.reason) == (False, reason) and accepted.detail


def test_without_a_task_nothing_is_taken() -> None:
    assert ChunkPlayer(1.0).accept(chunk(), MONO, ROS).reason == "no_task"


def test_older_chunks_do_not_replace_newer(player: ChunkPlayer) -> None:
    assert player.accept(chunk(ROS, 1), MONO, ROS).ok
    assert player.accept(chunk(ROS - 10 * MS, 2), MONO, ROS).reason == "out_of_order"
    assert player.accept(chunk(ROS, 1), MONO, ROS).reason == "out_of_order"
    assert player.accept(chunk(ROS + 10 * MS, 0), MONO, ROS + 10 * MS).ok  # a restarted policy counts from 0


def test_a_cancel_forgets_the_chunk_and_refuses_its_successors(player: ChunkPlayer) -> None:
    player.accept(chunk(), MONO, ROS)
    assert player.set_task(None)
    assert player.due(MONO).event is Event.EMPTY
    assert player.accept(chunk(ROS + 1, 1), MONO, ROS).reason == "no_task"
    player.set_task("t2")
    assert player.accept(chunk(ROS + 1, 2), MONO, ROS).reason == "task_id"


def test_a_jump_of_the_wall_clock_does_not_move_the_player(player: ChunkPlayer) -> None:
    player.accept(chunk(), MONO, ROS)  # ROS time plays no part after this
    assert player.due(MONO + 150 * MS).step == 1
