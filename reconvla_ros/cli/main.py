"""`reconvla COMMAND`: one module a command, imported when it is asked for."""

from __future__ import annotations

import importlib
import sys

from reconvla_ros.errors import ReconVlaError, choices

# command -> (module, one line of help). A module has `main(arguments) -> exit status`.
COMMANDS = {
    "demo": ("reconvla_ros.cli.demo", "run the whole graph with a simulated arm and cameras, and report"),
    "up": ("reconvla_ros.cli.up", "bring the graph up and keep it up"),
    "task": ("reconvla_ros.cli.task", "give, watch or cancel a task of a running graph"),
    "record": ("reconvla_ros.cli.record", "start, stop, discard or relabel an episode of a running graph"),
    "episodes": ("reconvla_ros.cli.episodes", "list, show, relabel, delete, verify, recover, replay what was recorded"),
    "collect": (
        "reconvla_ros.cli.collect",
        "make demonstrations of the scripted expert in simulation, faster than real time",
    ),
    "convert": ("reconvla_ros.cli.convert", "episodes to LeRobot v3 or to ReconVLA training samples"),
    "import": ("reconvla_ros.cli.import_data", "LeRobot v3 or BridgeData to ReconVLA training samples"),
    "teleop": ("reconvla_ros.cli.teleop", "steer the arm by hand: keyboard, gamepad, leader arm; record it"),
    "calibrate": ("reconvla_ros.cli.calibrate", "find where the cameras sit, or check that they still sit there"),
    "skew": ("reconvla_ros.cli.skew", "how far the stamps of the two cameras are apart for one instant"),
    "make-checkpoint": ("reconvla_ros.cli.make_checkpoint", "write a random checkpoint in the original layout"),
    "finetune": ("reconvla_ros.cli.finetune", "train a checkpoint on samples, with the reconstruction loss or without"),
    "reconstruct": ("reconvla_ros.cli.reconstruct", "original, target and rebuilt gaze regions as a picture"),
    "export": ("reconvla_ros.cli.export", "strip a training checkpoint to what inference needs"),
    "replay-filter": (
        "reconvla_ros.cli.replay_filter",
        "what the filter would make of a recorded episode; no arm needed",
    ),
    "bench": (
        "reconvla_ros.cli.bench",
        "measurements with a verdict: soak, driver, faults, camera, policy, record, convert, link, train",
    ),
    "doctor": ("reconvla_ros.cli.doctor", "what is here, what is missing, and the remedy for each"),
}


def usage() -> str:
    """The list of commands."""
    rows = "\n".join(f"  {name:<16} {text}" for name, (_, text) in COMMANDS.items())
    return f"usage: reconvla COMMAND [arguments]\n\n{rows}\n\n`reconvla COMMAND --help` says more."


def main(arguments: list[str] | None = None) -> int:
    """Entry of `reconvla`; errors of ours are one line, exit status 2."""
    words = sys.argv[1:] if arguments is None else arguments
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if words[0] not in COMMANDS:
        print(f"reconvla: unknown command {choices(words[0], COMMANDS)}", file=sys.stderr)
        return 2
    try:
        module = importlib.import_module(COMMANDS[words[0]][0])
        return int(module.main(words[1:]))
    except ReconVlaError as error:
        print(f"reconvla {words[0]}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
