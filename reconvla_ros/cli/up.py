"""`reconvla up`: the graph of `bringup.launch.py` on machines without `ros2 launch`."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time

from reconvla_ros.cli import arguments, places
from reconvla_ros.cli.supervise import Running, Supervisor
from reconvla_ros.errors import SetupError
from reconvla_ros.graph import describe, resolve

HALVES = ("robot", "policy")
# What the end of a node means for the arm and for the user.
_MEANING = {
    "policy": "the arm holds where it is; the task ends as FAILED or times out",
    "driver": "the arm holds its last target, enabled (it has no brakes: power is never cut); end this and start again",
    "task": "tasks can neither be given nor end; the driver takes no chunk of a task it does not know",
    "teleop": "the arm holds; if it was killed, the lease is still with teleop: start it again, or arm/source none",
    "simulator": "the simulated arm is gone; the driver reports it and holds",
}


def report_end(supervisor: Supervisor, run: Running) -> None:
    """Say that a node ended, and what that means."""
    meaning = _MEANING.get(run.spec.name, "the rest of the graph goes on without it")
    print(f"reconvla up: {supervisor.epitaph(run)}\n  -> {meaning}", file=sys.stderr, flush=True)


def start_rviz() -> subprocess.Popen[bytes]:
    """rviz2 with our display config.

    Raises:
        SetupError: rviz2 is not on this machine.
    """
    program = shutil.which("rviz2")
    if program is None:
        raise SetupError(
            "rviz:=true, but rviz2 is not installed; remedy: apt install ros-$ROS_DISTRO-rviz2, or rviz:=false "
            "(Foxglove opens the same topics)"
        )
    return subprocess.Popen([program, "-d", str(places.share() / "config" / "reconvla.rviz")], start_new_session=True)


def _what_now(half: str | None, values: dict[str, str], seconds: float) -> str:
    """What is up after so many seconds, and what to do next."""
    where = f" --namespace {values['namespace']}" if values["namespace"] else ""
    tasks = f'  ./reconvla task "put fruit in bowl"{where}     ./reconvla task --cancel{where}'
    if half is None:
        return f"the graph is up after {seconds:.1f} s. In another terminal:\n{tasks}"
    other = next(h for h in HALVES if h != half)
    return (
        f"the {half} half is up after {seconds:.1f} s. On the other computer, with the same ROS_DOMAIN_ID: "
        f"./reconvla up --half {other} ...; then, on either:\n  ./reconvla doctor     (shows the clock offset)\n{tasks}"
    )


def main(words: list[str]) -> int:
    """Start every node, wait until they are active, stay until Ctrl-C."""
    parser = arguments.parser("up", "Bring the graph up and keep it up; Ctrl-C ends it, and the arm holds, enabled.")
    parser.add_argument(
        "--half", choices=HALVES, help="only what runs on one of two computers (docs/how-to/two-computers.md)"
    )
    options = parser.parse_intermixed_args(words)
    values = resolve(arguments.split(options.launch))
    specs = [spec for spec in describe(values) if options.half in (None, spec.half)]
    begin = time.monotonic()
    stopping = False

    def on_signal(number: int, frame: object) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    rviz = start_rviz() if values["rviz"] == "true" and options.half != "policy" else None
    with Supervisor(places.state() / "run", namespace=values["namespace"]) as supervisor:
        supervisor.start(specs)
        ready = False
        while not stopping:
            for run in supervisor.poll():
                if not ready:
                    raise SetupError(f"{supervisor.epitaph(run)}")
                report_end(supervisor, run)
            if all(r.reported for r in supervisor.running.values()):
                print("reconvla up: every node has ended", file=sys.stderr)
                return 1
            if not ready and all(r.ready for r in supervisor.running.values()):
                ready = True
                print(
                    f"reconvla up: {_what_now(options.half, values, time.monotonic() - begin)}",
                    file=sys.stderr,
                    flush=True,
                )
            time.sleep(0.1)
        print("reconvla up: stopping; the arm holds", file=sys.stderr, flush=True)
    if rviz is not None:
        rviz.terminate()
    return 0
