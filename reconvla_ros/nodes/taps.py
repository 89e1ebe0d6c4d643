"""Raw taps on many topics: messages are taken serialised, with the times and sequence numbers of the middleware.

The queues are emptied by one thread of our own instead of an executor: an rclpy executor rebuilds its wait set of all
topics for every message, which at 1000 messages a second costs most of a core; emptying 25 queues 200 times a second
costs about 1 % of one. The arrival time is the middleware's, so the period of emptying does not show in the bag.
"""

from __future__ import annotations

import copy
import importlib
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from reconvla_ros.errors import RecordingError
from reconvla_ros.nodes import qos
from reconvla_ros.recording.metadata import TopicQos
from reconvla_ros.recording.schema import split_type
from reconvla_ros.recording.session import Taken
from reconvla_ros.recording.settings import RecordedTopic

REFRESH_PERIOD = 0.5  # [s] how often taps without a publisher look for one whose QoS they could match


@dataclass
class Tap:
    """One topic: its subscription, what was lost on the way, and where its one publisher's count stands."""

    topic: RecordedTopic
    kind: type
    subscription: Subscription
    lost: int = 0
    last: int = 0
    publishers: int = 0

    def note_sequence(self, sequence: int) -> None:
        """Count the gap to the message before. Several publishers share a topic without a common count: no figure."""
        if self.publishers == 1 and 0 < self.last < sequence:
            self.lost += sequence - self.last - 1
        self.last = sequence


def offered(node: Node, topic: str) -> list[TopicQos]:
    """What the publishers of `topic` offer now, once each."""
    profiles: dict[TopicQos, None] = {}
    for info in node.get_publishers_info_by_topic(topic):
        best_effort = info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
        latched = info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
        profiles[
            TopicQos(
                "best_effort" if best_effort else "reliable",
                "transient_local" if latched else "volatile",
                info.qos_profile.depth or (1 if latched else 10),  # the middleware does not tell the depth of others
            )
        ] = None
    return list(profiles)


def wanted_qos(topic: RecordedTopic, offers: Iterable[TopicQos]) -> QoSProfile:
    """The strictest request that every offer can meet, as rosbag2 asks."""
    offers = list(offers)
    depth = qos.RECORD_IMAGES if topic.type_name.endswith("Image") else qos.RECORD
    profile = copy.copy(qos.RECORD_LATCHED if topic.latched else depth)
    if any(offer.reliability == "best_effort" for offer in offers):
        profile.reliability = ReliabilityPolicy.BEST_EFFORT
    if any(offer.durability == "volatile" for offer in offers):
        profile.durability = DurabilityPolicy.VOLATILE
    return profile


class Taps:
    """Subscribes on a node that no executor spins, and hands every message to `sink` from its own thread.

    Args:
        node: for this object alone; it destroys the subscriptions, not the node.
        topics: what to take, with resolved names. sink: called from the tap thread, must not wait.
        period: how often queues are emptied [s].

    Raises:
        RecordingError: a type that is not installed.
    """

    def __init__(
        self, node: Node, topics: Iterable[RecordedTopic], sink: Callable[[Taken], Any], period: float = 0.005
    ) -> None:
        self._node, self._sink, self._period = node, sink, period
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._until_ns: int | None = None
        self.error = ""  # why taking ended before its time; empty while all is well
        self.taps = [self._open(topic) for topic in topics]
        self._thread = threading.Thread(target=self._run, name="taps", daemon=True)

    def start(self) -> None:
        """Begin to take messages; they have been queued by the middleware since construction."""
        self._thread.start()

    def matched(self) -> bool:
        """Whether every publisher that is known now is connected."""
        return all(tap.subscription.get_publisher_count() >= self._node.count_publishers(tap.topic.name)
                   for tap in self.taps)  # fmt: skip

    def wait_matched(self, timeout: float) -> bool:
        """Wait at most `timeout` [s] until `matched`; False when it did not come to that."""
        deadline = time.monotonic() + timeout
        while not self.matched():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)
        return True

    def lost(self) -> dict[str, int]:
        """Messages that were published and never came, per topic; a gap in the publisher's own count."""
        return {tap.topic.name: tap.lost for tap in self.taps}

    def close(self, until_ns: int, drain: float) -> None:
        """Take what was published up to `until_ns` (ROS time) for `drain` [s] more, then unsubscribe."""
        self._until_ns = until_ns
        self._stop.wait(drain)
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
            if not self.error:
                self._take_all()
        for tap in self.taps:
            self._node.destroy_subscription(tap.subscription)

    def _open(self, topic: RecordedTopic) -> Tap:
        try:
            package, type_name = split_type(topic.type_name)
            kind = getattr(importlib.import_module(f"{package}.msg"), type_name)
        except (AttributeError, ImportError) as error:
            raise RecordingError(f"topic {topic.name}: type {topic.type_name} is not installed ({error})") from error
        profile = wanted_qos(topic, offered(self._node, topic.name))
        return Tap(topic, kind, self._subscribe(kind, topic.name, profile))

    def _subscribe(self, kind: type, full_name: str, profile: QoSProfile) -> Subscription:
        return self._node.create_subscription(kind, full_name, _never_called, profile, raw=True)

    def _run(self) -> None:
        refresh_at = 0.0
        try:
            while not self._stop.wait(self._period):
                self._take_all()
                if time.monotonic() >= refresh_at:
                    self._refresh()
                    refresh_at = time.monotonic() + REFRESH_PERIOD
        except Exception as error:  # a thread that dies in silence would look like a recording
            self.error = f"recording ended: {type(error).__name__}: {error}"

    def _take_all(self) -> None:
        with self._lock:
            for tap in self.taps:
                handle = tap.subscription.handle
                with handle:
                    taken = handle.take_message(tap.kind, True)
                    while taken is not None and self._hand_over(tap, *taken):
                        taken = handle.take_message(tap.kind, True)

    def _hand_over(self, tap: Tap, data: bytes, info: dict[str, Any]) -> bool:
        """False: the middleware gave nothing, and goes on doing so for a while (/dev/shm is full); other topics come first."""
        if len(data) < 4:  # the header of every serialised message
            tap.lost += 1
            return False
        published = info["source_timestamp"]
        if self._until_ns is not None and published > self._until_ns:
            return True
        sequence = info.get("publication_sequence_number") or 0  # Humble's rclpy has none: losses stay unknown
        if sequence > tap.last + 1:  # rare, and a second publisher may just have come
            tap.publishers = tap.subscription.get_publisher_count()
        tap.note_sequence(sequence)
        self._sink(Taken(tap.topic.name, data, info["received_timestamp"], published, sequence))
        return True

    def _refresh(self) -> None:
        """Renew a tap whose publisher came later with an offer the first request does not fit."""
        for tap in self.taps:
            tap.publishers = tap.subscription.get_publisher_count()
            if tap.publishers:
                continue
            offers = offered(self._node, tap.topic.name)
            profile = wanted_qos(tap.topic, offers)
            asked = tap.subscription.qos_profile
            if offers and (profile.reliability, profile.durability) != (asked.reliability, asked.durability):
                renewed = self._subscribe(tap.kind, tap.topic.name, profile)
                with self._lock:
                    old, tap.subscription = tap.subscription, renewed
                self._node.destroy_subscription(old)


def _never_called(message: object) -> None:
    """No executor spins the node of the taps."""
