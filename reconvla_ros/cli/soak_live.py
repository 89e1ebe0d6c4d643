"""`reconvla bench soak --live MINUTES`: driver and simulated arm as processes of their own, and the bench beside them."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.cli.client import connected, wait_until
from reconvla_ros.cli.monitor import Monitor
from reconvla_ros.cli.network import free_domain, free_udp_port
from reconvla_ros.cli.supervise import Supervisor
from reconvla_ros.errors import SetupError
from reconvla_ros.graph import describe

_UP = 90.0  # [s] for the nodes to come up


def _at_rest(monitor: Monitor) -> bool:
    arm = monitor.arm
    return arm is not None and arm.state == "HOLDING" and arm.source == "none" and arm.commands_passed > 0


def run(minutes: float, seed: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """As `soak_live.live`, with a graph of its own in a DDS domain and on a CAN port that nobody uses.

    Raises:
        SetupError: the graph does not come up, or the bus is not heard.
    """
    from reconvla_ros.bench.soak import without_script
    from reconvla_ros.bench.soak_ear import listen
    from reconvla_ros.bench.soak_live import live
    from reconvla_ros.bench.soak_rig import bounds_of

    port = free_udp_port()
    os.environ |= {"ROS_DOMAIN_ID": str(free_domain()), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    specs = [s for s in describe({"sim_port": str(port)}) if s.name in ("simulator", "driver")]
    config = DriverConfig(dry_run=False)  # the same defaults as config/piper.yaml
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, Supervisor(Path(folder) / "run", quiet=True) as supervisor:
        supervisor.start(specs)
        supervisor.wait_ready(_UP)
        with connected("soak") as client:
            monitor = Monitor(client)
            if not wait_until(lambda: _at_rest(monitor), _UP):
                raise SetupError("the arm did not get to where tasks begin")
            ours, theirs = context.Pipe()
            ear = context.Process(target=listen, args=(port, bounds_of(config), theirs), daemon=True)
            with without_script():
                ear.start()
            if not ours.poll(30.0) or ours.recv() != "ready":
                raise SetupError(f"no arm is heard on CAN port {port} (ear: exit status {ear.exitcode})")
            result = live(client.node, port, minutes, seed, config, ours, progress)
            ear.join(5.0)
        for ended in supervisor.poll():
            result["violations"][f"ended: {supervisor.epitaph(ended)}"] = 1
    return result
