"""Teleoperation end to end: a hand, the node, the driver, the arm; seen on the CAN bus."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from joystick_file import AXIS, BUTTON, Pad
from running import Graph

from reconvla_ros.arm.bus import BusAddress
from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.cli.client import wait_until
from reconvla_ros.sim.bus import DEFAULT_GROUP
from reconvla_ros.sim.fault_channel import inject
from reconvla_ros.sim.faults import Faults
from reconvla_ros.teleop.leader import Leader
from reconvla_ros.types import Float

pytestmark = [pytest.mark.graph, pytest.mark.timeout(240)]
KINEMATICS = Kinematics()
BEYOND = 0.06  # [m] the lead of config/teleop.yaml, what the arm goes while a key counts as held, and its braking


def tcp(joints: Float) -> Float:
    return KINEMATICS.tcp(joints).position


def ready(graph: Graph) -> None:
    graph.wait(lambda: graph.ear.joints()[1] > 0.5 and graph.ear.still(0.3), "the arm is ready", 60.0)
    graph.wait(lambda: graph.monitor.arm is not None and graph.monitor.arm.source == "none", "nobody holds the lease")


def holder(graph: Graph) -> str:
    return str(graph.monitor.arm.source) if graph.monitor.arm is not None else ""


def after_letting_go(graph: Graph) -> float:
    """How far the TCP goes from now on until it stands [m]."""
    begin = tcp(graph.ear.joints())
    graph.wait(lambda: graph.ear.still(0.3), "the arm stands", 10.0)
    return float(np.linalg.norm(tcp(graph.ear.joints()) - begin))


class Keys:
    """`reconvla teleop` in a terminal, and a finger."""

    def __init__(self, folder: Path, *words: str) -> None:
        self._master, slave = pty.openpty()
        command = [sys.executable, "-m", "reconvla_ros.cli.main", "teleop", *words]
        # Not from the checkout: `-m` would take the package there, which has no generated messages.
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, cwd=folder)
        os.close(slave)
        self.screen = ""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self._master, 4096):
                self.screen += data.decode(errors="replace")

    def press(self, key: str, seconds: float = 0.0) -> None:
        """Press a key, or hold it: 30 times a second, as a terminal repeats it."""
        end = time.monotonic() + seconds
        while True:
            os.write(self._master, key.encode())
            if time.monotonic() >= end:
                return
            time.sleep(0.033)

    def shows(self, words: str, timeout: float = 20.0) -> None:
        assert wait_until(lambda: words in self.screen, timeout), (
            f"{words!r} is not on the screen: {self.screen[-800:]}"
        )

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10.0)


@pytest.fixture
def keys(graph: Graph, tmp_path: Path) -> Iterator[Any]:
    opened: list[Keys] = []

    def run(*words: str) -> Keys:
        opened.append(Keys(tmp_path, *words))
        return opened[-1]

    yield run
    for each in opened:
        each.close()


def test_a_key_moves_the_arm_while_it_is_held_and_space_stops_it(graph: Graph, keys: Any) -> None:
    graph.start("simulator", "driver")
    ready(graph)
    finger: Keys = keys("--speed", "fast")
    finger.shows("\x1b[Kready")
    start = tcp(graph.ear.joints())
    finger.press("w", 2.0)
    went = after_letting_go(graph)
    moved = tcp(graph.ear.joints()) - start
    print(f"went on for {1e3 * went:.1f} mm after the last key")
    assert moved[0] > 0.08
    assert np.abs(moved[1:]).max() < 0.005
    assert went < BEYOND
    assert holder(graph) == "teleop"
    finger.press("a", 1.0)
    finger.press(" ")
    graph.wait(lambda: graph.monitor.arm.stop_latched, "the stop is latched", 5.0)
    stood = graph.ear.targets()
    finger.press("a", 0.5)
    finger.shows("clear the stop first")
    assert np.array_equal(graph.ear.targets(), stood)
    finger.screen = ""
    finger.press("x")
    finger.shows("\x1b[Kready")
    assert not graph.monitor.arm.stop_latched
    finger.press("a", 0.5)
    graph.wait(lambda: holder(graph) == "teleop", "a new press takes the lease again", 5.0)
    finger.press("Q")
    assert finger.process.wait(10.0) == 0
    graph.wait(lambda: holder(graph) == "none", "the lease is given back", 5.0)


class Policy:
    """A task and a policy of the test's own: chunks that hold where the TCP is, but 2 cm up."""

    def __init__(self, graph: Graph) -> None:
        from geometry_msgs.msg import PoseStamped
        from reconvla_ros.msg import ActionChunk, TaskState

        from reconvla_ros.nodes import convert, qos

        self._convert, node = convert, graph.client.node
        self._pose: Any = None
        self.sequence = 0
        self._state = node.create_publisher(TaskState, "task/state", qos.LATCHED)
        self._chunks = node.create_publisher(ActionChunk, "policy/action_chunk", qos.COMMAND)
        node.create_subscription(PoseStamped, "arm/ee_pose", self._keep, qos.STATUS)
        assert wait_until(lambda: self._pose is not None, 10.0)
        self._state.publish(TaskState(state="RUNNING", task_id="t1", instruction="up"))

    def _keep(self, message: Any) -> None:
        self._pose = message

    def speak(self, late: float = 0.0) -> None:
        """One chunk, of an observation `late` [s] ago."""
        from reconvla_ros.types import ActionChunk

        here = self._convert.from_pose(self._pose.pose)
        stamp = self._convert.from_time(self._pose.header.stamp) - int(late * 1e9)
        up = here.position + np.array([0.0, 0.0, 0.02])
        chunk = ActionChunk(stamp, "t1", self.sequence, 0.1, here, [up] * 10, [here.quaternion] * 10, [0.03] * 10)  # type: ignore[arg-type]
        self.sequence += 1
        self._chunks.publish(self._convert.to_chunk(chunk))


def test_a_person_takes_over_from_the_policy_and_hands_back_and_a_pulled_plug_holds(
    graph: Graph, tmp_path: Path
) -> None:
    from reconvla_ros.msg import ActionTrace
    from std_srvs.srv import Trigger

    pad = Pad(tmp_path)
    graph.start("simulator", "driver", "teleop", teleop="gamepad", gamepad=str(pad.path))
    pad.device.close()  # the node reads now
    ready(graph)
    sources: list[str] = []
    graph.client.listen(ActionTrace, "arm/action_trace", lambda m: sources.append(m.source))
    policy = Policy(graph)
    graph.wait(lambda: holder(graph) == "policy", "the task has the lease", 5.0)
    policy.speak()
    graph.wait(lambda: "policy" in sources, "the policy moves the arm", 5.0)

    start = tcp(graph.ear.joints())
    pad.event(BUTTON, 4, 1)  # the dead-man
    pad.event(AXIS, 0, -32767)  # to the left
    graph.wait(lambda: holder(graph) == "teleop", "the person has taken over", 5.0)
    graph.wait(lambda: tcp(graph.ear.joints())[1] - start[1] > 0.05, "the arm goes to the left", 10.0)
    policy.speak()
    pad.unplug()
    went = after_letting_go(graph)
    print(f"went on for {1e3 * went:.1f} mm after the plug was pulled")
    assert went < BEYOND
    assert holder(graph) == "teleop"  # the policy does not go on because a plug fell out
    assert sources[-1] == "teleop"

    pad.plug()
    time.sleep(1.5)
    before = policy.sequence
    policy.speak()
    assert graph.client.call(Trigger, "teleop/hand_over", Trigger.Request()).success
    graph.wait(lambda: holder(graph) == "policy", "the policy has the arm again", 5.0)
    held = graph.ear.targets()
    policy.speak(late=2.0)  # seen before the hand-over
    time.sleep(0.3)
    assert np.array_equal(graph.ear.targets(), held)
    policy.speak()
    graph.wait(lambda: sources[-1] == "policy" and not np.array_equal(graph.ear.targets(), held), "it moves", 5.0)
    assert policy.sequence == before + 3


def test_a_leader_arm_on_a_bus_of_its_own_leads_the_follower(graph: Graph) -> None:
    from std_srvs.srv import SetBool

    graph.start("simulator", "driver", "leader", "teleop", teleop="leader")
    ready(graph)
    leader = Leader(BusAddress("udp_multicast", DEFAULT_GROUP, graph.port + 1))
    leader.open()

    def leads() -> Float:
        end = time.monotonic() + 1.0
        while not (reading := leader.read(time.monotonic_ns())).held:
            assert time.monotonic() < end, reading.note
            time.sleep(0.005)
        assert reading.joints is not None
        return tcp(np.array(reading.joints))

    graph.wait(lambda: leads()[2] > 0.1, "the leader is lifted", 15.0)
    assert graph.ear.still(0.5)  # it waves, and nothing follows before it is engaged
    follower, began = tcp(graph.ear.joints()), leads()
    assert graph.client.call(SetBool, "teleop/engage", SetBool.Request(data=True)).success
    graph.wait(lambda: holder(graph) == "teleop", "the lease", 5.0)
    apart, way, end = [], [], time.monotonic() + 8.0
    while time.monotonic() < end:
        here, there = leads() - began, tcp(graph.ear.joints()) - follower
        apart.append(float(np.linalg.norm(here - there)))
        way.append(there)
        time.sleep(0.02)
    print(f"apart: median {1e3 * np.median(apart):.1f} mm, largest {1e3 * max(apart):.1f} mm, "
          f"way {1e3 * np.ptp(np.array(way), axis=0).max():.0f} mm")  # fmt: skip
    assert np.ptp(np.array(way), axis=0).max() > 0.05
    assert max(apart) < 0.05
    assert graph.client.call(SetBool, "teleop/engage", SetBool.Request(data=False)).success
    graph.wait(lambda: graph.ear.still(0.5), "the follower stands while the leader goes on", 5.0)
    leader.close()


def test_an_arm_that_is_led_by_hand_is_recorded_and_gets_no_command(graph: Graph, tmp_path: Path, keys: Any) -> None:
    graph.start("simulator", "driver", "recorder")
    ready(graph)
    finger: Keys = keys("--device", "drag", "--instruction", 'put "it": there', "--operator", "me")
    finger.shows("not in teach mode: hold the arm, then press the button on it")
    inject(f"udp_multicast:{graph.port}", Faults(teach=True))
    finger.shows("teach mode: lead the arm. HOLD IT before you leave teach mode: it may drop")
    finger.press("w", 0.5)  # moves nothing
    finger.press("r")
    finger.shows("REC")
    time.sleep(1.0)
    finger.press("r")
    finger.shows("messages, ")
    assert holder(graph) == "none"
    (sidecar,) = (tmp_path / "episodes").glob("*/episode.json")
    episode = json.loads(sidecar.read_text())
    assert episode["instruction"] == 'put "it": there'
    assert (episode["operator"], episode["outcome"]) == ("me", "success")
    assert episode["tags"] == ["teleop", "device:drag"]
    assert sum(count for topic, count in episode["counts"].items() if topic.endswith("joint_states")) > 50
    assert not any(count for topic, count in episode["counts"].items() if topic.endswith("arm/ee_command"))
    finger.press("\x7f")
    finger.shows("no episode is open")
    finger.screen = ""
    finger.press("r")
    finger.shows("REC")
    finger.press("\x7f")
    finger.shows("discarded")
    assert list((tmp_path / "episodes").glob("*/episode.json")) == [sidecar]
