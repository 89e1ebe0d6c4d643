"""The expert through the graph, recorded by the recorder, and the same start without the graph: the same samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import Graph

from reconvla_ros.cli import collect
from reconvla_ros.recording.episode import read_sidecar
from reconvla_ros.recording.reading import pictures, read
from reconvla_ros.recording.repair import bag_file
from reconvla_ros.recording.verify import verify
from reconvla_ros.sim.session import SessionConfig
from reconvla_ros.types import Float

pytestmark = [pytest.mark.graph, pytest.mark.timeout(240)]
SCENE, SEED = "fruit_in_bowl", 4
# How far the two roads may be apart. In the graph chunks come about 0.05 s after their pictures, so its arm follows the same
# way with other corners, and a little slower where it lags. Measured on a busy machine of two cores: 0.008 m, 0.011 m after the
# first second, 0.06 rad, 1.0 s. Where the host stands still for a while a chunk ends early and the arm waits: so the bounds
# hold for nearly all samples, and twice as wide for all. Where it is overloaded by far the expert begins anew, and this fails.
WAY, FUTURE, TURN = 0.012, 0.020, 0.12  # [m] TCP off the other road's way, [m] target half a second ahead, [rad]
NEARLY_ALL = 0.9
GRIP_TIME = 1.5  # [s] between the same change of the gripper on both roads
SET_OFF = 1.0  # [s]
HORIZON_NS = 500_000_000


@dataclass
class Road:
    """One episode as samples at 10 Hz: time [s] since the first request, TCP (N, 3), where the target is 0.5 s later (N, 3)."""

    time: Float
    tcp: Float
    target: Float
    turn: Float
    opens: Float
    grips: list[float]
    contents: Any


def road(folder: Path) -> Road:
    contents = read(bag_file(folder))
    traces = [t for t in contents.traces if t.source == "policy" and np.isfinite(t.filtered).all()]
    begin = traces[0].at
    at = np.array([t.at for t in traces])
    stamps = np.array([stamp for stamp, _ in contents.poses])
    poses = np.array([pose for _, pose in contents.poses])
    ticks = np.arange(begin, at[-1] - HORIZON_NS, 100_000_000)
    near = [int(np.argmin(np.abs(stamps - tick))) for tick in ticks]
    ahead = [traces[int(np.searchsorted(at, tick + HORIZON_NS, "right")) - 1] for tick in ticks]
    opens = np.array([t.filtered_gripper > 0.035 for t in ahead])
    changes = np.flatnonzero(np.diff(opens.astype(int)))
    time = (ticks - begin) / 1e9
    return Road(
        time, poses[near, :3], np.array([t.filtered[:3] for t in ahead]), np.array([t.filtered[3:] for t in ahead]),
        opens, [float(time[k]) for k in changes], contents,
    )  # fmt: skip


def apart(a: Road, b: Road) -> Float:
    """For each sample of `a` the nearest of `b` at about that time, (N, 3): TCP [m], target ahead [m], its turn [rad]."""
    rows = []
    for k, place in enumerate(a.tcp):
        near = np.flatnonzero(np.abs(b.time - a.time[k]) < 1.2)
        # In the graph the first chunk comes at its second step: what is done counts once the arm is under way.
        if a.time[k] < SET_OFF or len(near) == 0:
            continue
        off = np.linalg.norm(b.tcp[near] - place, axis=1)
        target = np.linalg.norm((b.target[near] - b.tcp[near]) - (a.target[k] - place), axis=1)
        turn = 2 * np.arccos(np.clip(np.abs(b.turn[near] @ a.turn[k]), 0.0, 1.0))
        # Of the places alike (others are those before and after) the one with the most similar aim.
        worst = np.maximum(target / FUTURE, turn / TURN)
        worst[off > max(WAY, off.min())] = np.inf
        best = int(np.argmin(worst))
        rows.append((off[best], target[best], turn[best]))
    return np.array(rows)


def through_the_graph(graph: Graph) -> Path:
    from reconvla_ros.srv import RecordStart, RecordStop, Task
    from std_msgs.msg import Bool

    done: list[bool] = []
    graph.start(policy="expert", scene=SCENE, seed=str(SEED))
    graph.client.listen(Bool, "sim/success", lambda message: done.append(message.data))
    graph.wait(lambda: graph.ear.joints()[1] > 0.5 and graph.ear.still(0.2), "the arm is where tasks begin")
    graph.wait(graph.monitor.waiting, "arm holds and policy waits", 60.0)
    start = RecordStart.Request(instruction="put fruit in bowl", operator_name="expert", tags=["sim"])
    assert graph.client.call(RecordStart, "record/start", start, answer=30.0).accepted
    request = Task.Request(instruction="put fruit in bowl", timeout=60.0)
    graph.wait(lambda: graph.client.call(Task, "task", request).accepted, "a task is accepted")
    assert not done[-1]
    graph.wait(lambda: done[-1], "the fruit is in the bowl", 45.0)
    answer = graph.client.call(RecordStop, "record/stop", RecordStop.Request(outcome="success"), answer=60.0)
    assert answer.accepted, answer.message
    return Path(answer.path)


def test_both_roads_give_the_same_samples(graph: Graph, tmp_path: Path) -> None:
    live = through_the_graph(graph)
    graph.close()
    job = collect.Job(SCENE, SEED, str(tmp_path / "made"), SessionConfig(640, 480, 10.0), True, 1_700_000_000.0)
    made = collect.make_one(job)
    assert (made.error, made.outcome) == ("", "success")
    folder = tmp_path / "made" / made.name
    assert verify(live).ok and verify(folder).ok

    one, other = road(live), road(folder)
    # What is in them: the same streams of the same types, the same arm, cameras and contract.
    kept = {name for name, count in other.contents.counts.items() if count}
    assert kept <= {name for name, count in one.contents.counts.items() if count}
    assert all(other.contents.types[name] == one.contents.types[name] for name in kept)
    sides = [read_sidecar(f) for f in (live, folder)]
    assert sides[0].contract_digest == sides[1].contract_digest != ""
    assert sides[0].calibration == sides[1].calibration
    # What was done: at each sample of one road the other was at the same place with the same target half a second ahead.
    for a, b in ((one, other), (other, one)):
        way, future, turn = apart(a, b).T
        assert len(way) > 40  # of a task that takes 10 s or so
        for off, bound in ((way, WAY), (future, FUTURE), (turn, TURN)):
            assert np.quantile(off, NEARLY_ALL) < bound and off.max() < 2 * bound, (
                bound,
                np.flatnonzero(off > bound),
                off.max(),
            )
    assert len(one.grips) == len(other.grips) >= 2
    assert np.abs(np.array(one.grips) - other.grips).max() < GRIP_TIME
    # What was seen: the first pictures are of the same place, within the rounding of a joint.
    for camera in ("camera_base", "camera_wrist"):
        first = [pictures(bag_file(f), f"{camera}/color/image_raw", 1)[0][1].astype(int) for f in (live, folder)]
        differs = np.abs(first[0] - first[1]).max(axis=2) > 24
        assert differs.mean() < 0.01, (camera, differs.mean())
