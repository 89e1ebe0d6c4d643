"""The processes under the fault bench: started, frozen, killed and ended one by one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from reconvla_ros.bench import faults_clock
from reconvla_ros.cli.supervise import Supervisor
from reconvla_ros.errors import SetupError
from reconvla_ros.graph import NodeSpec

_END = 10.0  # [s] for a process that was asked to end


class FaultProcesses(Supervisor):
    """A supervisor whose processes come and go.

    Attributes:
        jumping: whether the next driver runs under a wall clock that can jump.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, quiet=True)
        self.jumping = False
        self._busy: list[subprocess.Popen[bytes]] = []
        self._frozen: set[str] = set()
        self._ending: set[str] = set()

    def command(self, spec: NodeSpec) -> list[str]:
        """See `Supervisor.command`."""
        interpreter, *rest = super().command(spec)
        wrapper = [str(Path(faults_clock.__file__).resolve())] if self.jumping and spec.name == "driver" else []
        return [interpreter, *wrapper, *rest]

    def bring_up(self, specs: list[NodeSpec], timeout: float) -> None:
        """Start these, and wait until each is active.

        Raises:
            SetupError: one ended, or not all were ready within `timeout` [s].
        """
        self.start(specs)
        names, end = [spec.name for spec in specs], time.monotonic() + timeout
        while late := [n for n in names if not self.running[n].ready]:
            ended = [r for r in self.poll() if r.spec.name in names]
            if ended:
                raise SetupError("did not come up: " + "; ".join(self.epitaph(r) for r in ended))
            if time.monotonic() > end:
                raise SetupError(f"not ready after {timeout:g} s: {', '.join(late)}")
            time.sleep(0.02)

    def alive(self, name: str) -> bool:
        """Whether that process runs."""
        run = self.running.get(name)
        return run is not None and run.process.poll() is None

    def send(self, name: str, number: signal.Signals) -> float:
        """Send a signal to a process of the graph; when [s since the epoch]."""
        at = time.time()
        os.kill(self.running[name].process.pid, number)
        if number == signal.SIGSTOP:
            self._frozen.add(name)
        elif number == signal.SIGCONT:
            self._frozen.discard(name)
        elif number in (signal.SIGTERM, signal.SIGKILL):
            self._ending.add(name)
        return at

    def reap(self) -> None:
        """Wait for those that were told to end: on a busy machine even a killed process takes its time.

        Raises:
            SetupError: one does not end.
        """
        for name in list(self._ending):
            try:
                self.running[name].process.wait(timeout=_END)
            except subprocess.TimeoutExpired as error:
                raise SetupError(f"fault bench: {name} does not end within {_END:g} s") from error
        self._ending.clear()

    def end(self, name: str, number: signal.Signals) -> None:
        """Send a signal that ends it, and wait for that; nothing when it has ended."""
        if self.alive(name):
            self.send(name, number)
            self.reap()

    def thaw(self) -> None:
        """Let every process go on that was stopped."""
        for name in list(self._frozen):
            if self.alive(name):
                self.send(name, signal.SIGCONT)
        self._frozen.clear()

    def keep_busy(self) -> float:
        """Load every core with a process of ordinary priority; since when [s since the epoch]."""
        at = time.time()
        for _ in range(os.cpu_count() or 1):
            self._busy.append(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
        return at

    def stop_busy(self) -> None:
        """End the load."""
        for process in self._busy:
            process.kill()
            process.wait()
        self._busy.clear()
