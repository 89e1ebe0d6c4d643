"""`reconvla teleop`: steer the arm of a running graph by hand, and record it."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from typing import Any

from reconvla_ros.cli import places
from reconvla_ros.errors import TeleopError
from reconvla_ros.teleop.drag import WARNING
from reconvla_ros.teleop.keyboard import HELP
from reconvla_ros.teleop.settings import DEVICES, SPEEDS
from reconvla_ros.teleop.terminal import Terminal

_REFRESH = 0.1  # [s]
_WIDTH = 160  # of a terminal that does not know


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "reconvla teleop",
        description="Steer the arm of a running graph by hand. Every command passes the driver's filter.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", default="keyboard", choices=DEVICES, help="drag: led by hand, records only")
    parser.add_argument("--speed", default=None, choices=tuple(SPEEDS), help="default: as config/teleop.yaml says")
    parser.add_argument("--instruction", default="", help="what is demonstrated; empty = that of the running task")
    parser.add_argument("--operator", default="", help="who demonstrates")
    parser.add_argument("--gamepad", help="joystick file, e.g. /dev/input/js0")
    parser.add_argument("--leader-port", help="CAN interface of the leader arm; udp:PORT for a simulated one")
    parser.add_argument("--leader-mode", choices=("relative", "absolute"))
    parser.add_argument("--config", help="parameter file; default config/teleop.yaml")
    parser.add_argument("--namespace", default="", help="of the graph")
    return parser


def node_arguments(options: argparse.Namespace) -> list[str]:
    """The arguments of the node, as ROS takes them.

    Raises:
        TeleopError: a leader port of another form.
    """
    given = {"device": options.device, "speed": options.speed, "instruction": options.instruction,
             "operator": options.operator, "gamepad": options.gamepad, "leader_mode": options.leader_mode}  # fmt: skip
    port = options.leader_port
    if port and port.startswith("udp:"):
        number = port.removeprefix("udp:")
        if not number.isdigit():
            raise TeleopError(f"--leader-port: expected can1 or udp:43114, got {port!r}")
        given |= {"leader_interface": "udp_multicast"}
    elif port:
        given |= {"leader_interface": "socketcan", "leader_port": port}
    words = [
        "reconvla",
        "--ros-args",
        "--params-file",
        options.config or str(places.share() / "config" / "teleop.yaml"),
    ]
    words += ["--log-level", "warn", "-p", "wait:=0.0"]
    if options.namespace:
        words += ["-r", f"__ns:=/{options.namespace.strip('/')}"]
    for name, value in given.items():
        if value:
            # Quoted: ROS reads parameter values as YAML, and an instruction may hold anything.
            text = value.replace("\\", "\\\\").replace('"', '\\"')
            words += ["-p", f'{name}:="{text}"']
    if port and port.startswith("udp:"):
        words += ["-p", f"leader_udp_port:={port.removeprefix('udp:')}"]
    return words


def status_lines(node: Any, now_ns: int, width: int) -> tuple[str, str]:
    """Two lines: device, lease, speed, driver, recording; and why something does not move, and what was answered."""
    ear, order = node.ear, node.order
    recording = f"REC {ear.recorded:.0f} s" if ear.recording else "not recording"
    facts = (node.config.device, f"lease {ear.holder}", node.session.speed, ear.state, recording)
    refusal = ear.refusal(now_ns)
    warning = f"recorder: {ear.record_warning}" if ear.record_warning else ""
    words = (f"limited: {refusal}" if refusal else order.note, warning, node.message)
    return " | ".join(facts)[: width - 1], " | ".join(word for word in words if word)[: width - 1]


class _Screen:
    """Redraws the two lines until closed."""

    def __init__(self) -> None:
        self.node: Any = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._done.wait(_REFRESH):
            if self.node is not None:
                columns = os.get_terminal_size().columns if sys.stdout.isatty() else 0
                facts, words = status_lines(self.node, time.monotonic_ns(), columns or _WIDTH)
                print(f"\r\x1b[K{facts}\n\x1b[K{words}\r\x1b[A", end="", flush=True)

    def close(self) -> None:
        self._done.set()
        self._thread.join()
        print("\n", flush=True)


def main(words: list[str]) -> int:
    """0 = ended by the person, 2 = something the user can fix."""
    options = _parser().parse_args(words)
    arguments = node_arguments(options)
    os.environ.update(places.middleware_environment())
    from reconvla_ros.nodes.process import run
    from reconvla_ros.nodes.teleop_node import TeleopNode

    terminal = Terminal() if options.device == "keyboard" or sys.stdin.isatty() else None
    if terminal is not None:
        terminal.open()
    print(HELP)
    if options.device == "drag":
        print(WARNING)
    screen = _Screen()

    def factory() -> TeleopNode:
        node = TeleopNode(terminal)
        screen.node = node
        return node

    try:
        return run(factory, arguments)
    finally:
        screen.close()
        if terminal is not None:
            terminal.close()
