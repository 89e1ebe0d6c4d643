"""One rosbag2 folder with one MCAP file, written from messages that are already serialised; nothing is deserialised.

Choices, each measured with `bench record`:

* No compression: raw images compress badly at the speed needed, and two cores have no time to spare.
* Chunks of 1 MiB: a colour image (0.92 MB) and its neighbours fill one, so an index entry covers few messages and the
  buffer that is copied stays inside the cache; 16 MiB chunks were five times slower.
* A CRC per chunk: it costs about 0.3 ms per MB (3 % of a core at 92 MB/s) and is the only thing that tells a page lost
  in a power cut from an image, so it stays on; `crc=False` drops it.
* The chunk being filled is written out by `flush`, a few times a second, so a crash costs less than 1 s; `settle` puts
  it on the disk, so a power cut costs less than 1 s more than that takes.
* The file is locked while it is written: whoever recovers, deletes or lists episodes sees that somebody records.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from mcap.writer import CompressionType, Writer

from reconvla_ros.errors import RecordingError, choices
from reconvla_ros.recording import metadata
from reconvla_ros.recording.metadata import TopicQos
from reconvla_ros.recording.schema import MessageSchema

CHUNK_SIZE = 1 << 20


@dataclass
class _Topic:
    name: str
    schema: MessageSchema
    qos_text: str
    channel: int
    count: int = 0


@dataclass(frozen=True)
class BagSummary:
    """What a closed bag holds: messages per topic, first and last log time [ns] (0 when empty), size [B]."""

    counts: Mapping[str, int] = field(default_factory=dict)
    start_ns: int = 0
    end_ns: int = 0
    bytes: int = 0


class BagWriter:
    """Writes one bag folder; use from one thread. As a context manager it closes the bag whatever happens.

    Args:
        folder: must not exist; its parents are made.
        crc: a checksum per chunk.
        chunk_size: [B].

    Raises:
        RecordingError: the folder exists or cannot be written; later: unknown topic, full disk.
    """

    def __init__(self, folder: Path, crc: bool = True, chunk_size: int = CHUNK_SIZE) -> None:
        self.folder = folder
        self.file = folder / f"{folder.name}_0.mcap"
        self._topics: dict[str, _Topic] = {}
        self._schemas: dict[str, int] = {}
        self._span: tuple[int, int] | None = None
        self._payload = 0
        self._closed = False
        self._broken = ""
        try:
            folder.mkdir(parents=True)
            self._stream = self.file.open("xb")
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(self._stream, fcntl.LOCK_EX)  # gone with the process, however it ends
            metadata.sync_folder(folder)
            metadata.sync_folder(folder.parent)
        except FileExistsError as error:
            raise RecordingError(f"bag folder {folder} exists already; nothing is overwritten") from error
        except OSError as error:
            raise RecordingError(f"bag folder {folder} cannot be made: {error.strerror}") from error
        self._writer = Writer(
            self._stream, chunk_size=chunk_size, compression=CompressionType.NONE, enable_crcs=crc, use_chunking=True
        )
        self._guard(self._writer.start, "ros2", "reconvla_ros")

    def add_topic(self, name: str, schema: MessageSchema, qos: Sequence[TopicQos] = ()) -> None:
        """Declare a topic before its first message; again with the same type it is a no-op.

        Raises:
            RecordingError: the same topic with another type.
        """
        known = self._topics.get(name)
        if known is not None:
            if known.schema.name != schema.name:
                raise RecordingError(f"topic {name} is recorded as {known.schema.name}, cannot become {schema.name}")
            return
        qos_text = metadata.qos_text(qos)
        if schema.name not in self._schemas:
            data = schema.text.encode()
            self._schemas[schema.name] = self._guard(self._writer.register_schema, schema.name, "ros2msg", data)
        extra = {"offered_qos_profiles": qos_text, "topic_type_hash": schema.type_hash}
        channel = self._guard(self._writer.register_channel, name, "cdr", self._schemas[schema.name], extra)
        self._topics[name] = _Topic(name, schema, qos_text, channel)

    def write(self, topic: str, data: bytes, log_ns: int, publish_ns: int, sequence: int = 0) -> None:
        """Append one serialised (CDR) message.

        Args:
            topic: declared before.
            data: as the middleware gave it, with its 4-byte encapsulation header.
            log_ns: when it was received [ns]. publish_ns: when it was published [ns].
            sequence: count of its publisher, 0 = unknown.
        """
        entry = self._topics.get(topic)
        if entry is None:
            raise RecordingError(f"topic {choices(topic, self._topics)} was not declared")
        self._guard(self._writer.add_message, entry.channel, log_ns, data, publish_ns, sequence & 0xFFFFFFFF)
        first, last = self._span or (log_ns, log_ns)
        self._span = (min(first, log_ns), max(last, log_ns))
        self._payload += len(data)
        entry.count += 1

    def flush(self) -> None:
        """Hand everything written so far to the operating system; a crash of this process then loses none of it."""
        self._guard(self._writer.flush)

    def add_note(self, name: str, values: Mapping[str, str]) -> None:
        """Write a metadata record at once: words about the bag, inside it. Other readers show or skip it."""
        self._guard(self._writer.add_metadata, name, dict(values))

    def settle(self) -> None:
        """Write to the disk what the operating system still holds, and let its memory go.

        Left to itself the system gathers gigabytes, then halts every writer while it writes them: seconds in which a busy
        recorder loses messages. Blocks; call it from a thread of its own.
        """
        with contextlib.suppress(OSError, ValueError):  # closed meanwhile: `close` syncs by itself
            number = self._stream.fileno()
            os.fdatasync(number)
            os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)

    @property
    def counts(self) -> dict[str, int]:
        """Messages written per topic."""
        return {name: topic.count for name, topic in self._topics.items()}

    @property
    def bytes(self) -> int:
        """Serialised bytes taken so far."""
        return self._payload

    def summary(self) -> BagSummary:
        """What the bag holds now."""
        first, last = self._span or (0, 0)
        return BagSummary(self.counts, first, last, self._payload)

    def close(self) -> BagSummary:
        """Write index and metadata.yaml, and put both on the disk; safe to call twice.

        Raises:
            RecordingError: the disk refused; what was written before stays and can be read up to the cut.
        """
        if self._closed:
            return self.summary()
        self._closed = True
        try:
            if self._broken:
                raise RecordingError(self._broken)
            document = self._metadata()
            inner = yaml.safe_dump(document["rosbag2_bagfile_information"], sort_keys=False)
            self._guard(self._writer.add_metadata, "rosbag2", {"serialized_metadata": inner})
            self._guard(self._writer.finish)
            self._guard(self._stream.flush)
            self._guard(os.fsync, self._stream.fileno())
            self._guard(metadata.write_document, self.folder, document)
        finally:
            with contextlib.suppress(OSError):  # a full disk refuses the last buffer again; it was reported above
                self._stream.close()
        return self.summary()

    def _guard(self, call: Any, *arguments: Any) -> Any:
        """Call and turn the operating system's refusal into ours; after one the file takes nothing more."""
        if self._broken:
            raise RecordingError(self._broken)
        try:
            return call(*arguments)
        except OSError as error:
            self._broken = f"bag {self.file} cannot be written: {error.strerror or error}"
            raise RecordingError(self._broken) from error

    def _metadata(self) -> dict[str, Any]:
        """metadata.yaml of rosbag2."""
        summary = self.summary()
        lines = [
            metadata.TopicLine(t.name, t.schema.name, t.schema.type_hash, t.qos_text, t.count)
            for t in self._topics.values()
        ]
        return metadata.document(self.file.name, lines, summary.start_ns, summary.end_ns)

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
