"""A bag that was cut (killed recorder, power cut, full disk) -> one that every reader opens, with all that is whole in it.

The data are walked record by record; a chunk counts when its checksum fits. Where the walk meets nonsense (pages that never
reached the disk) it goes on at the next chunk whose checksum fits. What is found is copied into a new file by the `mcap`
library, which takes the old one's place when it is on the disk; the old one stays beside it when something between whole
parts was damaged. Format: https://mcap.dev/spec
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import mmap
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.reader import make_reader
from mcap.records import Channel, Chunk, McapRecord, Message, Metadata, Schema
from mcap.stream_reader import CRCValidationError, breakup_chunk
from mcap.writer import CompressionType, Writer

from reconvla_ros.errors import RecordingError
from reconvla_ros.recording import metadata
from reconvla_ros.recording.bag import CHUNK_SIZE

DAMAGED = ".damaged"  # appended to the name of a file whose middle could not be read
_MAGIC = b"\x89MCAP0\r\n"
_HEAD = struct.Struct("<BQ")  # opcode, length of what follows
_IN_DATA = frozenset({Opcode.HEADER, Opcode.SCHEMA, Opcode.CHANNEL, Opcode.MESSAGE, Opcode.CHUNK, Opcode.MESSAGE_INDEX,
                      Opcode.ATTACHMENT, Opcode.METADATA})  # fmt: skip
# An uncompressed chunk below 4 GiB: opcode, length, first and last time, size, CRC, no compression, size again.
_CHUNK_HEAD = re.compile(rb"\x06.{4}\0{4}.{16}.{4}\0{4}.{4}\0{4}.{4}\0{4}", re.DOTALL)


@dataclass
class Recovered:
    """What a bag held.

    Attributes:
        whole: nothing had to be done. messages: found. start_ns, end_ns: log times, 0 when there are none.
        counts: messages per topic. lost_bytes: at the end, of an unfinished chunk. damaged: places in the middle that could
        not be read. notes: metadata records by name.
    """

    file: Path
    whole: bool = False
    messages: int = 0
    start_ns: int = 0
    end_ns: int = 0
    bytes: int = 0
    lost_bytes: int = 0
    damaged: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    notes: dict[str, dict[str, str]] = field(default_factory=dict)


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[io.BufferedReader]:
    """The file, locked against a recorder that still writes it."""
    try:
        with file.open("rb") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RecordingError(f"bag {file} is being recorded; call record/stop first") from None
            yield stream
    except OSError as error:
        raise RecordingError(f"bag {file} cannot be recovered: {error.strerror or error}") from error


def is_whole(file: Path) -> bool:
    """Whether the file has its index and footer."""
    try:
        with file.open("rb") as stream:
            return make_reader(stream).get_summary() is not None
    except (McapError, OSError, ValueError, struct.error):
        return False


def _next_chunk(view: mmap.mmap, at: int) -> int | None:
    """Where the next chunk after `at` whose checksum fits begins."""
    for found in _CHUNK_HEAD.finditer(view, at):
        begin = found.start()
        length = _HEAD.unpack_from(view, begin)[1]
        size, inner = (struct.unpack_from("<Q", view, begin + offset)[0] for offset in (25, 41))
        if length == 40 + inner and size == inner and begin + 9 + length <= len(view):
            with contextlib.suppress(CRCValidationError, McapError, struct.error, UnicodeDecodeError):
                breakup_chunk(_read_chunk(view, begin, length), validate_crc=True)
                return begin
    return None


def _read_chunk(view: mmap.mmap, at: int, length: int) -> Chunk:
    return Chunk.read(ReadDataStream(io.BytesIO(view[at + 9 : at + 9 + length])))


def _walk(view: mmap.mmap, found: Recovered) -> Iterator[McapRecord]:
    """Every record that is whole, those of chunks one by one; notes in `found` what is not."""
    at, size = len(_MAGIC), len(view)
    while at + _HEAD.size <= size:
        opcode, length = _HEAD.unpack_from(view, at)
        if opcode in (Opcode.DATA_END, Opcode.FOOTER):
            return
        end = at + _HEAD.size + length
        if opcode in _IN_DATA and end <= size:
            try:
                yield from _records(view, at, opcode, length)
                at = end
                continue
            except (CRCValidationError, McapError, struct.error, UnicodeDecodeError):
                pass  # nonsense inside: as below
        then = _next_chunk(view, at + 1)
        if then is None:
            break
        found.damaged += 1
        at = then
    found.lost_bytes = size - at


def _records(view: mmap.mmap, at: int, opcode: int, length: int) -> list[McapRecord]:
    if opcode == Opcode.CHUNK:
        return breakup_chunk(_read_chunk(view, at, length), validate_crc=True)
    if opcode == Opcode.METADATA:
        return [Metadata.read(ReadDataStream(io.BytesIO(view[at + 9 : at + 9 + length])))]
    return []  # header and indexes are made anew


class _Copy:
    """The new file; channels and schemas get new numbers."""

    def __init__(self, stream: io.BufferedWriter, found: Recovered) -> None:
        self._writer = Writer(stream, chunk_size=CHUNK_SIZE, compression=CompressionType.NONE)
        self._writer.start("ros2", "reconvla_ros recover")
        self._schemas: dict[int, int] = {}
        self._types: dict[int, str] = {}
        self._channels: dict[int, tuple[int, str]] = {}
        self._lines: dict[str, tuple[str, str, str]] = {}
        self._found = found

    def take(self, record: McapRecord) -> None:
        """Add one record of the old file."""
        if isinstance(record, Message):
            self._message(record)
        elif isinstance(record, Schema) and record.id not in self._schemas:
            self._schemas[record.id] = self._writer.register_schema(record.name, record.encoding, record.data)
            self._types[record.id] = record.name
        elif isinstance(record, Channel) and record.id not in self._channels and record.schema_id in self._schemas:
            number = self._writer.register_channel(
                record.topic, record.message_encoding, self._schemas[record.schema_id], record.metadata
            )
            self._channels[record.id] = (number, record.topic)
            extra = record.metadata
            self._lines[record.topic] = (
                self._types[record.schema_id], extra.get("topic_type_hash", ""), extra.get("offered_qos_profiles", "")
            )  # fmt: skip
        elif isinstance(record, Metadata) and record.name != "rosbag2":
            self._writer.add_metadata(record.name, record.metadata)
            self._found.notes[record.name] = dict(record.metadata)

    def _message(self, message: Message) -> None:
        entry, found = self._channels.get(message.channel_id), self._found
        if entry is None:
            raise RecordingError(
                f"bag {found.file}: the definitions of its topics are lost (its first chunk is damaged)"
            )
        number, topic = entry
        self._writer.add_message(number, message.log_time, message.data, message.publish_time, message.sequence)
        found.start_ns = min(found.start_ns, message.log_time) if found.messages else message.log_time
        found.end_ns = max(found.end_ns, message.log_time)
        found.messages += 1
        found.bytes += len(message.data)
        found.counts[topic] = found.counts.get(topic, 0) + 1

    def finish(self) -> dict[str, object]:
        """Close it; returns metadata.yaml."""
        found = self._found
        lines = [metadata.TopicLine(name, *words, found.counts.get(name, 0)) for name, words in self._lines.items()]
        document = metadata.document(found.file.name, lines, found.start_ns, found.end_ns)
        self._writer.finish()
        return document


def recover_file(file: Path) -> Recovered:
    """Make one MCAP file readable again, and write metadata.yaml beside it. A file that is whole stays as it is.

    Raises:
        RecordingError: it is being recorded, it is no MCAP file, there is no room for the copy, or its definitions are lost.
    """
    found = Recovered(file)
    with _alone(file) as stream:
        if is_whole(file):
            return _describe_whole(file)
        begin = stream.read(len(_MAGIC))
        if begin != _MAGIC[: len(begin)]:
            raise RecordingError(f"{file} is no MCAP file; it begins with {begin[:8]!r}")
        partial = file.with_name(f".{file.name}.part")
        try:
            with partial.open("wb") as out:
                copy = _Copy(out, found)
                if len(begin) == len(_MAGIC):
                    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
                        for record in _walk(view, found):
                            copy.take(record)
                document = copy.finish()
                out.flush()
                os.fsync(out.fileno())
            if found.damaged:
                file.rename(file.with_name(file.name + DAMAGED))
            partial.replace(file)
            metadata.write_document(file.parent, document)
        finally:
            partial.unlink(missing_ok=True)
    return found


def _describe_whole(file: Path) -> Recovered:
    """What a whole file holds; metadata.yaml is written where it is missing."""
    with file.open("rb") as stream:
        summary = make_reader(stream).get_summary()
    assert summary is not None
    figures = summary.statistics
    counts = {c.topic: figures.channel_message_counts.get(i, 0) if figures else 0 for i, c in summary.channels.items()}
    begin, end = (figures.message_start_time, figures.message_end_time) if figures else (0, 0)
    if not (file.parent / metadata.METADATA_FILE).exists():
        lines = [
            metadata.TopicLine(
                c.topic, summary.schemas[c.schema_id].name, c.metadata.get("topic_type_hash", ""),
                c.metadata.get("offered_qos_profiles", ""), counts[c.topic],
            )
            for c in summary.channels.values()
        ]  # fmt: skip
        metadata.write_document(file.parent, metadata.document(file.name, lines, begin, end))
    held = {topic: count for topic, count in counts.items() if count}
    return Recovered(file, True, sum(counts.values()), begin, end, counts=held)
