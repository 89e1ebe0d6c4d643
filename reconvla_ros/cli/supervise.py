"""Starts the processes of the graph, shows what they say, and leaves none behind.

Every node runs in a session of its own, so that Ctrl-C reaches this process alone and the order of stopping is ours:
the policy first, the simulator last, the driver holding the arm in between. A node that outlives its supervisor gets
SIGTERM from the kernel.
"""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import yaml

from reconvla_ros.cli import shared_memory
from reconvla_ros.cli.places import executables, middleware_environment, share
from reconvla_ros.errors import SetupError
from reconvla_ros.graph import NodeSpec

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def _settle(nice: int) -> None:
    """In the child: end when the parent does; stand back from the processor as far as the graph says."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    os.nice(nice)


@dataclass
class Running:
    """One started process."""

    spec: NodeSpec
    process: subprocess.Popen[str]
    ready: bool = False
    reported: bool = False


class Supervisor:
    """The processes of one graph. Use as a context manager; leaving it stops everything."""

    def __init__(self, folder: Path, *, namespace: str = "", quiet: bool = False) -> None:
        self._folder, self._namespace, self._quiet = folder, namespace, quiet
        self.running: dict[str, Running] = {}
        self._pumps: list[threading.Thread] = []
        folder.mkdir(parents=True, exist_ok=True)
        # Nodes say on this socket that they are active, much as services do to systemd.
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify_name = f"reconvla_ros.{os.getpid()}.{id(self)}"
        self._notify.bind("\0" + self._notify_name)
        self._notify.setblocking(False)

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, specs: list[NodeSpec]) -> None:
        """Start all processes; returns at once. What ended processes left in shared memory is removed before."""
        removed = shared_memory.clean()
        if removed.segments and not self._quiet:
            _show(sys.stdout, f"removed from shared memory: {removed}")
        for spec in specs:
            environment = {**os.environ, **middleware_environment(), **spec.environment}
            environment |= {"RECONVLA_NOTIFY": self._notify_name, "PYTHONUNBUFFERED": "1"}
            process = subprocess.Popen(
                self.command(spec),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
                preexec_fn=functools.partial(_settle, spec.nice),
            )
            self.running[spec.name] = Running(spec, process)
            pump = threading.Thread(target=self._pump, args=(spec.name, process), daemon=True)
            pump.start()
            self._pumps.append(pump)

    def command(self, spec: NodeSpec) -> list[str]:
        """The command line of one node; its own parameters go through a file, so that no type is guessed."""
        own = self._folder / f"{spec.name}.yaml"
        own.write_text(yaml.safe_dump({"/**": {"ros__parameters": dict(spec.parameters)}}))
        # The installed executable rather than `python -m`, which would put the folder we stand in first.
        command = [sys.executable, str(executables() / spec.executable), "--ros-args"]
        command += ["-r", f"__node:={spec.name}"]
        if self._namespace:
            command += ["-r", f"__ns:=/{self._namespace.strip('/')}"]
        for name in spec.config:
            command += ["--params-file", str(share() / "config" / name)]
        return [*command, "--params-file", str(own)]

    def _pump(self, name: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with (self._folder / f"{name}.log").open("w") as log:
            for line in process.stdout:
                log.write(line)
                log.flush()
                if not self._quiet:
                    _show(sys.stderr, f"[{name}] {line.rstrip()}")

    def poll(self) -> list[Running]:
        """Take note of who became ready; returns those that ended since the last call."""
        while True:
            try:
                name = self._notify.recv(256).decode()
            except BlockingIOError:
                break
            if name in self.running:
                self.running[name].ready = True
        ended = [r for r in self.running.values() if r.process.poll() is not None and not r.reported]
        for run in ended:
            run.reported = True
        return ended

    def wait_ready(self, timeout: float) -> None:
        """Wait until every node is active.

        Raises:
            SetupError: one ended, or not all were ready within `timeout` [s].
        """
        deadline = time.monotonic() + timeout
        while True:
            ended = self.poll()
            if ended:
                raise SetupError("did not come up: " + "; ".join(self.epitaph(r) for r in ended))
            late = [name for name, r in self.running.items() if not r.ready]
            if not late:
                return
            if time.monotonic() > deadline:
                raise SetupError(f"not ready after {timeout:.0f} s: {', '.join(late)} (logs: {self._folder})")
            time.sleep(0.05)

    def epitaph(self, run: Running) -> str:
        """Who ended how, with its last words."""
        code = run.process.returncode
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        for pump in self._pumps:
            pump.join(timeout=0.2)
        log = self._folder / f"{run.spec.name}.log"
        words = [w for w in log.read_text().splitlines() if w.strip()] if log.exists() else []
        return f"{run.spec.name} ({how})" + (f": {words[-1].strip()}" if words else "")

    def stop(self, patience: float = 6.0) -> None:
        """SIGINT in reverse order of starting, then SIGKILL to what is left after `patience` [s] each."""
        for run in reversed(self.running.values()):
            if run.process.poll() is None:
                run.process.send_signal(signal.SIGINT)
                # The driver decelerates and the simulated arm must still be there to see it.
                if run.spec.name in ("driver", "recorder"):
                    _wait(run.process, patience)
        for run in self.running.values():
            if not _wait(run.process, patience):
                _show(sys.stderr, f"[{run.spec.name}] does not stop; killed")
                os.killpg(run.process.pid, signal.SIGKILL)
                run.process.wait()
        for pump in self._pumps:
            pump.join(timeout=1.0)
        self._notify.close()


def _wait(process: subprocess.Popen[str], seconds: float) -> bool:
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _show(stream: IO[str], text: str) -> None:
    print(text, file=stream, flush=True)
