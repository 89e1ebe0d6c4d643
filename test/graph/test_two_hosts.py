"""Robot and policy on two computers: two network namespaces without multicast between them, and what happens on the wire."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import BusEar

from reconvla_ros.bench.link import Link, why_not
from reconvla_ros.cli.client import wait_until
from reconvla_ros.cli.clock import measure
from reconvla_ros.cli.two_hosts import Half, Watcher
from reconvla_ros.graph import SIM_PORT

_REASON = why_not()
pytestmark = [
    pytest.mark.graph,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(_REASON), reason=f"two network namespaces: {_REASON}"),
]
STALE, STOPPING = 0.3, 0.2  # [s] command stale of the design; decelerating from 0.1 m/s, with a busy machine's delay
POLICY = ["images:=compressed", "duty:=0.9"]
SHIFTED = Path(__file__).resolve().parents[1] / "shared" / "clock_shift"


def wait(condition: Any, what: str, watcher: Watcher, seconds: float = 30.0) -> None:
    if not wait_until(lambda: bool(condition()), seconds):
        raise AssertionError(f"not within {seconds:g} s: {what}; {watcher.monitor.why_not_moving()}")


def end_of(chunk: Any) -> float:
    """When the last step of a chunk is over [s since the epoch]."""
    step = chunk.step_dt.sec + chunk.step_dt.nanosec * 1e-9
    return float(chunk.header.stamp.sec + chunk.header.stamp.nanosec * 1e-9 + len(chunk.poses) * step)


def start(stack: ExitStack, link: Link, folder: Path) -> Path:
    """Both halves; the clock of the policy's computer is ahead by what the returned file says [s]."""
    shift = folder / "shift"
    shift.write_text("0.02")
    path = os.pathsep.join([str(SHIFTED), os.environ.get("PYTHONPATH", "")])
    extra = {"PYTHONPATH": path, "RECONVLA_TEST_CLOCK_SHIFT": str(shift)}
    robot = ["camera_rate:=10", f"record_folder:={folder}/episodes"]
    halves = [stack.enter_context(closing(Half(link, "robot", folder / "robot", robot))),
              stack.enter_context(closing(Half(link, "policy", folder / "policy", POLICY, extra)))]  # fmt: skip
    for half in halves:
        stack.callback(half.interrupt)  # before either is waited for
        half.wait_up()
    return shift


def offset_of(watcher: Watcher) -> tuple[float, float]:
    """Offset and bound [s] as the policy's diagnostics say them."""
    values = watcher.monitor.values["policy"]
    return float(values["clock_offset_ms"]) / 1e3, float(values["clock_bound_ms"]) / 1e3


def test_the_policy_moves_the_arm_across_the_wire_and_a_cut_holds_it(tmp_path: Path) -> None:
    # In a process of its own: DDS remembers for as long as a process lives which interfaces the first participant saw, so
    # the tests after this one would hear nothing.
    path = os.pathsep.join([str(SHIFTED.parent), os.environ.get("PYTHONPATH", "")])
    words, environment = [sys.executable, __file__, str(tmp_path)], {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)


def across(tmp_path: Path) -> None:
    """Both halves, a clock that goes wrong, a cable that is pulled."""
    with ExitStack() as stack:
        cross(stack, tmp_path)


def cross(stack: ExitStack, tmp_path: Path) -> None:
    """The story, from start to end."""
    from reconvla_ros.msg import ActionChunk

    link = stack.enter_context(Link())
    shift = start(stack, link, tmp_path)
    watcher = stack.enter_context(closing(Watcher(link)))
    chunks: list[Any] = []
    watcher.client.listen(ActionChunk, "policy/action_chunk", chunks.append)
    with link.inside("robot"):
        ear = stack.enter_context(closing(BusEar(SIM_PORT)))
    watcher.give_task("put fruit in bowl", 100.0)
    before = ear.targets()
    wait(lambda: len(chunks) > 2 and np.any(ear.targets() != before), "the policy moves the arm", watcher)

    measured, bound = offset_of(watcher)
    assert abs(measured - 0.02) <= bound + 1e-5 < 0.02, (measured, bound)  # warned of, not refused
    received = watcher.monitor.received("policy")
    assert received["camera_base/color/image_raw/compressed"] > 0
    assert not [t for t in received if t.endswith("image_raw")], "raw pictures cross the wire"

    here = measure(watcher.client)  # as doctor does on the robot's computer, whose clock is its own
    assert here is not None and abs(here.value) <= here.bound

    # Pictures that look 0.2 s older than they are, which is not old enough for anything else to refuse them.
    shift.write_text("0.2")
    wait(lambda: "this clock is +2" in watcher.monitor.policy.reason, "the policy refuses", watcher)
    wait(lambda: watcher.monitor.arm.state == "HOLDING", "the arm holds", watcher)
    count = len(chunks)
    shift.write_text("0.0")
    wait(lambda: len(chunks) > count + 1 and chunks[-1].poses, "the policy goes on", watcher)

    link.cut()
    cut = time.time()
    changed, held = cut, ear.targets()
    while time.time() < max(cut, end_of(chunks[-1])) + 1.5:
        if np.any(ear.targets() != held):
            changed, held = time.time(), ear.targets()
        time.sleep(0.002)
    # The chunk in force is played to its end; then a command is stale, and the arm decelerates.
    end = end_of(chunks[-1])
    print(
        f"last changing target {changed - cut:.2f} s after the cut; the chunk in force ended {end - cut:.2f} s after it"
    )
    assert changed < max(end, cut) + STALE + STOPPING
    assert all(ear.enabled()) and watcher.monitor.arm.state == "HOLDING"

    link.mend()
    if wait_until(lambda: watcher.monitor.arm.source == "none", 0.0):  # the task has ended meanwhile
        watcher.give_task("put fruit in bowl", 100.0)
    wait(lambda: np.any(ear.targets() != held), "the arm moves again", watcher)


if __name__ == "__main__":
    across(Path(sys.argv[1]))
