"""Robot and policy on two computers: two network namespaces without multicast between them, and what happens on the wire."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
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
SHIFTED = Path(__file__).resolve().parents[1] / "shared" / "clock_shift"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def wait(condition: Any, what: str, watcher: Watcher, seconds: float = 30.0) -> None:
    if not wait_until(lambda: bool(condition()), seconds):
        raise AssertionError(f"not within {seconds:g} s: {what}; {watcher.monitor.why_not_moving()}")


def end_of(chunk: Any) -> float:
    """When the last step of a chunk is over [s since the epoch]."""
    step = chunk.step_dt.sec + chunk.step_dt.nanosec * 1e-9
    return float(chunk.header.stamp.sec + chunk.header.stamp.nanosec * 1e-9 + len(chunk.poses) * step)


def start(stack: ExitStack, link: Link, folder: Path, *policy: str, shift: float = 0.0) -> None:
    """Both halves, the clock of the policy's computer ahead by `shift` [s]."""
    path = os.pathsep.join([str(SHIFTED), os.environ.get("PYTHONPATH", "")])
    extra = {"PYTHONPATH": path, "RECONVLA_TEST_CLOCK_SHIFT": str(shift)}
    robot = ["camera_rate:=10", f"record_folder:={folder}/episodes"]
    halves = [stack.enter_context(closing(Half(link, "robot", folder / "robot", robot))),
              stack.enter_context(closing(Half(link, "policy", folder / "policy", [*policy], extra)))]  # fmt: skip
    for half in halves:
        half.wait_up()


def test_the_policy_moves_the_arm_across_the_wire_and_a_cut_holds_it(stack: ExitStack, tmp_path: Path) -> None:
    from reconvla_ros.msg import ActionChunk

    link = stack.enter_context(Link())
    start(stack, link, tmp_path, "images:=compressed", "duty:=0.9")
    watcher = stack.enter_context(closing(Watcher(link)))
    chunks: list[Any] = []
    watcher.client.listen(ActionChunk, "policy/action_chunk", chunks.append)
    with link.inside("robot"):
        ear = stack.enter_context(closing(BusEar(SIM_PORT)))
    watcher.give_task("put fruit in bowl", 100.0)
    before = ear.targets()
    wait(lambda: len(chunks) > 2 and np.any(ear.targets() != before), "the policy moves the arm", watcher)

    values = watcher.monitor.values["policy"]
    assert abs(float(values["clock_offset_ms"])) <= float(values["clock_bound_ms"])  # both read the same clock
    received = watcher.monitor.received("policy")
    assert received["camera_base/color/image_raw/compressed"] > 0
    assert not [t for t in received if t.endswith("image_raw")], "raw pictures cross the wire"

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


@pytest.mark.parametrize("shift", [0.02, -0.2])
def test_a_clock_that_is_off_is_measured_shown_and_refused(stack: ExitStack, tmp_path: Path, shift: float) -> None:
    link = stack.enter_context(Link())
    start(stack, link, tmp_path, "policy:=scripted", "images:=compressed", shift=shift)
    watcher = stack.enter_context(closing(Watcher(link)))
    policy = watcher.monitor.values
    wait(lambda: "clock_bound_ms" in policy.get("policy", {}), "the offset is measured", watcher)
    measured, bound = (float(policy["policy"][k]) / 1e3 for k in ("clock_offset_ms", "clock_bound_ms"))
    assert abs(measured - shift) <= bound + 1e-5 < 0.02, (measured, bound)
    here = measure(watcher.client)  # as doctor does on the robot's computer, whose clock is its own
    assert here is not None and abs(here.value) <= here.bound
    watcher.give_task("put fruit in bowl", 60.0)
    if abs(shift) > 0.05:
        wait(lambda: "this clock is" in watcher.monitor.policy.reason or "future" in watcher.monitor.policy.reason,
             "the policy refuses", watcher)  # fmt: skip
        assert watcher.monitor.policy.chunks == 0
    else:
        wait(lambda: watcher.monitor.policy.chunks > 2, "20 ms are warned of, not refused", watcher)
