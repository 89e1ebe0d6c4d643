"""Shared memory that ended processes left: Fast DDS keeps a segment of up to 70 MB a process, and a killed one leaves it.

Full, it starves the whole host: publishers can put nothing into it, and hand over messages without bytes.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path("/dev/shm")
# A segment and its lock: the process that owns the segment holds an exclusive flock on `<segment>_el` while it lives
# (Fast DDS, SharedMemManager and RobustExclusiveLock; seen with 3.2 and 2.14).
_SEGMENT = re.compile(r"fastrtps_[0-9a-f]{16}")
_YOUNG = 30.0  # [s] a segment may still be in the making
_TIGHT = 1_000_000_000  # [bytes] four graphs' worth; less free than this is said


@dataclass(frozen=True)
class Leftovers:
    """Segments without an owner, and their size [bytes]."""

    segments: tuple[Path, ...]
    size: int

    def __str__(self) -> str:
        return f"{len(self.segments)} segments of ended processes, {self.size / 1e6:.0f} MB"


def _owned(lock: Path) -> bool:
    """Somebody holds it, or it cannot be told."""
    try:
        handle = os.open(lock, os.O_RDONLY)
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def leftovers(folder: Path = FOLDER) -> Leftovers:
    """What nobody owns any more; what is young, of another user, or without a lock is left out."""
    found, size = [], 0
    for path in sorted(folder.glob("fastrtps_*")) if folder.is_dir() else []:
        try:
            about = path.stat()
        except OSError:
            continue
        old = time.time() - about.st_mtime > _YOUNG
        if _SEGMENT.fullmatch(path.name) and old and not _owned(path.with_name(f"{path.name}_el")):
            found.append(path)
            size += about.st_blocks * 512
    return Leftovers(tuple(found), size)


def clean(folder: Path = FOLDER) -> Leftovers:
    """Remove them; returns what was removed."""
    removed, size = [], 0
    for path in leftovers(folder).segments:
        try:
            blocks = path.stat().st_blocks
            path.unlink()
            path.with_name(f"{path.name}_el").unlink(missing_ok=True)
        except OSError:
            continue  # another user's, or somebody else was faster
        removed.append(path)
        size += blocks * 512
    return Leftovers(tuple(removed), size)


def look(folder: Path = FOLDER) -> tuple[bool, str, str, str]:
    """A row of `reconvla doctor`: (good, name, what was found, remedy)."""
    if not folder.is_dir():
        return (True, "shared memory", f"no {folder}: the middleware uses UDP", "")
    left, usage = leftovers(folder), shutil.disk_usage(folder)
    found = f"{usage.free / 1e9:.1f} of {usage.total / 1e9:.1f} GB of {folder} free" + (
        f"; {left}" if left.segments else ""
    )
    good = usage.free > _TIGHT and left.size < _TIGHT
    return (
        good,
        "shared memory",
        found,
        "reconvla up and reconvla demo remove what ended processes left; else free it",
    )
