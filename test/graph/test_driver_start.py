"""How the driver ends while it waits, and what is left when the arm may not be driven."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from running import Graph

from reconvla_ros.graph import describe

pytestmark = [pytest.mark.graph, pytest.mark.timeout(120)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_driver_that_waits_for_the_arm_ends_at_once(graph: Graph, number: signal.Signals) -> None:
    (spec,) = [s for s in describe({"sim_port": str(graph.port)}) if s.name == "driver"]
    (graph.folder / "run").mkdir(exist_ok=True)
    command = graph.supervisor.command(spec)
    late = graph.folder / "late.yaml"
    late.write_text(yaml.safe_dump({"/**": {"ros__parameters": {"wait_for_arm": 60.0}}}))
    with (graph.folder / "driver.log").open("w") as log:
        process = subprocess.Popen([*command, "--params-file", str(late)], stdout=log, stderr=log)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(8.0)  # it waits: there is no arm
        told = time.monotonic()
        process.send_signal(number)
        assert process.wait(10.0) == 0
    assert time.monotonic() - told < 5.0
    assert "told to end while waiting for the arm" in (graph.folder / "driver.log").read_text()


def test_auto_enable_of_an_arm_that_fails_the_preflight_says_why_and_ends(graph: Graph, tmp_path: Path) -> None:
    arm = Path(__file__).parents[1] / "sim" / "arm_process.py"
    sim = subprocess.Popen([sys.executable, str(arm), str(graph.port), "empty", "100"], stdout=subprocess.PIPE)
    try:
        assert sim.stdout is not None and sim.stdout.readline() == b"ready\n"
        (spec,) = [s for s in describe({"sim_port": str(graph.port)}) if s.name == "driver"]
        (graph.folder / "run").mkdir(exist_ok=True)
        process = subprocess.run(graph.supervisor.command(spec), capture_output=True, text=True, timeout=60.0)
        assert process.returncode == 2
        assert "did not come up: the motors get no power: preflight gripper: range 100 mm" in process.stderr
    finally:
        sim.terminate()
        sim.wait(10.0)
