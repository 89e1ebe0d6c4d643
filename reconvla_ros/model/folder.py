"""Writing a checkpoint folder: all or nothing, never over something, never onto a disk that is too small."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from reconvla_ros.errors import ConfigError, SetupError

SLACK = 50_000_000  # [bytes] for the tokenizer and the small files


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `folder` when the block ends well and is gone when it does not.

    Raises:
        ConfigError: `folder` is there and holds something, or cannot be made.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            f"checkpoint: {folder} exists and is not an empty folder; nothing is overwritten, choose another"
        )
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"checkpoint: {folder} cannot be made: {error}") from error
    try:
        yield partial
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_disk(place: Path, needed: int, what: str) -> None:
    """Refuse to begin what the disk of `place` cannot hold; `needed` [bytes].

    Raises:
        SetupError: names what is needed and what is free.
    """
    free = shutil.disk_usage(place).free
    if free < needed + SLACK:
        raise SetupError(
            f"checkpoint: {what} needs {(needed + SLACK) / 1e9:.2f} GB of disk, {free / 1e9:.2f} GB are free"
        )


def plan_shards(sizes: Mapping[str, int], limit: int) -> list[list[str]]:
    """Names of each shard, in order; a shard holds at most `limit` of the given sizes [bytes], or one tensor."""
    shards: list[list[str]] = [[]]
    used = 0
    for name, size in sizes.items():
        if shards[-1] and used + size > limit:
            shards.append([])
            used = 0
        shards[-1].append(name)
        used += size
    return shards


def shard_name(number: int, count: int) -> str:
    """File of shard 1..count, as the HF Trainer names it."""
    return f"model-{number:05d}-of-{count:05d}.safetensors"


def write_json(path: Path, data: object) -> None:
    """An indented JSON file."""
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
