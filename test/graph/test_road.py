"""The whole road with real processes: cameras -> policy -> driver -> CAN -> arm, and what holds when a part of it ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from running import Graph

from reconvla_ros.graph import CAMERAS, FRAMES, TOPICS

pytestmark = [pytest.mark.graph, pytest.mark.timeout(240)]


def give(graph: Graph, instruction: str = "put fruit in bowl", timeout: float = 60.0) -> Any:
    from reconvla_ros.srv import Task

    return graph.client.call(Task, "task", Task.Request(instruction=instruction, timeout=timeout))


def trigger(graph: Graph, service: str) -> Any:
    from std_srvs.srv import Trigger

    return graph.client.call(Trigger, service, Trigger.Request())


def moving(graph: Graph) -> None:
    """Ready, then moving for a task."""
    graph.wait(lambda: graph.ear.joints()[1] > 0.5 and graph.ear.still(0.2), "the arm is where tasks begin")
    graph.wait(graph.monitor.waiting, "arm holds and policy waits", 60.0)
    graph.monitor.forget_motion()
    answers: list[Any] = []

    def accepted() -> bool:
        answers.append(give(graph))
        return bool(answers[-1].accepted)

    # The task node may discover driver and policy later than this test does.
    graph.wait(accepted, lambda: f"a task is accepted ({answers[-1].message})")
    graph.wait(graph.monitor.moving, "the arm moves", 60.0)


def test_the_model_moves_the_arm_and_a_cancel_holds_it(graph: Graph) -> None:
    graph.start()
    moving(graph)
    start = graph.ear.joints()
    graph.wait(lambda: np.max(np.abs(graph.ear.joints() - start)) > 0.01, "joints differ")

    refused = give(graph)
    assert not refused.accepted
    assert "is running; cancel it first" in refused.message

    assert trigger(graph, "task/cancel").success
    graph.wait(lambda: graph.ear.still(0.3), "the arm stands after the cancel", 10.0)
    assert all(graph.ear.enabled())
    graph.wait(lambda: graph.monitor.arm.state == "HOLDING", "the driver holds", 5.0)
    # Nothing that was under way for the old task comes after it.
    held = graph.ear.targets()
    assert graph.ear.still(1.0)
    assert np.array_equal(graph.ear.targets(), held)

    for instruction, message in (("", "1..500 characters, got 0"), ("x" * 10_000, "1..500 characters, got 10000"),
                                 ("a\nb", "one line of printable text")):  # fmt: skip
        answer = give(graph, instruction)
        assert not answer.accepted
        assert message in answer.message
    assert not give(graph, timeout=float("nan")).accepted
    assert not trigger(graph, "task/cancel").success


def test_every_topic_and_frame_of_the_public_surface_is_there(graph: Graph) -> None:
    from tf2_msgs.msg import TFMessage

    graph.start()
    frames: set[str] = set()

    def on_tf(message: Any) -> None:
        for transform in message.transforms:
            frames.update((transform.header.frame_id, transform.child_frame_id))

    graph.client.listen(TFMessage, "tf", on_tf)
    from reconvla_ros.nodes import qos

    graph.client.node.create_subscription(TFMessage, "tf_static", on_tf, qos.RECORD_LATCHED)
    graph.wait(lambda: set(FRAMES) <= frames, lambda: f"frames {set(FRAMES) - frames}")
    node = graph.client.node

    def absent() -> list[str]:
        return [t.name for t in TOPICS if node.count_publishers(t.name) == 0]

    # Discovery goes on for a while after the nodes are active.
    graph.wait(lambda: not absent(), lambda: f"publishers of {absent()}")
    found = {name.lstrip("/"): types for name, types in node.get_topic_names_and_types()}
    assert [t for t in TOPICS if t.type not in found.get(t.name, [])] == []
    wanted = {"task", "task/cancel", "record/start", "record/stop", "arm/enable", "arm/stop", "arm/clear_stop", "arm/home",
              "arm/ready", "arm/release", "arm/source", "arm/damped_stop", "arm/power_cycle"}  # fmt: skip

    def unserved() -> set[str]:
        return wanted - {name.lstrip("/") for name, _ in node.get_service_names_and_types()}

    graph.wait(lambda: not unserved(), lambda: f"services {unserved()}")
    _check_rviz(frames, set(found))


def _check_rviz(frames: set[str], topics: set[str]) -> None:
    """Every topic and frame that config/reconvla.rviz names exists in the running graph."""
    import yaml

    from reconvla_ros.cli.places import share

    config = yaml.safe_load((share() / "config" / "reconvla.rviz").read_text())
    named: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            value = node.get("Topic")
            if isinstance(value, dict) and value.get("Value"):
                named.add(value["Value"].lstrip("/"))
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)

    displays = config["Visualization Manager"]["Displays"]
    walk(displays)
    assert named
    assert named <= topics, named - topics
    assert config["Visualization Manager"]["Global Options"]["Fixed Frame"] in frames


def test_a_killed_policy_leaves_the_arm_holding(graph: Graph) -> None:
    graph.start()
    moving(graph)
    os.kill(graph.pid("policy"), signal.SIGKILL)
    graph.wait(lambda: graph.ear.still(0.5), "the arm stands", 20.0)
    assert all(graph.ear.enabled())
    graph.wait(lambda: graph.monitor.arm.state == "HOLDING", "the driver holds", 20.0)
    # The task ends, since nobody works on it; where the host stands still just then, the driver may be missed first.
    graph.wait(lambda: _task(graph).state == "FAILED", lambda: f"the task failed, it is {_task(graph).state!r}", 20.0)
    assert _task(graph).reason in ("the policy went silent", "the driver went silent")


def _task(graph: Graph) -> Any:
    from reconvla_ros.msg import TaskState

    if not hasattr(graph, "task_states"):
        graph.task_states = []  # type: ignore[attr-defined]
        graph.client.listen(TaskState, "task/state", graph.task_states.append, latched=True)  # type: ignore[attr-defined]
    states = graph.task_states  # type: ignore[attr-defined]
    return states[-1] if states else TaskState()


def test_a_killed_driver_leaves_the_arm_enabled_and_still(graph: Graph) -> None:
    graph.start(policy="scripted")
    moving(graph)
    ear = graph.ear
    os.kill(graph.pid("driver"), signal.SIGKILL)
    graph.wait(lambda: ear.age(0x155) > 0.5, "nobody commands", 5.0)
    graph.wait(lambda: ear.still(0.5), "the arm stands", 5.0)
    assert all(ear.enabled())
    # It stays where it was told last: no brakes, so power must stay on.
    before = ear.joints()
    assert ear.still(1.0)
    assert np.max(np.abs(ear.joints() - before)) < 0.005
    graph.wait(lambda: _task(graph).state == "FAILED", "the task failed", 10.0)
    assert "driver" in _task(graph).reason


def test_ctrl_c_leaves_no_process_and_the_arm_was_enabled_to_the_end(graph: Graph) -> None:
    graph.start(policy="scripted")
    moving(graph)
    pids = [r.process.pid for r in graph.supervisor.running.values()]
    ear = graph.ear
    os.kill(graph.pid("driver"), signal.SIGINT)
    graph.supervisor.running["driver"].process.wait(timeout=10.0)
    assert graph.supervisor.running["driver"].process.returncode == 0
    graph.wait(lambda: ear.still(0.3), "it decelerated and holds", 5.0)
    assert all(ear.enabled())
    graph.supervisor.stop()
    assert not any(psutil.pid_exists(p) for p in pids)
    for run in graph.supervisor.running.values():
        assert run.process.returncode == 0, f"{run.spec.name}: {graph.log(run.spec.name)[-500:]}"


def test_an_episode_holds_every_message(graph: Graph) -> None:
    from reconvla_ros.srv import RecordStart, RecordStop

    names = ("driver", *CAMERAS)
    specs = {"autostart": "false"}
    graph.start("simulator", "task", "recorder")
    from reconvla_ros.graph import describe

    given = {"sim_port": str(graph.port), "camera_rate": "10", **specs}
    graph.supervisor.start([s for s in describe(given) if s.name in names])
    graph.supervisor.wait_ready(60.0)
    monitor = graph.monitor
    for name in names:
        graph.client.transition(name, "configure")
    answer = graph.client.call(RecordStart, "record/start", RecordStart.Request(instruction="look", tags=["test"]))
    assert answer.accepted, answer.message
    for name in names:
        graph.client.transition(name, "activate")
    topic = f"{CAMERAS[0]}/color/image_raw"
    graph.wait(lambda: monitor.published().get(topic, 0) > 20, "some frames")
    for name in names:
        graph.client.transition(name, "deactivate")
    graph.wait(lambda: all(monitor.values[n].get("active") == "False" for n in names), "all are silent")
    stopped = graph.client.call(RecordStop, "record/stop", RecordStop.Request(outcome="success"), answer=60.0)
    assert stopped.accepted, stopped.message
    _check_bag(Path(stopped.path), monitor.published())


def _check_bag(folder: Path, published: dict[str, int]) -> None:
    """Read with `rosbags`, which shares no code with the writer."""
    from rosbags.highlevel import AnyReader

    with AnyReader([folder]) as reader:
        counts = {c.topic.lstrip("/"): c.msgcount for c in reader.connections}
        assert all(c.msgdef.data for c in reader.connections)
        for camera in CAMERAS:
            for suffix in ("color/image_raw", "aligned_depth_to_color/image_raw", "color/camera_info"):
                assert counts[f"{camera}/{suffix}"] == published[f"{camera}/{suffix}"]
        for topic in ("joint_states", "arm/ee_pose", "tf"):
            assert counts[topic] == published[topic], topic
        connection = next(c for c in reader.connections if c.topic.endswith("camera_base/color/image_raw"))
        _, _, raw = next(reader.messages(connections=[connection]))
        image = reader.deserialize(raw, connection.msgtype)
        pixels = np.asarray(image.data).reshape(image.height, image.width, 3)
        assert pixels.std() > 10.0  # a picture, not a blank


def test_two_drivers_two_simulators_and_wrong_settings_are_refused(graph: Graph) -> None:
    graph.start("simulator", "driver")
    graph.wait(lambda: graph.monitor.arm is not None and graph.monitor.arm.state == "HOLDING", "the arm holds")
    before = graph.ear.joints()
    _refused(graph, "driver", {}, str(graph.pid("driver")))
    _refused(graph, "simulator", {}, f"{graph.port}")
    _refused(graph, "driver", {"joint_sped": 1.0}, "did you mean 'joint_speed'")
    _refused(graph, "driver", {"joint_speed": 99.0}, "joint_speed: must be in 0.01..3")
    _refused(graph, "driver", {"joint_upper": [9.0] * 6, "sim_port": 1024}, "joint_upper")
    _refused(graph, "policy", {"checkpoint": "/nowhere"}, "/nowhere")
    _refused(graph, "policy", {"device": "cuda"}, "cuda")
    assert np.max(np.abs(graph.ear.joints() - before)) < 0.01


def _refused(graph: Graph, node: str, parameters: dict[str, Any], message: str) -> None:
    """Another process of `node` with these parameters ends by itself with status 2 and says why."""
    import subprocess

    from reconvla_ros.cli.supervise import Supervisor
    from reconvla_ros.graph import describe

    spec = next(s for s in describe({"sim_port": str(graph.port)}) if s.name == node)
    spec.parameters.update(parameters)
    second = Supervisor(graph.folder / "second", quiet=True)
    done = subprocess.run(second.command(spec), capture_output=True, text=True, timeout=60)
    second.stop()
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
