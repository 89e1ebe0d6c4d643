"""The live half of `reconvla bench record`: the recorder beside the running graph, and the recorder killed at random."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from reconvla_ros.cli import places
from reconvla_ros.cli.client import Client, connected, wait_until
from reconvla_ros.cli.demo import wait_for_graph
from reconvla_ros.cli.monitor import Monitor
from reconvla_ros.cli.network import free_domain, free_udp_port
from reconvla_ros.cli.supervise import Supervisor
from reconvla_ros.errors import RecordingError, SetupError
from reconvla_ros.graph import CAMERAS, describe
from reconvla_ros.recording.episode import EpisodeStore, read_sidecar
from reconvla_ros.recording.reading import read
from reconvla_ros.recording.repair import bag_file, recover_episode

_KILL_WITHIN = 2.5  # [s] after the streams began to be written
_FLOWING = 2_000_000  # [bytes] in the bag: more than a header, a fiftieth of a second of the streams
_EARLY_WITHIN = 0.5  # [s] after the episode began
_CLOSING = 5  # every fifth run is killed while it closes the bag, and every fifth before the streams are written
_CLOSE_WITHIN = 0.6  # [s] after it was told to end


def _own_domain() -> None:
    os.environ["ROS_DOMAIN_ID"] = str(free_domain())
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ.update(places.middleware_environment())


@contextlib.contextmanager
def publishers(rate: float, joints: bool) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two cameras of noise as processes; with `joints` the first one publishes joint states too."""
    running = []
    try:
        for camera in CAMERAS:
            words = [sys.executable, "-m", "reconvla_ros.bench.record_publisher", camera, str(rate)]
            words += ["joints"] if joints and camera == CAMERAS[0] else []
            # Not from a checkout: `-m` would take the package there, which has no generated messages.
            running.append(subprocess.Popen(words, cwd="/"))
        yield running
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(10)


def _record(client: Client, seconds: float) -> None:
    from reconvla_ros.srv import RecordStart, RecordStop

    answer = client.call(RecordStart, "record/start", RecordStart.Request(instruction="bench"), answer=30.0)
    if not answer.accepted:
        raise SetupError(f"the recorder refused: {answer.message}")
    time.sleep(seconds)
    done = client.call(RecordStop, "record/stop", RecordStop.Request(), answer=120.0)
    if not done.accepted:
        raise RecordingError(done.message)


def beside_graph(root: Path, seconds: float, policy: str, say: Callable[[str], None]) -> dict[str, Any]:
    """The whole graph with two raw RGB-D streams at 30 Hz and a task under way, recorded for `seconds` [s].

    The cameras are noise at exactly 30 Hz: rendered ones do not reach it beside everything else on two cores.

    Raises:
        SetupError: the graph does not come up, or refuses the task.
    """
    from reconvla_ros.srv import Task

    _own_domain()
    arguments = {"sim_port": str(free_udp_port()), "policy": policy, "record_folder": str(root)}
    specs = [spec for spec in describe(arguments) if spec.name not in CAMERAS]
    with contextlib.ExitStack() as stack:
        stack.enter_context(publishers(30.0, False))
        supervisor = stack.enter_context(Supervisor(places.state() / "bench-record", quiet=True))
        client = stack.enter_context(connected("reconvla_bench"))
        monitor = Monitor(client)
        supervisor.start(specs)
        supervisor.wait_ready(120.0)
        wait_for_graph(monitor)
        answer = client.call(Task, "task", Task.Request(instruction="bench", timeout=float(seconds + 60)))
        if not answer.accepted or not wait_until(monitor.moving, 60.0):
            raise SetupError(f"the arm did not move ({answer.message}): {monitor.why_not_moving()}")
        monitor.watch_processes({name: run.process.pid for name, run in supervisor.running.items()})
        _record(client, seconds)
        monitor.stop_watching()
    store = EpisodeStore(root)
    name = store.names()[-1]
    episode = read_sidecar(root / name)
    shutil.rmtree(root / name)
    images = {topic: count for topic, count in episode.counts.items() if topic.endswith("image_raw")}
    lost, taken = sum(episode.dropped.values()), sum(episode.counts.values())
    result = {
        "mb_s": round(episode.bytes / 1e6 / max(episode.duration, 1e-3), 1), "dropped": lost,
        "dropped_percent": round(100.0 * lost / max(1, lost + taken), 4), "seconds": round(episode.duration, 1),
        "messages": taken, "images_hz": {t: round(n / max(episode.duration, 1e-3), 2) for t, n in images.items()},
        "cpu_percent": dict(monitor.cpu_percent), "policy": policy, "flags": list(episode.quality.get("flags", ())),
        "lost_by_topic": dict(episode.dropped),
    }  # fmt: skip
    say(f"beside the graph ({policy}): {result['mb_s']} MB/s for {result['seconds']} s, {lost} of {lost + taken} lost")
    return result


def _written(folder: Path) -> int:
    """Size of an episode's files [bytes]."""
    return sum(path.stat().st_size for path in folder.glob("*.mcap*"))


def _kill_once(root: Path, run: int, luck: random.Random) -> tuple[float, bool, str]:
    """Record, kill, recover, read: (seconds lost, readable, when it was killed)."""
    arguments = {"record": "true", "record_folder": str(root)}
    specs = [spec for spec in describe(arguments) if spec.name == "recorder"]
    with Supervisor(places.state() / "bench-kill", quiet=True) as supervisor:
        supervisor.start(specs)
        process = supervisor.running["recorder"].process
        store = EpisodeStore(root)
        if not wait_until(lambda: bool(store.names()) or process.poll() is not None, 30.0) or not store.names():
            raise SetupError(f"the recorder did not begin: {supervisor.epitaph(supervisor.running['recorder'])}")
        # What is lost counts from where there is something to lose: before, the recorder finds its publishers.
        early = run % _CLOSING == 1
        if not early and not wait_until(lambda: _written(root / store.names()[-1]) > _FLOWING, 30.0):
            raise SetupError("no stream was written within 30 s")
        began = time.time()
        time.sleep(luck.uniform(0.0, _EARLY_WITHIN if early else _KILL_WITHIN))
        until, when = time.time(), f"{time.time() - began:.2f} s after the {'begin' if early else 'streams'}"
        if run % _CLOSING == _CLOSING - 1:
            process.send_signal(signal.SIGINT)
            time.sleep(luck.uniform(0.0, _CLOSE_WITHIN))
            when += f", {time.time() - until:.2f} s into closing"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    name = store.names()[-1]
    folder = root / name
    try:
        recover_episode(store, name)
        contents = read(bag_file(folder))
        last = until if early else contents.end / 1e9 if contents.decoded else began
        if contents.broken:
            when += f": {dict(contents.broken)} do not decode: {'; '.join(contents.examples)}"
        return until - last, not contents.broken, when
    except RecordingError as error:
        return until - began, False, f"{when}: {error}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def kills(root: Path, runs: int, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """The recorder node killed (SIGKILL) at `runs` random moments of recording 92 MB/s, some while it closes the bag."""
    _own_domain()
    luck, lost, unreadable = random.Random(seed), list[float](), list[str]()
    with publishers(30.0, True) as sources:
        for run in range(runs):
            if any(source.poll() is not None for source in sources):
                raise SetupError("a publisher of the bench ended")
            seconds, readable, when = _kill_once(root, run, luck)
            lost.append(max(0.0, seconds))
            if not readable:
                unreadable.append(when)
            say(f"kill {run + 1:>3} {when:<48} lost {max(0.0, seconds):.3f} s{'' if readable else ' UNREADABLE'}")
    return {
        "runs": runs, "unreadable": len(unreadable), "worst_lost_s": round(max(lost), 3),
        "median_lost_s": round(sorted(lost)[len(lost) // 2], 3), "examples": unreadable[:3],
    }  # fmt: skip
