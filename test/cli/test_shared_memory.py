"""Once 14 GB of segments of killed processes filled /dev/shm, and the recorder was handed thousands of empty pictures."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from reconvla_ros.cli import shared_memory


def segment(folder: Path, number: int, *, age: float = 100.0, lock: bool = True) -> Path:
    path = folder / f"fastrtps_{number:016x}"
    path.write_bytes(b"x" * 8192)
    if lock:
        path.with_name(f"{path.name}_el").touch()
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_what_nobody_owns_is_removed_and_nothing_else(tmp_path: Path) -> None:
    left = segment(tmp_path, 1)
    kept = [segment(tmp_path, 2), segment(tmp_path, 3, age=1.0), segment(tmp_path, 4, lock=False)]
    for name in ("fastrtps_port7411", "sem.fastrtps_port7411_mutex", "fastrtps_0123", "other"):
        (tmp_path / name).touch()
    before = {path.name for path in tmp_path.iterdir()}
    owner = os.open(kept[0].with_name(f"{kept[0].name}_el"), os.O_RDONLY)
    fcntl.flock(owner, fcntl.LOCK_EX)

    assert shared_memory.leftovers(tmp_path).segments == (left,)
    assert shared_memory.look(tmp_path)[2].endswith("1 segments of ended processes, 0 MB")
    removed = shared_memory.clean(tmp_path)
    assert removed.segments == (left,) and removed.size >= 8192
    assert before - {path.name for path in tmp_path.iterdir()} == {left.name, f"{left.name}_el"}

    os.close(owner)  # it ended
    assert shared_memory.clean(tmp_path).segments == (kept[0],)


def test_a_host_without_shared_memory_is_well(tmp_path: Path) -> None:
    none = tmp_path / "none"
    assert shared_memory.clean(none).segments == ()
    assert shared_memory.look(none)[0]
