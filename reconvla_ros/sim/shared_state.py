"""The simulator's state for camera processes: a ring of stamped samples in shared memory; one writer, many readers.

A file in /dev/shm, mapped by everyone. A reader never blocks the writer: each slot carries its sequence number before
and after the data and a checksum, so a torn read is seen and tried again. The writer holds a lock on the file that the
kernel drops with the process, so a writer killed with -9 leaves only a file that the next one replaces. Stamps are
ROS time [ns]; freshness is judged on the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import re
import struct
import tempfile
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reconvla_ros.errors import ArmError, BusError, ShapeError

Float = NDArray[np.float64]

MAGIC = b"RVLASIM1"
SLOTS = 32
_HEADER = struct.Struct(
    "=8s Q Q Q Q q 32s 64s"
)  # magic, pid, position and velocity entries, closed, seed, digest, scene
_LATEST = struct.Struct("=Q")
_LATEST_AT = _HEADER.size
_RING_AT = 256
_SLOT = struct.Struct("=Q q q d")  # sequence, stamp, monotonic, simulated time
_TAIL = struct.Struct("=L 4x Q")  # checksum, sequence


def folder() -> Path:
    """Where the maps live: /dev/shm, or the temporary folder where there is none."""
    shm = Path("/dev/shm")
    return shm if shm.is_dir() else Path(tempfile.gettempdir())


def path_for(bus: str) -> Path:
    """The map of the simulator on CAN bus `bus` (for example "udp_multicast:239.74.163.2:43113")."""
    return folder() / f"reconvla_sim_{os.getuid()}_{re.sub(r'[^A-Za-z0-9]+', '_', bus)}"


@dataclass(frozen=True)
class Identity:
    """Which model the samples belong to: scene name, seed, SHA-256 of the model (hex), entries of qpos and qvel."""

    scene: str
    seed: int
    digest: str
    positions: int
    velocities: int


@dataclass(frozen=True, eq=False)
class Sample:
    """One instant: `stamp_ns` [ns, ROS time], `monotonic_ns` [ns], simulated `time` [s], qpos (nq,), qvel (nv,)."""

    stamp_ns: int
    monotonic_ns: int
    time: float
    position: Float
    velocity: Float


def _slot_size(identity: Identity) -> int:
    return _SLOT.size + 8 * (identity.positions + identity.velocities) + _TAIL.size


class StateWriter:
    """The simulator's end. Owns the map at `path` until `close`.

    Raises:
        BusError: another simulator that is alive owns it.
    """

    def __init__(self, path: Path, identity: Identity):
        self.path = path
        self._sequence = 0
        self._slot = _slot_size(identity)
        self._header = [
            MAGIC, os.getpid(), identity.positions, identity.velocities, 0, identity.seed,
            bytes.fromhex(identity.digest), identity.scene.encode()[:63],
        ]  # fmt: skip
        old = _lock_existing(path)
        new = Path(f"{path}.{os.getpid()}")
        self._file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._file, _RING_AT + SLOTS * self._slot)
            self._map = mmap.mmap(self._file, 0)
            _HEADER.pack_into(self._map, 0, *self._header)
            new.replace(path)
        finally:
            os.close(old)

    def publish(self, stamp_ns: int, time_s: float, position: Float, velocity: Float) -> None:
        """Write one sample; a few microseconds, never waits.

        Raises:
            ShapeError: not as many entries as the identity says.
        """
        self._sequence += 1
        at = _RING_AT + (self._sequence % SLOTS) * self._slot
        body = _SLOT.pack(self._sequence, stamp_ns, time.monotonic_ns(), time_s)
        body += np.asarray(position, np.float64).tobytes() + np.asarray(velocity, np.float64).tobytes()
        if len(body) + _TAIL.size != self._slot:
            raise ShapeError(f"shared state: {len(position)} positions, {len(velocity)} velocities do not fit the map")
        # The closing number is spoilt first and set last: a reader in between sees a mismatch.
        _TAIL.pack_into(self._map, at + self._slot - _TAIL.size, 0, 0)
        self._map[at : at + len(body)] = body
        _TAIL.pack_into(self._map, at + len(body), zlib.crc32(body), self._sequence)
        _LATEST.pack_into(self._map, _LATEST_AT, self._sequence)

    def close(self) -> None:
        """Say goodbye to the readers and remove the map; safe to call twice."""
        if self._file < 0:
            return
        self._header[4] = 1
        _HEADER.pack_into(self._map, 0, *self._header)
        if self.path.exists() and self.path.stat().st_ino == os.fstat(self._file).st_ino:
            self.path.unlink()
        self._map.close()
        os.close(self._file)
        self._file = -1


def _lock_existing(path: Path) -> int:
    """Take the lock of whatever stands at `path` (made when there is nothing), so that two starters cannot both win."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and path.stat().st_ino == os.fstat(file).st_ino:
                return file
        except BlockingIOError:
            head = os.pread(file, _HEADER.size, 0).ljust(_HEADER.size, b"\0")
            pid = _HEADER.unpack(head)[1]
            os.close(file)
            raise BusError(
                f"another simulated arm (process {pid}) already runs on this bus (it holds {path}); "
                "stop it or choose another port"
            ) from None
        os.close(file)  # replaced while we opened it: look again


class StateReader:
    """A camera's end: attach, check `identity`, then `latest`.

    Raises:
        ArmError: no simulator has made the map, or the file there is none of ours.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            file = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            raise ArmError(f"no simulated arm is running: {path} does not exist (start the simulator first)") from None
        try:
            if os.fstat(file).st_size <= _RING_AT:
                raise ArmError(f"the simulated arm at {path} is not ready")
            self._map = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(file)
        magic, self.pid, nq, nv, _, seed, digest, scene = _HEADER.unpack_from(self._map, 0)
        if magic != MAGIC:
            raise ArmError(f"{path} is not a map of this simulator (begins with {magic!r}, expected {MAGIC!r})")
        self.identity = Identity(scene.rstrip(b"\0").decode(), seed, digest.hex(), nq, nv)
        self._slot = _slot_size(self.identity)

    @property
    def closed(self) -> bool:
        """True once the writer has said goodbye."""
        return bool(_HEADER.unpack_from(self._map, 0)[4])

    def latest(self) -> Sample | None:
        """The newest whole sample; None before the first one (or, very unlikely, when every try was torn)."""
        for _ in range(5):
            (sequence,) = _LATEST.unpack_from(self._map, _LATEST_AT)
            sample = self._read(sequence) if sequence else None
            if sample is not None or not sequence:
                return sample
        return None

    def _read(self, sequence: int) -> Sample | None:
        at = _RING_AT + (sequence % SLOTS) * self._slot
        raw = self._map[at : at + self._slot]
        body = raw[: -_TAIL.size]
        head, stamp, monotonic, time_s = _SLOT.unpack_from(body)
        checksum, tail = _TAIL.unpack_from(raw, len(body))
        if head != sequence or tail != sequence or zlib.crc32(body) != checksum:
            return None
        values = np.frombuffer(body, dtype=np.float64, offset=_SLOT.size)
        n = self.identity.positions
        return Sample(stamp, monotonic, time_s, values[:n], values[n:])

    def close(self) -> None:
        """Unmap; safe to call twice."""
        self._map.close()
