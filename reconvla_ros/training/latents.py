"""Latents of all gaze regions, encoded once and kept on disk: the encoder is frozen, so they never change."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reconvla_ros.errors import SetupError
from reconvla_ros.model.folder import check_disk
from reconvla_ros.model.gaze_latents import GazeAutoencoder, Latents

GROUP = 8
"""Pictures encoded at once."""


class LatentCache:
    """Mean and deviation of every gaze region, float32, mapped from one file."""

    def __init__(self, file: Path, index: dict[str, int]) -> None:
        self.array = np.load(file, mmap_mode="r")  # (regions, 2, C, 2 side, 2 side)
        self.index = index

    def rows(self, paths: Sequence[Path]) -> Latents:
        """Latents of these pictures, in this order."""
        found = torch.from_numpy(np.stack([self.array[self.index[str(p)]] for p in paths]))
        return Latents(found[:, 0], found[:, 1])


def cache_bytes(regions: int, channels: int, side: int) -> int:
    """Bytes on disk."""
    return regions * 2 * channels * (2 * side) ** 2 * 4


def vae_digest(vae: GazeAutoencoder) -> str:
    """What the latents depend on besides the picture."""
    return hashlib.sha256((vae.folder / "config.json").read_bytes() + vae.file.read_bytes()).hexdigest()


def build_cache(
    folder: Path,
    paths: Sequence[Path],
    vae: GazeAutoencoder,
    side: int,
    device: torch.device,
    read: Callable[[Path], Tensor],
    say: Callable[[str], None] = lambda line: None,
) -> LatentCache:
    """The cache for these pictures, made when it is not in `folder` yet; a cache that is not complete never has its name.

    Args:
        folder: where caches are; one file each autoencoder, grid and set of pictures.
        read: a picture file -> the tower's input (3, S, S).

    Raises:
        SetupError: the disk is too small.
    """
    unique = sorted({str(p) for p in paths})
    contents = [hashlib.sha256(Path(p).read_bytes()).hexdigest() for p in unique]
    key = hashlib.sha256(json.dumps([vae_digest(vae), side, contents]).encode()).hexdigest()[:16]
    file = folder / f"latents-{key}.npy"
    index = {path: row for row, path in enumerate(unique)}
    if file.is_file():
        say(f"gaze regions: {len(unique)} found encoded in {file.name}")
        return LatentCache(file, index)
    folder.mkdir(parents=True, exist_ok=True)
    check_disk(folder, cache_bytes(len(unique), vae.channels, side), f"the cache of {len(unique)} gaze regions")
    partial = folder / f".{file.stem}.{os.getpid()}.partial.npy"
    try:
        shape = (len(unique), 2, vae.channels, 2 * side, 2 * side)
        array = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=shape)
        for start in range(0, len(unique), GROUP):
            group = unique[start : start + GROUP]
            found = vae.encode(torch.stack([read(Path(p)) for p in group]).to(device), side)
            array[start : start + len(group)] = torch.stack((found.mean, found.std), dim=1).cpu().numpy()
            if start // GROUP % 16 == 0:
                say(f"gaze regions: {start + len(group)} of {len(unique)} encoded")
        array.flush()
        del array
        partial.replace(file)
    except OSError as error:
        raise SetupError(f"the cache of gaze regions cannot be written to {folder}: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return LatentCache(file, index)
