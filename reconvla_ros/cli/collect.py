"""`reconvla collect`: demonstrations of the scripted expert, without the graph and faster than real time.

The driver core, the simulated arm and the rendered cameras are those of the graph; so is the format of the episodes.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.errors import ReconVlaError, SetupError
from reconvla_ros.recording.disk import free
from reconvla_ros.sim import tasks
from reconvla_ros.sim.session import SessionConfig

UNSEEN_SEEDS = 1_000_000  # seeds from here on are for evaluation: collect refuses them unless it is told otherwise


@dataclass(frozen=True)
class Job:
    """One episode to make."""

    scene: str
    seed: int
    folder: str
    config: SessionConfig
    depth: bool
    at: float
    spread: float = 0.0


@dataclass(frozen=True)
class Done:
    """One episode that was made: `error` instead of the rest when it could not be."""

    seed: int
    name: str = ""
    outcome: str = ""
    seconds: float = 0.0
    wall: float = 0.0
    megabytes: float = 0.0
    attempts: int = 0
    missing: tuple[str, ...] = ()
    error: str = ""


def make_one(job: Job) -> Done:
    """Make one episode; runs in a worker's process."""
    from reconvla_ros.nodes.collected import CollectedEpisode
    from reconvla_ros.policy.contract import Contract
    from reconvla_ros.policy.expert import ExpertPolicy
    from reconvla_ros.recording.episode import EpisodeStore
    from reconvla_ros.sim.scenes import make
    from reconvla_ros.sim.session import Session

    begin = time.monotonic()
    about = {"checkpoint": "expert", "kind": "unknown", "digest": Contract().digest, "device": "cpu", "dtype": ""}
    try:
        scene = make(job.scene, job.seed)
        setup = tasks.setup(job.scene, job.seed)
        at = datetime.datetime.fromtimestamp(job.at, datetime.timezone.utc)
        tags = ("sim", "expert", setup.task, *setup.variants)
        episode = CollectedEpisode(EpisodeStore(Path(job.folder)), setup.instruction, tags, at, about, job.depth)
        with Session(scene, job.config, driver_of(job)) as session:
            session.get_ready()
            director = session.arm.world.director
            assert director is not None
            policy = ExpertPolicy(lambda: setup, lambda: director.things(session.arm.world.data))
            episode.open(session)
            result = session.run(policy.infer)
            parameters = parameters_of(job, session.driver)
        note = "" if result.success else f"not done: {', '.join(result.missing)}"
        closed = episode.close(result.success, parameters, note)
    except ReconVlaError as error:
        return Done(job.seed, error=str(error))
    wall = time.monotonic() - begin
    return Done(
        job.seed, closed.name, closed.outcome, round(result.seconds, 2), round(wall, 2), round(closed.bytes / 1e6, 1),
        policy.attempts, result.missing,
    )  # fmt: skip


def driver_of(job: Job) -> DriverConfig:
    """Parameters of the driver; each joint begins up to `spread` [rad] off the ready position: more places are seen."""
    off = np.random.default_rng((15485863, job.seed)).uniform(-job.spread, job.spread, 6)
    ready = tuple(float(a + b) for a, b in zip(DriverConfig().ready_position, off, strict=True))
    return DriverConfig(dry_run=False, ready_position=ready)


def parameters_of(job: Job, driver: Any) -> dict[str, Any]:
    """What the nodes of the graph would have said of their parameters."""
    camera = {"rate": job.config.camera_rate, "width": job.config.width, "height": job.config.height, "source": "sim"}
    return {
        "simulator": {"scene": job.scene, "seed": job.seed},
        "camera_base": camera,
        "camera_wrist": camera,
        "driver": {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(driver).items()},
        "policy": {"policy": "expert", "rate": job.config.policy_rate},
    }


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "reconvla collect", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ", ".join(tasks.TASKS)
    variants = "; ".join(f"{name}: {words}" for name, words in tasks.VARIANTS.items())
    parser.add_argument("--task", default="fruit_in_bowl", help=f"{names}; variants joined with '+' ({variants})")
    parser.add_argument("--episodes", type=int, default=20, help="how many [20]")
    parser.add_argument("--workers", type=int, default=0, help="processes [0: one per core]")
    parser.add_argument("--seed", type=int, default=0, help="of the first episode; the next ones count up [0]")
    parser.add_argument("--folder", type=Path, default=Path("episodes"), help="where they go [episodes]")
    parser.add_argument("--size", default="320x240", help="of the images [320x240]")
    parser.add_argument("--rate", type=float, default=10.0, help="of the cameras [10 Hz]")
    parser.add_argument("--depth", action="store_true", help="depth images too")
    parser.add_argument("--latency", type=float, default=0.0, help="from a picture to its chunk [0 s]")
    parser.add_argument(
        "--spread", type=float, default=0.0, help="most that a joint is off the ready position at first [0 rad]"
    )
    parser.add_argument("--evaluation-seeds", action="store_true", help=f"allow seeds from {UNSEEN_SEEDS} on")
    parser.add_argument("--json", type=Path, help="write what was made here too")
    return parser.parse_args(words)


def jobs_of(options: argparse.Namespace) -> list[Job]:
    """The episodes that the arguments ask for.

    Raises:
        SetupError, ConfigError: an argument out of its bounds, an unknown task, no room on the disk.
    """
    tasks.parse(options.task)
    if not 1 <= options.episodes <= 100_000:
        raise SetupError(f"--episodes: must be in 1..100000, got {options.episodes}")
    if not 0 <= options.workers <= 256:
        raise SetupError(f"--workers: must be in 0..256, got {options.workers}")
    last = options.seed + options.episodes
    if options.seed < 0 or (last > UNSEEN_SEEDS and not options.evaluation_seeds):
        raise SetupError(f"--seed: must be in 0..{UNSEEN_SEEDS - options.episodes}, got {options.seed}; "
                         "the seeds above are for evaluation (--evaluation-seeds)")  # fmt: skip
    width, _, height = options.size.partition("x")
    if not (width.isdigit() and height.isdigit() and 16 <= int(width) <= 1920 and 16 <= int(height) <= 1080):
        raise SetupError(f"--size: must be WIDTHxHEIGHT, 16x16..1920x1080, got {options.size!r}")
    if not 0.0 <= options.spread <= 0.3:
        raise SetupError(f"--spread: must be in 0..0.3 rad, got {options.spread:g}")
    config = SessionConfig(int(width), int(height), options.rate, latency=options.latency)
    seconds = tasks.setup(options.task, options.seed).timeout / 2
    need = options.episodes * seconds * options.rate * config.width * config.height * (10 if options.depth else 6)
    options.folder.mkdir(parents=True, exist_ok=True)
    if free(options.folder) < need + 1e9:
        raise SetupError(f"{options.episodes} episodes take up to {need / 1e9:.1f} GB in {options.folder}, "
                         f"{free(options.folder) / 1e9:.1f} GB are free; remedy: --size, --episodes, --folder")  # fmt: skip
    now, folder = time.time(), str(options.folder.absolute())
    # A second apart, so that names differ and sort as the seeds do.
    numbers = range(options.episodes)
    return [
        Job(options.task, options.seed + k, folder, config, options.depth, now + k, options.spread) for k in numbers
    ]


def made(jobs: list[Job], workers: int) -> Iterator[Done]:
    """Make them, in processes of their own when there is more than one worker; as they are done."""
    if workers == 1:
        yield from map(make_one, jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures: list[Future[Done]] = [pool.submit(make_one, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _show(done: Done, count: int, total: int, begin: float) -> None:
    spent = time.monotonic() - begin
    left = spent / count * (total - count)
    what = done.error or f"{done.outcome}, {done.seconds:.1f} s in {done.wall:.1f} s, {done.megabytes:.0f} MB"
    print(f"collect: {count} of {total}, seed {done.seed}: {what}; {left:.0f} s left", file=sys.stderr, flush=True)


def main(words: list[str]) -> int:
    """Exit status 0 when every episode was made; those in which the expert failed are labelled failure."""
    options = _parse(words)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LP_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    jobs, begin = jobs_of(options), time.monotonic()
    workers = min(options.workers or os.cpu_count() or 1, len(jobs))
    rows: list[Done] = []
    for done in made(jobs, workers):
        rows.append(done)
        _show(done, len(rows), len(jobs), begin)
    rows.sort(key=lambda row: row.seed)
    wall, seconds = time.monotonic() - begin, sum(row.seconds for row in rows)
    success, size = sum(row.outcome == "success" for row in rows), sum(row.megabytes for row in rows)
    print(f"collect: {success} of {len(rows)} succeeded; {seconds:.0f} s of demonstrations in {wall:.0f} s "
          f"({seconds / wall:.1f} times real time, {workers} workers), {size:.0f} MB in {options.folder}")  # fmt: skip
    if options.json:
        report = {"task": options.task, "episodes": [asdict(row) for row in rows], "successes": success,
                  "seconds": round(seconds, 1), "wall_s": round(wall, 1), "workers": workers}  # fmt: skip
        options.json.write_text(json.dumps(report, indent=1))
    return 0 if not any(row.error for row in rows) else 1
