"""Safetensors files in blocks: headers without data, tensors straight to where they are used, files tensor by tensor.

The format (github.com/huggingface/safetensors, "Format"): 8 bytes little-endian N, N bytes of JSON that say type, shape
and place of each tensor, then the data without gaps. It is read here and not mapped: a mapped file counts as memory of
the process until it is closed, which for a checkpoint in one file is the whole of it a second time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from reconvla_ros.errors import CheckpointError

FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
NAMES = {dtype: name for name, dtype in FLOATS.items()}
MAX_HEADER = 100_000_000  # [bytes], the limit of the safetensors format
BLOCK = 1 << 26  # [bytes] what is held besides the weights while reading


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies and what it is: `size` [bytes] from `offset` [bytes] of the file on."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: str
    offset: int = 0
    size: int = 0


def read_header(path: Path) -> dict[str, Stored]:
    """The tensors of one safetensors file, without reading them.

    Raises:
        CheckpointError: not a safetensors file, or shorter or longer than its header says.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or not 2 <= length <= min(MAX_HEADER, size - 8):
                raise CheckpointError(f"{path}: not a safetensors file, or cut short within its header ({size} bytes)")
            header = json.loads(file.read(length))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: shard is missing") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: header cannot be read: {error}") from error
    try:
        header.pop("__metadata__", None)
        tensors = {name: _entry(path, name, entry, 8 + length) for name, entry in header.items()}
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: header entry is malformed: {error}") from error
    end = max((t.offset + t.size for t in tensors.values()), default=8 + length)
    if size < end:
        raise CheckpointError(f"{path}: shard is cut short: {size} bytes, its header asks for {end}")
    if size > end:
        raise CheckpointError(f"{path}: {size} bytes, but its header asks for {end}; it is not the file it was")
    return tensors


def _entry(path: Path, name: str, entry: Mapping[str, object], start: int) -> Stored:
    """One entry of a header, its place checked against shape and type."""
    shape = tuple(int(n) for n in entry["shape"])  # type: ignore[attr-defined]
    first, last = (int(n) for n in entry["data_offsets"])  # type: ignore[attr-defined]
    dtype = str(entry["dtype"])
    wanted = math.prod(shape) * FLOATS[dtype].itemsize if dtype in FLOATS else last - first
    if first < 0 or min(shape, default=0) < 0 or last - first != wanted:
        raise ValueError(f"{name} {dtype} {list(shape)} needs {wanted} bytes, got place {first}..{last}")
    return Stored(path, name, shape, dtype, start + first, last - first)


class Reader:
    """Reads tensors of one file through one buffer; use it as a context."""

    def __init__(self, path: Path, device: torch.device, before_block: Callable[[int], None]) -> None:
        """`before_block` gets the bytes that come next, and may raise to call the reading off."""
        self._path, self._device, self._before = path, device, before_block
        self._buffer: Tensor | None = None
        self._file: BinaryIO | None = None

    def __enter__(self) -> Reader:
        try:
            self._file = self._path.open("rb", buffering=0)
        except OSError as error:
            raise CheckpointError(f"{self._path}: cannot be read: {error}") from error
        return self

    def __exit__(self, *_: object) -> None:
        assert self._file is not None
        self._file.close()

    def into(self, tensor: Stored, out: Tensor) -> None:
        """Fill `out` (contiguous, any device and float type) with the first ``out.numel()`` entries of `tensor`."""
        flat = out.view(-1)
        if out.device.type == "cpu" and NAMES.get(out.dtype) == tensor.dtype:
            for start, stop in _spans(flat.numel(), out.element_size()):
                self._read(tensor, start * out.element_size(), flat[start:stop].view(torch.uint8))
            return
        for start, block in self.blocks(tensor, flat.numel()):
            flat[start : start + len(block)].copy_(block)

    def blocks(self, tensor: Stored, count: int | None = None) -> Iterator[tuple[int, Tensor]]:
        """(index of its first entry, 1-D block of the stored type in the buffer); the next block overwrites it."""
        kind = FLOATS[tensor.dtype]
        if self._buffer is None:
            # Pinned memory reaches a GPU in one copy and at full speed.
            self._buffer = torch.empty(BLOCK, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        for start, stop in _spans(math.prod(tensor.shape) if count is None else count, kind.itemsize):
            raw = self._buffer[: (stop - start) * kind.itemsize]
            self._read(tensor, start * kind.itemsize, raw)
            yield start, raw.view(kind)

    def _read(self, tensor: Stored, skip: int, raw: Tensor) -> None:
        assert self._file is not None
        self._before(len(raw))
        view, done = raw.numpy().data, 0
        try:
            self._file.seek(tensor.offset + skip)
            while done < len(view):
                count = self._file.readinto(view[done:])  # type: ignore[attr-defined]
                if not count:
                    raise CheckpointError(f"{self._path}: shard was cut short while {tensor.name} was being read")
                done += count
        except OSError as error:
            raise CheckpointError(f"{self._path}: {tensor.name} cannot be read: {error}") from error


def _spans(count: int, item: int) -> Iterator[tuple[int, int]]:
    """0..count in steps that fill a block."""
    step = BLOCK // item
    return ((start, min(start + step, count)) for start in range(0, count, step))


def write_file(
    path: Path,
    layout: Mapping[str, tuple[torch.dtype, tuple[int, ...]]],
    blocks: Callable[[str], Iterable[Tensor]],
) -> int:
    """Write one safetensors file, one tensor after the other, so that no more than a block or a tensor is held.

    Args:
        layout: name -> type and shape.
        blocks: the tensor of a name, whole or in consecutive pieces, of that type and on the CPU.

    Returns:
        Bytes of all tensors.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    # Wide types first keep every tensor aligned to its type.
    names, place = sorted(layout, key=lambda n: -layout[n][0].itemsize), 0
    for name in names:
        dtype, shape = layout[name]
        end = place + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            start, (dtype, shape) = file.tell(), layout[name]
            for block in blocks(name):
                if block.dtype != dtype:
                    raise ValueError(f"{path}: {name} was announced as {dtype}, got {block.dtype}")
                file.write(block.contiguous().view(-1).view(torch.uint8).numpy().data)
            if file.tell() - start != math.prod(shape) * dtype.itemsize:
                raise ValueError(f"{path}: {name} {list(shape)} {dtype} came with {file.tell() - start} bytes")
    return place
