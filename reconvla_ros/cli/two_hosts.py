"""The graph in two halves on two made-up computers (bench/link.py), as `reconvla up --half` starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from reconvla_ros.bench.link import Link
from reconvla_ros.cli.client import Client, wait_until
from reconvla_ros.cli.monitor import Monitor
from reconvla_ros.errors import SetupError

DOMAIN = "57"  # nobody else is in these namespaces


class Half:
    """`reconvla up --half SIDE` on its own computer.

    Args:
        folder: of its logs; made.
        arguments: launch arguments.
        extra: environment variables of this side alone.
    """

    def __init__(
        self, link: Link, side: str, folder: Path, arguments: list[str], extra: Mapping[str, str] | None = None
    ) -> None:
        self.side, self._lines = side, list[str]()
        folder.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **link.environment(side), "ROS_DOMAIN_ID": DOMAIN, "RECONVLA_HOME": str(folder)}
        words = [sys.executable, "-m", "reconvla_ros.cli.main", "up", "--half", side, *arguments]
        self._process = subprocess.Popen(
            link.command(side, words), env={**environment, **(extra or {})}, cwd=folder, text=True,
            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self._pump = threading.Thread(target=self._read, daemon=True)
        self._pump.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        self._lines.extend(iter(self._process.stderr.readline, ""))

    def wait_up(self, seconds: float = 60.0) -> None:
        """Until it says that it is up.

        Raises:
            SetupError: it ended, or took longer.
        """
        up = f"the {self.side} half is up"
        done = wait_until(lambda: any(up in w for w in list(self._lines)) or self._process.poll() is not None, seconds)
        if not done or self._process.poll() is not None:
            raise SetupError(f"the {self.side} half did not come up: " + "".join(self._lines[-10:]))

    def interrupt(self) -> None:
        """Ctrl-C; returns at once."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def close(self) -> None:
        """Ctrl-C, and what is left after half a minute is killed."""
        self.interrupt()
        try:
            self._process.wait(30.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._pump.join(timeout=2.0)


class Watcher:
    """Client and monitor of this process on one of the computers."""

    def __init__(self, link: Link, side: str = "robot") -> None:
        changes = {**link.environment(side), "ROS_DOMAIN_ID": DOMAIN}
        before = {name: os.environ.get(name) for name in changes}
        os.environ.update(changes)
        try:
            with link.inside(side):
                self.client = Client("watcher")
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name)
                else:
                    os.environ[name] = value
        self.monitor = Monitor(self.client)

    def give_task(self, instruction: str, timeout: float) -> None:
        """Wait until both halves are ready for a task, and give it.

        Raises:
            SetupError: it is not accepted within a minute; says why.
        """
        from reconvla_ros.srv import Task

        answers = []

        def accepted() -> bool:
            answers.append(self.client.call(Task, "task", Task.Request(instruction=instruction, timeout=timeout)))
            return bool(answers[-1].accepted)

        if not (wait_until(self.monitor.waiting, 60.0) and wait_until(accepted, 20.0)):
            last = answers[-1].message if answers else self.monitor.why_not_ready()
            raise SetupError(f"no task is accepted: {last}")

    def close(self) -> None:
        """Leave."""
        self.client.close()
