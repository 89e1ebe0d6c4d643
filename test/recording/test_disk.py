"""Quota and free space."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconvla_ros.errors import RecordingError
from reconvla_ros.recording import disk
from reconvla_ros.recording.disk import DiskGuard


def test_the_quota_counts_what_lies_there_and_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(bytes(600))
    guard = DiskGuard(tmp_path, quota=1000)
    guard.check_start()
    assert guard.problem(399) == ""
    assert guard.problem(400).startswith("disk quota: episodes in")
    (tmp_path / "y").write_bytes(bytes(400))
    with pytest.raises(RecordingError, match=r"disk quota: .* quota_gb is 1e-06; nothing is recorded \(remedy"):
        guard.check_start()


def test_low_disk_names_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = DiskGuard(tmp_path / "not" / "there", reserve=2_000_000_000)
    monkeypatch.setattr(disk, "free", lambda folder: 1_500_000_000)
    with pytest.raises(RecordingError, match=r"low disk: 1\.50 GB free for .*, min_free_gb is 2"):
        guard.check_start()


def test_free_looks_at_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    assert disk.free(tmp_path / "a" / "b") == pytest.approx(disk.free(tmp_path), rel=0.5)
