"""One episode of a session without the graph, written as the recorder writes it: the same topics, messages and sidecar.

What the driver, the cameras, the policy, the task and the simulator would publish goes through the same code into the bag.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Bool
from tf2_msgs.msg import TFMessage

from reconvla_ros.arm.tick import TickResult
from reconvla_ros.arm.urdf import RobotTree, description_file
from reconvla_ros.camera.sim import mounting
from reconvla_ros.msg import ActionChunk as ChunkMessage
from reconvla_ros.msg import PolicyStatus, TaskState
from reconvla_ros.nodes import convert, qos, sim_convert
from reconvla_ros.nodes.camera_node import camera_frames
from reconvla_ros.nodes.driver_speaker import DriverSpeaker
from reconvla_ros.nodes.policy_status import to_status
from reconvla_ros.nodes.provenance import Provenance, software_versions
from reconvla_ros.nodes.serialized import image_bytes
from reconvla_ros.policy.report import Report, Task
from reconvla_ros.recording.audit import Auditor
from reconvla_ros.recording.bag import BagWriter
from reconvla_ros.recording.cdr import finite_positions
from reconvla_ros.recording.episode import Episode, EpisodeStore
from reconvla_ros.recording.metadata import TopicQos
from reconvla_ros.recording.repair import NOTE, note_of
from reconvla_ros.recording.schema import message_schema
from reconvla_ros.recording.session import Taken
from reconvla_ros.recording.settings import CALIBRATION, COLOR, COLORS, DEPTH, IMAGES, STATES
from reconvla_ros.sim.scenes import CAMERAS
from reconvla_ros.sim.session import TASK_ID, Session
from reconvla_ros.types import ActionChunk, CameraFrame

_TRUTH_EVERY, _STATUS_EVERY = 10, 100  # ticks: 20 Hz as the simulator tells it, 2 Hz as the policy does


class _Publisher:
    """Stands where a node's publisher stands; what it is given goes into the bag."""

    subscribers = 0

    def __init__(self, episode: CollectedEpisode, topic: str) -> None:
        self._episode, self._topic = episode, topic

    def publish(self, message: Any) -> None:
        """A message, or its bytes."""
        self._episode.write(self._topic, message if isinstance(message, bytes) else serialize_message(message))


class CollectedEpisode:
    """Watches one `Session` and writes what it sees; `open` begins the bag, `close` labels it.

    Args:
        store: where episodes are. instruction: of the task. tags: of the sidecar. at: its time, which makes its name.
        about: `policy.factory.describe` of who acts.
        depth: write depth images too.
    """

    def __init__(
        self,
        store: EpisodeStore,
        instruction: str,
        tags: tuple[str, ...],
        at: datetime.datetime,
        about: Mapping[str, str],
        depth: bool = False,
    ) -> None:
        self._store, self._about, self._depth, self._at = store, about, depth, at
        self.episode: Episode = store.plan(instruction, about.get("checkpoint", ""), tags, at, software_versions())
        self._bag: BagWriter | None = None
        self._now = 0
        images = IMAGES if depth else COLORS
        self._audit = Auditor(images, STATES, COLORS)
        names = {name: f"/{name}" for name in (*CALIBRATION, "policy/status", "tf_static", "arm/status")}
        self._provenance = Provenance(names, CALIBRATION)
        self._ticks = self._chunks = 0
        self._task = Task(TASK_ID, instruction)

    def publish_on(self, kind: type, topic: str, profile: QoSProfile, *, always: bool = False) -> Any:
        """As `ManagedNode.publish_on`."""
        assert self._bag is not None
        offer = TopicQos(
            "best_effort" if profile.reliability == ReliabilityPolicy.BEST_EFFORT else "reliable",
            "transient_local" if profile.durability == DurabilityPolicy.TRANSIENT_LOCAL else "volatile",
            profile.depth,
        )
        type_name = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
        self._bag.add_topic(f"/{topic}", message_schema(type_name), [offer])
        return _Publisher(self, topic)

    def write(self, topic: str, data: bytes) -> None:
        """One serialised message, now."""
        assert self._bag is not None
        self._bag.write(f"/{topic}", data, self._now, self._now)
        if f"/{topic}" in self._provenance.topics:
            self._provenance.take(Taken(f"/{topic}", data, self._now, self._now))
        if topic == "joint_states":
            self._audit.note(topic, self._now, self._now, self._now, finite_positions(data))
        elif topic in self._audit.topics:
            self._audit.note(topic, self._now, self._now, self._now)

    def open(self, session: Session) -> None:
        """Begin the bag with what is said once; from here on it sees the session. RecordingError: it cannot be written."""
        self._now = session.now_ns
        self._bag = BagWriter(self._store.folder(self.episode))
        self._store.begin(self.episode)
        self._bag.add_note(NOTE, note_of(self.episode))
        self._speaker = DriverSpeaker(self, False, session.driver.trace_rate)  # type: ignore[arg-type]
        self._speaker.introduce(session.core, RobotTree(description_file().read_text(encoding="utf-8")), self._now)
        static = self.publish_on(TFMessage, "tf_static", qos.TF_STATIC)
        self._images: dict[str, tuple[Any, Any, Any, Any]] = {}
        for camera in CAMERAS:
            true = mounting(camera)
            static.publish(camera_frames(camera, true.parent, true.pose, self._now))
            info = [self.publish_on(CameraInfo, f"{camera}/color/camera_info", qos.IMAGE)]
            image = [self.publish_on(Image, f"{camera}/{COLOR}", qos.IMAGE)]
            if self._depth:
                info.append(self.publish_on(CameraInfo, f"{camera}/{DEPTH.split('/')[0]}/camera_info", qos.IMAGE))
                image.append(self.publish_on(Image, f"{camera}/{DEPTH}", qos.IMAGE))
            self._images[camera] = (image[0], info[0], image[-1], info[-1])
        self._chunk = self.publish_on(ChunkMessage, "policy/action_chunk", qos.COMMAND)
        self._status = self.publish_on(PolicyStatus, "policy/status", qos.STATUS)
        self._task_state = self.publish_on(TaskState, "task/state", qos.LATCHED)
        self._objects = self.publish_on(TFMessage, "sim/objects", qos.STATE)
        self._success = self.publish_on(Bool, "sim/success", qos.STATE)
        self._say_task("RUNNING")
        session.watcher = self

    def _say_task(self, state: str) -> None:
        head = convert.header(self._now, "")
        self._task_state.publish(
            TaskState(header=head, state=state, task_id=TASK_ID, instruction=self.episode.instruction)
        )

    def tick(self, result: TickResult, session: Session) -> None:
        """See `Watcher`."""
        self._now = session.now_ns
        self._speaker.say(result, session.arm.now_ns)
        world = session.arm.world
        if self._ticks % _TRUTH_EVERY == 0 and world.director is not None:
            objects, success = sim_convert.truth_of(world.director, world.data, self._now)
            self._objects.publish(objects)
            self._success.publish(success)
        if self._ticks % _STATUS_EVERY == 0:
            report = Report("RUNNING", "", self._task, chunks=self._chunks)
            self._status.publish(to_status(report, self._about, convert.to_time(self._now)))
        self._ticks += 1

    def frame(self, camera: str, frame: CameraFrame) -> None:
        """See `Watcher`."""
        image, info, depth, depth_info = self._images[camera]
        said = convert.to_camera_info(frame.intrinsics, frame.stamp_ns, frame.frame_id)
        image.publish(image_bytes(frame.color, "rgb8", frame.stamp_ns, frame.frame_id))
        info.publish(said)
        if self._depth and frame.depth is not None:
            depth.publish(image_bytes(frame.depth, "16UC1", frame.stamp_ns, frame.frame_id))
            depth_info.publish(said)

    def chunk(self, chunk: ActionChunk) -> None:
        """See `Watcher`."""
        self._chunks += 1
        self._chunk.publish(convert.to_chunk(chunk))

    def close(self, success: bool, parameters: Mapping[str, Any], note: str = "") -> Episode:
        """Label and close it.

        Args:
            parameters: of the nodes that would have run, by node.

        Raises:
            RecordingError: the disk refused.
        """
        assert self._bag is not None
        self._say_task("SUCCEEDED" if success else "TIMED_OUT")
        done = self._bag.close()
        length = (done.end_ns - done.start_ns) / 1e9
        return self._store.finish(
            self.episode,
            "success" if success else "failure",
            self._at + datetime.timedelta(seconds=length),
            counts=dict(done.counts),
            bytes=done.bytes,
            duration=length,
            note=note,
            quality=self._audit.quality(),
            started_ns=done.start_ns,
            parameters=dict(parameters),
            **self._provenance.snapshot(done.start_ns),
        )
