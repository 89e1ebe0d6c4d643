"""The recorder as a process, with real publishers over DDS."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from geometry_msgs.msg import PoseStamped, Transform, TransformStamped, Vector3
from rclpy.qos import QoSProfile, ReliabilityPolicy
from reconvla_ros.msg import ArmStatus, PolicyStatus, RecordState, TaskState
from reconvla_ros.srv import RecordRelabel, RecordStart, RecordStop
from ros_ear import RosEar, end  # type: ignore[import-not-found]
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Header, String
from tf2_msgs.msg import TFMessage

from reconvla_ros.nodes import convert, qos
from reconvla_ros.nodes.taps import Tap, Taps
from reconvla_ros.recording.episode import EpisodeStore
from reconvla_ros.recording.repair import recover_episode, state_of
from reconvla_ros.recording.settings import IMAGES, RecordedTopic

pytestmark = pytest.mark.graph


class Client(RosEar):
    """A node of the test: publishes, calls the services, keeps the last record/state."""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[RecordState] = []
        self.node.create_subscription(RecordState, "record/state", self.states.append, qos.LATCHED)

    def start(self, **fields: Any) -> Any:
        return self.call(RecordStart, "record/start", RecordStart.Request(**fields))

    def stop(self, **fields: Any) -> Any:
        return self.call(RecordStop, "record/stop", RecordStop.Request(**fields))

    def relabel(self, **fields: Any) -> Any:
        return self.call(RecordRelabel, "record/relabel", RecordRelabel.Request(**fields))


@pytest.fixture
def client(domain: int) -> Iterator[Client]:
    client = Client()
    yield client
    client.close()


Launch = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def recorder(domain: int, tmp_path: Path) -> Iterator[Launch]:
    """Starts the node; whatever the test leaves is ended."""
    running: list[subprocess.Popen[bytes]] = []

    def launch(*parameters: str) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "reconvla_ros.nodes.recorder_node", "--ros-args", "-r", "__node:=recorder"]
        for parameter in (f"folder:={tmp_path}", "state_rate:=20.0", *parameters):
            words += ["-p", parameter]
        # Not from the checkout: `-m` would take the package there, which has no generated messages.
        running.append(subprocess.Popen(words, cwd=tmp_path))
        return running[-1]

    yield launch
    for process in running:
        end(process)


def counts_in(folder: Path) -> dict[str, int]:
    """Messages per topic as an independent reader finds them."""
    rosbag2 = pytest.importorskip("rosbags.rosbag2")
    found: dict[str, int] = {}
    with rosbag2.Reader(folder) as reader:
        for connection, _, _ in reader.messages():
            found[connection.topic] = found.get(connection.topic, 0) + 1
        assert found == {c.topic: c.msgcount for c in reader.connections if c.msgcount}
    return found


def test_an_episode_holds_every_message_that_was_published(client: Client, recorder: Launch, tmp_path: Path) -> None:
    joints = client.node.create_publisher(JointState, "joint_states", qos.STATE)
    image = client.node.create_publisher(Image, "camera_base/color/image_raw", qos.IMAGE)
    loose = client.node.create_publisher(Image, "camera_wrist/color/image_raw", QoSProfile(
        depth=10, reliability=ReliabilityPolicy.BEST_EFFORT))  # fmt: skip
    description = client.node.create_publisher(String, "robot_description", qos.LATCHED)
    description.publish(String(data="<robot/>"))
    recorder()
    answer = client.start(instruction="put fruit in bowl", operator_name="Ada", tags=["a"])
    assert answer.accepted, answer.message
    folder = Path(answer.path)
    assert folder.parent == tmp_path
    client.until(lambda: joints.get_subscription_count() and image.get_subscription_count()
                 and loose.get_subscription_count(), "the taps")  # fmt: skip
    pixels = Image(height=48, width=64, encoding="rgb8", step=192, data=bytes(9216))
    for i in range(300):
        joints.publish(JointState(name=["joint1"], position=[float(i)]))
        if i % 10 == 0:
            image.publish(pixels)
            loose.publish(pixels)
        time.sleep(0.001)
    assert client.start(instruction="again").message.startswith(f"episode {folder.name} is open")
    assert "did you mean 'success'" in client.stop(outcome="succes").message
    done = client.stop(outcome="success")
    assert done.accepted, done.message
    found = counts_in(folder)
    wanted = {"/joint_states": 300, "/camera_base/color/image_raw": 30, "/camera_wrist/color/image_raw": 30}
    assert {name: found.get(name, 0) for name in wanted} == wanted
    assert found["/robot_description"] == 1
    sidecar = json.loads((folder / "episode.json").read_text())
    assert (sidecar["outcome"], sidecar["operator"], sidecar["dropped"]) == ("success", "Ada", {})
    assert sidecar["counts"]["/joint_states"] == 300
    client.until(lambda: client.states and not client.states[-1].recording, "record/state to say that it ended")
    shown = next(s for s in client.states if s.recording and s.instruction == "put fruit in bowl")
    assert len(shown.topics) == len(shown.counts) == len(shown.rates) == len(shown.dropped)


def test_refusals_name_the_reason_and_a_task_lends_its_instruction(client: Client, recorder: Launch) -> None:
    task = client.node.create_publisher(TaskState, "task/state", qos.LATCHED)
    recorder()
    assert client.stop().message == "no episode is open; call record/start first"
    refused = client.start(instruction=" ")
    assert not refused.accepted
    assert "1 to 500 characters, got 0" in refused.message
    task.publish(TaskState(state="RUNNING", instruction="open the drawer"))
    client.until(lambda: client.start().accepted, "the recorder to hear of the task")
    client.until(lambda: client.states and client.states[-1].instruction == "open the drawer", "record/state")
    folder = Path(client.states[-1].path)
    discarded = client.stop(discard=True)
    assert (discarded.accepted, discarded.path) == (True, "")
    assert not folder.exists()
    assert list(folder.parent.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_closes_the_bag(client: Client, recorder: Launch, tmp_path: Path, number: signal.Signals) -> None:
    process = recorder("record_at_start:=true", "instruction:=at start")
    publisher = client.node.create_publisher(JointState, "joint_states", qos.STATE)
    client.until(lambda: client.states and client.states[-1].recording, "the episode to open")
    client.until(publisher.get_subscription_count, "the tap")
    for _ in range(20):
        publisher.publish(JointState())
    client.until(lambda: dict(zip(client.states[-1].topics, client.states[-1].counts, strict=True)).get(
        "/joint_states") == 20, "20 messages")  # fmt: skip
    process.send_signal(number)
    assert process.wait(10) == 0
    (folder,) = tmp_path.iterdir()
    assert counts_in(folder)["/joint_states"] == 20
    sidecar = json.loads((folder / "episode.json").read_text())
    assert (sidecar["outcome"], sidecar["instruction"], sidecar["ended"] != "") == ("unlabeled", "at start", True)


def test_a_folder_that_cannot_be_written_is_named(client: Client, recorder: Launch, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    recorder(f"folder:={blocked}")
    refused = client.start(instruction="x")
    assert not refused.accepted
    assert f"bag folder {blocked}/" in refused.message
    assert "cannot be made: Not a directory" in refused.message


def test_gaps_in_the_count_of_one_publisher_are_losses() -> None:
    tap = Tap(RecordedTopic("/a", "std_msgs/msg/String"), String, None, publishers=1)
    for sequence in (5, 6, 9, 10, 1, 2):  # 7 and 8 lost; then the publisher started anew
        tap.note_sequence(sequence)
    assert tap.lost == 2
    shared = Tap(RecordedTopic("/tf", "tf2_msgs/msg/TFMessage"), String, None, publishers=2)
    for sequence in (5, 900, 6):
        shared.note_sequence(sequence)
    assert shared.lost == 0


def test_a_type_that_is_not_installed_is_named_and_nothing_is_left(
    client: Client, recorder: Launch, tmp_path: Path
) -> None:
    recorder("extra:=['extra/topic no_such_msgs/msg/Nothing']")
    refused = client.start(instruction="x")
    assert not refused.accepted
    assert "no definition of no_such_msgs/msg/Nothing" in refused.message
    assert list(tmp_path.iterdir()) == []


class Robot:
    """Every stream the audit watches, published when told to, with stamps of now unless told otherwise."""

    def __init__(self, client: Client) -> None:
        self._client, node = client, client.node
        self.images = {name: node.create_publisher(Image, name, qos.IMAGE) for name in IMAGES}
        self.joints = node.create_publisher(JointState, "joint_states", qos.STATE)
        self.tcp = node.create_publisher(PoseStamped, "arm/ee_pose", qos.STATE)

    def header(self, late: float = 0.0) -> Header:
        return convert.header(self._client.node.get_clock().now().nanoseconds - round(late * 1e9), "base_link")

    def picture(self, name: str) -> None:
        depth = "depth" in name
        pixels = bytes(32 * 24 * (2 if depth else 3))
        self.images[name].publish(Image(header=self.header(), height=24, width=32, encoding="16UC1" if depth else "rgb8",
                                        step=64 if depth else 96, data=pixels))  # fmt: skip

    def speak(self, rounds: int, *silent: str, late: float = 0.0, joint: float = 0.0) -> None:
        """Pictures at 20 Hz, joints and TCP at 100 Hz."""
        for _ in range(rounds):
            for name in set(IMAGES) - set(silent):
                self.picture(name)
            for _ in range(5):
                self.joints.publish(JointState(header=self.header(late), name=["joint1"], position=[joint]))
                self.tcp.publish(PoseStamped(header=self.header()))
                self._client.executor.spin_once(timeout_sec=0.01)

    def speaks_to_nobody(self) -> bool:
        """Speak on; whether the recorder has ended the episode by itself."""
        self.speak(5)
        return not self._client.states[-1].recording

    def heard(self) -> bool:
        everyone = [*self.images.values(), self.joints, self.tcp]
        return all(publisher.get_subscription_count() for publisher in everyone)


def test_faults_of_streams_are_told_while_recording_and_kept(client: Client, recorder: Launch) -> None:
    """A camera that falls silent is told within half a second; stale, unordered and unreal joint states are told too."""
    robot = Robot(client)
    recorder("silent_after:=0.3", "state_stale:=0.2")
    answer = client.start(instruction="x")
    client.until(robot.heard, "the taps")
    robot.speak(20)
    client.states.clear()
    while not any("silent: /camera_base/color" in s.warning for s in client.states):
        assert len(client.states) < 400, client.states[-1].warning
        robot.speak(1, "camera_base/color/image_raw")
    told = next(s for s in client.states if "silent: /camera_base/color" in s.warning)
    finding = next(text for text in told.findings if text.startswith("silent"))
    assert float(finding.split()[-2]) <= 0.5, finding
    robot.speak(2, late=0.5, joint=float("nan"))
    client.until(
        lambda: {"stale", "nan", "backwards"} <= {f.split(":")[0] for f in client.states[-1].findings}, "findings"
    )
    robot.speak(4)
    message = client.stop().message
    flags = json.loads((Path(answer.path) / "episode.json").read_text())["quality"]["flags"]
    assert {"stale", "nan", "backwards"} <= set(flags)
    assert "flags: " in message
    assert "nan" in message


def test_a_quota_ends_the_episode_whole_and_refuses_the_next(client: Client, recorder: Launch) -> None:
    robot = Robot(client)
    recorder("quota_gb:=0.0005", "min_free_gb:=0.0")
    folder = Path(client.start(instruction="x").path)
    client.until(robot.heard, "the taps")
    client.until(robot.speaks_to_nobody, "the quota to end it")
    assert "disk quota: episodes in" in client.states[-1].warning
    assert state_of(folder) == "ok"
    assert json.loads((folder / "episode.json").read_text())["note"].startswith("disk quota")
    refused = client.start(instruction="again")
    assert not refused.accepted
    assert "quota_gb is 0.0005; nothing is recorded (remedy: reconvla episodes delete" in refused.message


def test_a_disk_without_room_is_refused(client: Client, recorder: Launch, tmp_path: Path) -> None:
    recorder("min_free_gb:=10000.0")
    refused = client.start(instruction="x")
    assert not refused.accepted
    assert "GB free for" in refused.message
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB, where this user may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a file system here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_named_and_nothing_that_was_written_is_lost(
    client: Client, recorder: Launch, small_disk: Path, tmp_path: Path
) -> None:
    robot = Robot(client)
    recorder(f"folder:={small_disk}", "min_free_gb:=0.0")
    folder = Path(client.start(instruction="x", operator_name="Ada").path)
    client.until(robot.heard, "the taps")
    client.until(robot.speaks_to_nobody, "the disk to be full")
    assert "No space left on device" in client.states[-1].warning
    sidecar = json.loads((folder / "episode.json").read_text())
    assert "No space left on device" in sidecar["note"]
    assert state_of(folder) == "cut"
    room = tmp_path / "room"
    room.mkdir()
    shutil.copytree(folder, room / folder.name)
    episode, found = recover_episode(EpisodeStore(room), folder.name)
    assert found.bytes > 1_000_000
    assert (state_of(room / folder.name), episode.operator) == ("ok", "Ada")


def test_labels_can_be_changed_after_the_episode(client: Client, recorder: Launch, tmp_path: Path) -> None:
    recorder()
    assert "no episode was closed yet" in client.relabel(outcome="success").message
    path = Path(client.start(instruction="x").path)
    assert "is open; call record/stop first" in client.relabel(episode=path.name, outcome="success").message
    client.stop()
    changed = client.relabel(outcome="success", instruction="put lime in bowl", tags=["good"])
    assert (changed.accepted, changed.path) == (True, str(path))
    sidecar = json.loads((path / "episode.json").read_text())
    assert (sidecar["outcome"], sidecar["instruction"], sidecar["tags"]) == ("success", "put lime in bowl", ["good"])
    assert "did you mean 'failure'" in client.relabel(outcome="failur").message
    assert client.relabel(trash=True).path == str(tmp_path / ".trash" / path.name)
    assert EpisodeStore(tmp_path).trashed() == [path.name]


def test_a_killed_recorder_loses_less_than_a_second(client: Client, recorder: Launch, tmp_path: Path) -> None:
    robot = Robot(client)
    process = recorder()
    name = Path(client.start(instruction="x", operator_name="Ada").path).name
    client.until(robot.heard, "the taps")
    robot.speak(40)
    killed = time.time_ns()
    process.kill()
    process.wait(10)
    store = EpisodeStore(tmp_path)
    assert state_of(tmp_path / name) == "cut"
    episode, found = recover_episode(store, name)
    assert killed - found.end_ns < 1_000_000_000
    assert (episode.operator, episode.instruction, state_of(tmp_path / name)) == ("Ada", "x", "ok")
    assert sum(counts_in(tmp_path / name).values()) == found.messages > 100


def test_the_sidecar_says_what_it_was_recorded_with(client: Client, recorder: Launch) -> None:
    node = client.node
    info = node.create_publisher(CameraInfo, "camera_base/color/camera_info", qos.IMAGE)
    policy = node.create_publisher(PolicyStatus, "policy/status", qos.STATUS)
    arm = node.create_publisher(ArmStatus, "arm/status", qos.STATUS)
    frames = node.create_publisher(TFMessage, "tf_static", qos.TF_STATIC)
    moved = TransformStamped(child_frame_id="camera_base_link", transform=Transform(translation=Vector3(x=0.8)))
    moved.header.frame_id = "base_link"
    frames.publish(TFMessage(transforms=[moved]))
    recorder()
    folder = Path(client.start(instruction="x").path)
    client.until(lambda: all(p.get_subscription_count() for p in (info, policy, arm, frames)), "the taps")
    for source in ("policy", "teleop", "teleop", "policy", "teleop"):
        arm.publish(ArmStatus(source=source))
        info.publish(CameraInfo(width=640, height=480, k=[600.0, 0.0, 320.0, 0.0, 601.0, 240.0, 0.0, 0.0, 1.0]))
        policy.publish(PolicyStatus(contract_digest="0123456789ab", checkpoint="/weights"))
    sidecar_file = folder / "episode.json"
    client.until(lambda: json.loads(sidecar_file.read_text())["parameters"].get("recorder"), "the parameters")
    assert client.stop(outcome="success").accepted
    sidecar = json.loads((folder / "episode.json").read_text())
    assert (sidecar["contract_digest"], sidecar["checkpoint"]) == ("0123456789ab", "/weights")
    assert sidecar["calibration"]["cameras"]["camera_base"]["k"][4] == 601.0
    assert sidecar["calibration"]["frames"]["camera_base_link"]["parent"] == "base_link"
    assert sidecar["calibration"]["frames"]["camera_base_link"]["position"] == [0.8, 0.0, 0.0]
    assert [span[0] for span in sidecar["interventions"]] == ["teleop", "teleop"]
    assert sidecar["parameters"]["recorder"]["drain"] == 0.3
    assert sidecar["software"]["mcap"]


def test_a_message_without_bytes_is_lost_and_not_recorded() -> None:
    """With /dev/shm full the middleware gave 5189 empty pictures in 0.6 s, and the bag held every one of them."""
    taken: list[Any] = []
    taps = Taps.__new__(Taps)
    taps._until_ns, taps._sink = None, taken.append
    topic = RecordedTopic("/camera_base/color/image_raw", "sensor_msgs/msg/Image")
    tap = Tap(topic, Image, SimpleNamespace(get_publisher_count=lambda: 1), publishers=1)  # type: ignore[arg-type]
    info = {"source_timestamp": 1, "received_timestamp": 2, "publication_sequence_number": 1}
    assert taps._hand_over(tap, bytes(8), info) is True
    assert taps._hand_over(tap, b"", info) is False
    assert len(taken) == 1 and tap.lost == 1
