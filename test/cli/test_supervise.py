"""Processes are started, told to stop in order, and none is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from reconvla_ros.cli import supervise
from reconvla_ros.cli.client import wait_until
from reconvla_ros.cli.supervise import Supervisor
from reconvla_ros.errors import SetupError
from reconvla_ros.graph import NodeSpec

# Stands for a node: says that it is ready, writes down when it is told to stop.
NODE = """
import os, signal, socket, sys, time
name = sys.argv[1]
def stop(number, frame):
    with open(os.environ["ORDER"], "a") as out:
        out.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGINT, signal.SIG_IGN if name == "stubborn" else stop)
print("hello from", name)
if name == "broken":
    sys.exit("no such camera")
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(name.encode(), "\\0" + os.environ["RECONVLA_NOTIFY"])
time.sleep(60)
"""


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "node.py"
    program.write_text(NODE)
    monkeypatch.setattr(Supervisor, "command", lambda self, spec: [sys.executable, str(program), spec.name])
    monkeypatch.setenv("ORDER", str(tmp_path / "order"))
    return tmp_path


def spec(name: str) -> NodeSpec:
    return NodeSpec(name, f"{name}_node", "robot", ())


def test_nodes_stop_in_reverse_order_and_none_is_left(scripted: Path) -> None:
    with Supervisor(scripted / "run", quiet=True) as supervisor:
        supervisor.start([spec("simulator"), spec("driver"), spec("policy")])
        supervisor.wait_ready(20.0)
        pids = [r.process.pid for r in supervisor.running.values()]
    assert not any(psutil.pid_exists(p) for p in pids)
    order = (scripted / "order").read_text().split()
    # The driver decelerates while the simulated arm is still there.
    assert order.index("driver") < order.index("simulator")
    assert "hello from policy" in (scripted / "run" / "policy.log").read_text()


def test_a_node_that_does_not_come_up_is_named_with_its_last_words(scripted: Path) -> None:
    with Supervisor(scripted / "run", quiet=True) as supervisor:
        supervisor.start([spec("simulator"), spec("broken")])
        with pytest.raises(SetupError, match=r"broken \(exit status 1\): no such camera"):
            supervisor.wait_ready(20.0)


def test_a_node_that_does_not_stop_is_killed(scripted: Path) -> None:
    supervisor = Supervisor(scripted / "run", quiet=True)
    supervisor.start([spec("stubborn")])
    supervisor.wait_ready(20.0)
    pid = supervisor.running["stubborn"].process.pid
    supervisor.stop(patience=0.5)
    assert not psutil.pid_exists(pid)


def test_who_ended_is_reported_once(scripted: Path) -> None:
    with Supervisor(scripted / "run", quiet=True) as supervisor:
        supervisor.start([spec("policy"), spec("driver")])
        supervisor.wait_ready(20.0)
        os.kill(supervisor.running["policy"].process.pid, signal.SIGKILL)
        ended: list[supervise.Running] = []

        def seen() -> bool:
            ended.extend(supervisor.poll())
            return bool(ended)

        assert wait_until(seen, 10.0)
        assert [r.spec.name for r in ended] == ["policy"]
        assert "killed by SIGKILL" in supervisor.epitaph(ended[0])
        assert supervisor.poll() == []


def test_nodes_do_not_outlive_a_supervisor_that_is_killed(scripted: Path) -> None:
    program = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from reconvla_ros.cli.supervise import Supervisor
        from reconvla_ros.graph import NodeSpec
        Supervisor.command = lambda self, spec: [sys.executable, {str(scripted / "node.py")!r}, spec.name]
        supervisor = Supervisor(Path({str(scripted / "run")!r}), quiet=True)
        supervisor.start([NodeSpec("driver", "driver_node", "robot", ())])
        supervisor.wait_ready(20.0)
        print(supervisor.running["driver"].process.pid, flush=True)
        import time
        time.sleep(60)
    """)
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert psutil.pid_exists(child)
    parent.kill()
    parent.wait()
    assert wait_until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie", 10.0)


def test_the_command_line_names_node_namespace_and_files(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path, namespace="left", quiet=True)
    command = supervisor.command(NodeSpec("driver", "driver_node", "robot", ("piper.yaml",), {"arm": "sim", "n": 3}))
    assert "__node:=driver" in command
    assert "__ns:=/left" in command
    assert command[-1] == str(tmp_path / "driver.yaml")
    assert (tmp_path / "driver.yaml").read_text() == "/**:\n  ros__parameters:\n    arm: sim\n    n: 3\n"
    assert any(word.endswith("config/piper.yaml") for word in command)
    supervisor.stop()
