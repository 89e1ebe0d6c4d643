"""Writing the result: what the file system refuses is no fault of the episode, and ends the run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from reconvla_ros.errors import DatasetError


class DiskError(DatasetError):
    """The result cannot be written; the same command goes on where it was once there is room."""


@contextlib.contextmanager
def writing(path: Path, *errors: type[Exception]) -> Iterator[None]:
    """Turn what the system (and a library, by `errors`) says while `path` is written into ours."""
    caught: tuple[type[Exception], ...] = (OSError, *errors)
    try:
        yield
    except caught as error:
        raise DiskError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file.

    Raises:
        DiskError: the disk refuses.
    """
    with writing(path):
        path.write_text(text, encoding="utf-8")
