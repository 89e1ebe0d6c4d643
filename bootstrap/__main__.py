"""`./reconvla X`: make ready what is missing, then be `reconvla X`."""

from __future__ import annotations

import fcntl
import os
import sys

from bootstrap import environment, system, workspace
from bootstrap.paths import HOME, ROOT, Ros, SetupError, find_ros
from bootstrap.report import say, stage

USAGE = """usage: ./reconvla [--no-setup] COMMAND [arguments]

  demo      run the whole graph with a simulated arm and cameras, and report
  test      lint, types and all tests
  up        bring the graph up and keep it up (Ctrl-C ends it; the arm holds)
  task      give, watch or cancel a task of a running graph
  doctor    what is here, what is missing, and the remedy for each
  setup     make everything ready and stop there

`./reconvla COMMAND --help` says more, `./reconvla --help` after setup lists the rest.
--no-setup uses the interpreter in RECONVLA_PYTHON (or python3) as it is, where all that is needed is there already.
Settings: RECONVLA_ROS=auto|apt|wheels, RECONVLA_PYTHON, RECONVLA_HOME (where the environment lives), RECONVLA_VENV (share one).
"""


def make_ready(ros: Ros) -> None:
    """Whatever is missing; nothing when nothing is."""
    HOME.mkdir(parents=True, exist_ok=True)
    (HOME / "COLCON_IGNORE").touch()  # so that a workspace around this checkout does not look in here
    with (HOME / "setup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("== another setup of this checkout is running; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if system.missing():
            with stage("system", "system libraries"):
                system.ensure()
        if not environment.ready(ros):
            kind = f"apt ROS 2 {ros.distro}" if ros.from_apt else f"ROS 2 {ros.distro} from wheels"
            with stage("environment", f"Python environment ({kind}, torch, MuJoCo, piper_sdk ...)"):
                environment.make(ros)
        if not workspace.ready(ros):
            with stage("workspace", "ROS workspace (messages and nodes, colcon)"):
                workspace.build(ros)


def without_setup(arguments: list[str]) -> None:
    """Become the command under the interpreter given, with the sources as they lie."""
    python = os.environ.get("RECONVLA_PYTHON", "python3")
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
        "RECONVLA_ROOT": str(ROOT),
    }
    os.execvpe(python, [python, "-m", "reconvla_ros.cli.main", *arguments], env)


def main(arguments: list[str]) -> int:
    """Entry."""
    if arguments[:1] == ["--no-setup"]:
        without_setup(arguments[1:])
    verb = arguments[0] if arguments else ""
    if verb in ("", "-h", "--help", "help") and not (HOME / "setup.json").exists():
        print(USAGE)
        return 0
    try:
        ros = find_ros()
        if verb == "doctor" and "--arm" not in arguments:
            from bootstrap import doctor

            return doctor.main(ros, arguments[1:])
        if not ros.from_apt:
            system.check_platform()
        make_ready(ros)
    except SetupError as error:
        say(f"cannot set up: {error}")
        return 2
    except KeyboardInterrupt:
        say("interrupted; run the same command again to go on")
        return 130
    if verb == "setup":
        say(f"ready: {ros.venv}")
        return 0
    env = workspace.environment(ros)
    if verb == "test":
        from bootstrap import test

        return test.main(ros, env, arguments[1:])
    command = workspace.command_line(ros, arguments)
    os.execve(command[0], command, env)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
