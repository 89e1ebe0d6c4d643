"""`reconvla demo`: the whole graph with a simulated arm and cameras for a while, recorded, measured and reported."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from reconvla_ros.cli import arguments, demo_attention, demo_episodes, demo_report, places
from reconvla_ros.cli.client import Client, connected, wait_until
from reconvla_ros.cli.monitor import Monitor
from reconvla_ros.cli.network import free_domain, free_udp_port
from reconvla_ros.cli.supervise import Supervisor
from reconvla_ros.errors import ReconVlaError, SetupError
from reconvla_ros.graph import CAMERAS, describe, resolve
from reconvla_ros.recording.episode import OUTCOMES

# Brought up by hand, so that the recorder is there before the first message and until after the last.
_GATED = ("driver", *CAMERAS, "policy")
JUDGED = "judged"
_LOAD = 600.0  # [s] for the checkpoint; 15 GB from a slow disk
_MB_PER_SECOND = 100  # [MB] two RGB-D streams at 640x480 and 30 Hz, raw


def _parse(words: list[str]) -> tuple[argparse.Namespace, dict[str, str]]:
    parser = arguments.parser("demo", "Run the whole graph with a simulated arm and cameras, and report.")
    parser.add_argument(
        "--headless", action="store_true", help="no window; without it rviz2 is opened where there is one"
    )
    parser.add_argument("--seconds", type=float, help="how long the task runs [30; 10 an episode with --record]")
    parser.add_argument("--instruction", default="", help="what the policy is asked to do [what the scene is about]")
    parser.add_argument("--json", type=Path, help="write the report here too")
    parser.add_argument(
        "--contact-sheet", type=Path, default=Path("demo_contact_sheet.png"), help="where the pictures go"
    )
    parser.add_argument("--attention", type=Path, help="write a picture of where the model looked here")
    parser.add_argument("--record", action="store_true", help="leave labelled episodes instead of one report")
    parser.add_argument("--episodes", type=int, default=3, help="how many with --record [3]")
    parser.add_argument(
        "--outcome", default=JUDGED, choices=(JUDGED, *OUTCOMES), help="their label [judged: as the simulator sees it]"
    )
    parser.add_argument("--keep-domain", action="store_true", help="use ROS_DOMAIN_ID as it is instead of a free one")
    options = parser.parse_args(words)
    if options.seconds is None:
        options.seconds = 10.0 if options.record else 30.0
    if not 1 <= options.episodes <= 1000:
        raise SetupError(f"--episodes: must be in 1..1000, got {options.episodes}")
    if not 2.0 <= options.seconds <= 3600.0:
        raise SetupError(f"--seconds: must be in 2..3600, got {options.seconds:g}")
    given = arguments.split(options.launch)
    if given.get("arm", "sim") != "sim":
        raise SetupError("the demo runs in simulation; for the real arm: reconvla up arm:=piper cameras:=realsense")
    return options, given


def _check_disk(folder: Path, seconds: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    need, free = seconds * _MB_PER_SECOND / 1000 + 1.0, shutil.disk_usage(folder).free / 1e9
    if free < need:
        raise SetupError(f"the bag needs up to {need:.1f} GB in {folder}, {free:.1f} GB are free; "
                         "remedy: --seconds N or record_folder:=/larger/disk")  # fmt: skip


def _say(text: str) -> None:
    print(f"demo: {text}", file=sys.stderr, flush=True)


def _bring_up(supervisor: Supervisor, client: Client, monitor: Monitor, specs: list[Any]) -> str:
    """Processes, then the recorder, then everything that speaks; returns the bag's folder."""
    from reconvla_ros.srv import RecordStart

    for spec in specs:
        if spec.name in _GATED:
            spec.parameters["autostart"] = False
    supervisor.start(specs)
    supervisor.wait_ready(90.0)  # all processes, the gated ones unconfigured
    for name in _GATED:
        client.transition(name, "configure")
    answer = client.call(
        RecordStart, "record/start", RecordStart.Request(instruction="demo", operator_name="demo"), answer=30.0
    )
    if not answer.accepted:
        raise SetupError(f"the recorder refused: {answer.message}")
    if not wait_until(monitor.all_matched, 20.0):
        _say("not every subscription was connected in time; the bag may lack the first messages")
    for name in _GATED:
        client.transition(name, "activate")
    wait_for_graph(monitor)
    return str(answer.path)


def wait_for_graph(monitor: Monitor) -> None:
    """Return when the policy is loaded and the arm waits at the ready position.

    Raises:
        SetupError: it did not come to that; says who was late.
    """
    if not wait_until(lambda: monitor.policy_state() not in ("", "LOADING", "WARMING_UP"), _LOAD):
        raise SetupError(f"the policy did not load in {_LOAD:g} s: {monitor.why_not_ready()}")
    if monitor.policy_state() == "FAULT":
        raise SetupError(f"the policy could not be loaded: {monitor.why_not_ready()}")
    if not wait_until(monitor.ready, 60.0):
        raise SetupError(f"the graph did not get ready in 60 s: {monitor.why_not_ready()}")


def begin_task(client: Client, monitor: Monitor, instruction: str, seconds: float) -> None:
    """Give the task; returns when the arm moves."""
    from reconvla_ros.srv import Task

    monitor.forget_motion()
    answers: list[Any] = []

    def accepted() -> bool:
        answers.append(client.call(Task, "task", Task.Request(instruction=instruction, timeout=seconds + 30.0)))
        return bool(answers[-1].accepted)

    # The task node may discover driver and policy a little later than we did.
    if not wait_until(accepted, 10.0):
        raise SetupError(f"the task was refused: {answers[-1].message}")
    answer = answers[-1]
    _say(f"task {answer.task_id}: {instruction!r} for {seconds:g} s")
    if not wait_until(monitor.moving, 60.0):
        raise SetupError(f"the arm did not move within 60 s: {monitor.why_not_moving()}")


def let_run(supervisor: Supervisor, client: Client, seconds: float, monitor: Monitor | None = None) -> None:
    """Wait, then cancel the task; with a `monitor` only until it is done. A process that ends on the way ends the demo."""
    from std_srvs.srv import Trigger

    begin = time.monotonic()
    shown = begin
    while time.monotonic() - begin < seconds:
        ended = supervisor.poll()
        if ended:
            raise SetupError("ended in the middle: " + "; ".join(supervisor.epitaph(r) for r in ended))
        if time.monotonic() - shown >= 10.0:
            shown = time.monotonic()
            _say(f"{time.monotonic() - begin:.0f} of {seconds:.0f} s")
        time.sleep(0.1)
        if monitor is not None and monitor.success:
            _say("done, as the simulator sees it")
            break
    client.call(Trigger, "task/cancel", Trigger.Request())


def _wind_down(client: Client) -> None:
    """Everyone who speaks falls silent, then the bag is closed: what was published is in it."""
    from reconvla_ros.srv import RecordStop

    for name in reversed(_GATED):
        client.transition(name, "deactivate")
    time.sleep(0.3)  # the last diagnostics, with the final counts, are under way
    answer = client.call(RecordStop, "record/stop", RecordStop.Request(outcome="unlabeled"), answer=120.0)
    if not answer.accepted:
        raise ReconVlaError(f"the recorder could not close the bag: {answer.message}")
    _say(f"bag closed: {answer.message}")


def _prepare(options: argparse.Namespace, given: dict[str, str]) -> dict[str, str]:
    """A DDS domain and a CAN port of the demo's own, so that it meddles with nothing else on this machine."""
    if not options.keep_domain:
        os.environ["ROS_DOMAIN_ID"] = str(free_domain())
        os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    given.setdefault("sim_port", str(free_udp_port()))
    given.setdefault("record_folder", str(places.state() / "demo"))
    given.setdefault("rviz", "false")
    values = resolve(given)
    options.given_instruction = bool(options.instruction)
    options.instruction = options.instruction or instruction_of(values["scene"], int(values["seed"]))
    _check_disk(Path(values["record_folder"]), options.seconds * (options.episodes if options.record else 1))
    return values


def instruction_of(scene: str, seed: int) -> str:
    """What a simulated scene is about; a scene without a task is asked for anything."""
    from reconvla_ros.sim.scenes import make

    setup = make(scene, seed).setup
    return setup.instruction if setup is not None else "put fruit in bowl"


def main(words: list[str]) -> int:
    """Exit status 0 when the graph ran, the arm moved and the bag is whole."""
    options, given = _parse(words)
    values = _prepare(options, given)
    if options.record:
        return demo_episodes.run(options, values, options.seconds)
    begin = time.monotonic()
    setup = demo_report.setup_seconds(places.state())
    with demo_report.timed(setup, "checkpoint"):
        kind = demo_report.make_sure_of_checkpoint(values)
    rviz = None
    if not options.headless and shutil.which("rviz2") and os.environ.get("DISPLAY"):
        from reconvla_ros.cli.up import start_rviz

        rviz = start_rviz()
    with Supervisor(places.state() / "run", quiet=True) as supervisor, connected("reconvla_demo") as client:
        monitor = Monitor(client)
        with demo_report.timed(setup, "graph"):
            bag = _bring_up(supervisor, client, monitor, describe(values))
        monitor.watch_processes({name: r.process.pid for name, r in supervisor.running.items()})
        with demo_report.timed(setup, "first_motion"):
            begin_task(client, monitor, options.instruction, options.seconds)
        setup["fresh_machine_to_moving_arm"] = round(sum(setup.values()), 1)
        let_run(supervisor, client, options.seconds)
        monitor.stop_watching()
        _wind_down(client)
    if rviz is not None:
        rviz.terminate()
    report = demo_report.build(monitor, Path(bag), options.contact_sheet, setup, kind, options.seconds)
    report["wall_s"] = round(time.monotonic() - begin, 1)
    if options.attention:
        demo_attention.write(Path(bag), options.attention, kind)
    demo_report.show(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
        _say(f"report: {options.json}")
    return 0 if demo_report.passed(report) else 1
