"""How much room there is for episodes: a quota of our own and the free space of the disk."""

from __future__ import annotations

import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from reconvla_ros.errors import RecordingError

_GB = 1e9


def used(folder: Path) -> int:
    """Bytes of all files below `folder`; 0 when it is not there."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(place) / name).stat().st_size
            except OSError:  # deleted meanwhile
                continue
    return total


def free(folder: Path) -> int:
    """Bytes that may still be written on the disk of `folder`, or of its nearest parent that exists."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


@dataclass
class DiskGuard:
    """Says when recording must not begin or must end.

    Attributes:
        folder: of all episodes. quota: most that may lie there [B]; 0 = no bound. reserve: what stays free on the disk [B].
    """

    folder: Path
    quota: int = 0
    reserve: int = 0
    _others: int = 0

    def check_start(self) -> None:
        """Call before an episode begins.

        Raises:
            RecordingError: no room; names bound, value and remedy.
        """
        self._others = used(self.folder) if self.quota else 0
        if why := self.problem(0):
            raise RecordingError(f"{why}; nothing is recorded (remedy: reconvla episodes delete, or another folder)")

    def problem(self, written: int) -> str:
        """Why the episode that has `written` [B] so far must end; empty while there is room."""
        left = free(self.folder)
        if left < self.reserve:
            return f"low disk: {left / _GB:.2f} GB free for {self.folder}, min_free_gb is {self.reserve / _GB:g}"
        if self.quota and self._others + written >= self.quota:
            held = (self._others + written) / _GB
            return f"disk quota: episodes in {self.folder} take {held:.2f} GB, quota_gb is {self.quota / _GB:g}"
        return ""


def is_being_written(file: Path) -> bool:
    """Whether a recorder holds the lock of this MCAP file."""
    try:
        with file.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
