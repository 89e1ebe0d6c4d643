"""The messages of a few topics of a bag in the order of their log times, read in place: nothing is copied, every chunk's
checksum is checked. `mcap` finds the chunks; those that are compressed are left to it altogether.

Chunk and message records: https://mcap.dev/spec (0x06, 0x05).
"""

from __future__ import annotations

import heapq
import mmap
import struct
import zlib
from collections.abc import Iterator, Set
from pathlib import Path

from mcap.reader import make_reader
from mcap.records import ChunkIndex
from mcap.stream_reader import CRCValidationError
from mcap.summary import Summary

from reconvla_ros.errors import RecordingError

_MESSAGE = 0x05
_RECORD = struct.Struct("<BQ")  # opcode, length
_CHUNK = struct.Struct("<QQQII")  # first and last log time, size, CRC-32, length of the compression's name
_HEAD = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
_SIZE = struct.Struct("<Q")
Message = tuple[int, int, memoryview]  # log time [ns], channel, serialised


def messages(file: Path, summary: Summary, channels: Set[int]) -> Iterator[Message]:
    """The messages of `channels`; the memory stays valid as long as anybody holds it.

    Raises:
        RecordingError: a chunk whose checksum differs, or that ends before it should.
    """
    wanted = [c for c in summary.chunk_indexes if channels & set(c.message_index_offsets)]
    if any(c.compression for c in wanted) or not wanted:
        yield from _by_mcap(file, summary, channels)
        return
    with file.open("rb") as stream:
        whole = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    waiting: list[tuple[int, int, int, memoryview]] = []
    count = 0
    for chunk in sorted(wanted, key=lambda c: (c.message_start_time, c.chunk_start_offset)):
        while waiting and waiting[0][0] < chunk.message_start_time:
            log, _, channel, data = heapq.heappop(waiting)
            yield log, channel, data
        for log, channel, data in _chunk(whole, chunk, channels, file):
            count += 1  # equal times stay in the order of the file
            heapq.heappush(waiting, (log, count, channel, data))
    while waiting:
        log, _, channel, data = heapq.heappop(waiting)
        yield log, channel, data


def _chunk(whole: memoryview, chunk: ChunkIndex, channels: Set[int], file: Path) -> list[Message]:
    try:
        at = chunk.chunk_start_offset + _RECORD.size
        _, _, size, crc, name = _CHUNK.unpack_from(whole, at)
        begin = at + _CHUNK.size + name + _SIZE.size
        records = whole[begin : begin + size]
        if crc and zlib.crc32(records) != crc:
            raise RecordingError(
                f"bag {file} cannot be read: checksum of the chunk at byte {chunk.chunk_start_offset} differs"
            )
        found, at = [], 0
        while at < size:
            opcode, length = _RECORD.unpack_from(records, at)
            at += _RECORD.size
            if opcode == _MESSAGE:
                channel, _, log, _ = _HEAD.unpack_from(records, at)
                if channel in channels:
                    found.append((log, channel, records[at + _HEAD.size : at + length]))
            at += length
        return found
    except struct.error as error:
        raise RecordingError(f"bag {file} cannot be read: {error}; reconvla episodes recover") from error


def _by_mcap(file: Path, summary: Summary, channels: Set[int]) -> Iterator[Message]:
    topics = [summary.channels[number].topic for number in channels]
    try:
        with file.open("rb") as stream:
            for _, channel, message in make_reader(stream, validate_crcs=True).iter_messages(topics):
                yield message.log_time, channel.id, memoryview(message.data)
    except CRCValidationError as error:
        raise RecordingError(f"bag {file} cannot be read: {error}") from error
