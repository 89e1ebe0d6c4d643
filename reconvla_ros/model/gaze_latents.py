"""Latents of gaze regions: the autoencoder in FLUX.1's layout, and the grid its latents are put on (training only).

The autoencoder is diffusers' `AutoencoderKL` without quantisation layers, from a local folder; which one does not matter as
long as its layout is that one: 8 pixels to a latent, a shift and a scale in its config. FLUX.1's has 16 channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from reconvla_ros.errors import CheckpointError, SetupError
from reconvla_ros.model.config import read_json
from reconvla_ros.model.safetensor import FLOATS, Reader, Stored, read_header

PREFIX = "model.pixel_decoder.pixel_decoder."
"""Of the autoencoder's names in a checkpoint."""
FACTOR = 8
"""Pixels to a latent, along one side."""
CELL = 2
"""Latents to a token, along one side."""
PIXELS_PER_TOKEN = FACTOR * CELL
FILES = ("diffusion_pytorch_model.safetensors", "model.safetensors")


@dataclass(frozen=True)
class Latents:
    """What the encoder says about pictures: mean and deviation (B, C, 2 side, 2 side) of each latent."""

    mean: Tensor
    std: Tensor

    def draw(self, noise: Tensor) -> Tensor:
        """One sample of them, `noise` standard normal of the same shape."""
        return self.mean + self.std * noise


def to_cells(z: Tensor) -> Tensor:
    """(B, C, 2 side, 2 side) -> (B, 4 C, side, side); channel c * 4 + dy * 2 + dx, as `pixel_unshuffle` orders them."""
    return F.pixel_unshuffle(z, CELL)


def from_cells(z: Tensor) -> Tensor:
    """The inverse of `to_cells`."""
    return F.pixel_shuffle(z, CELL)


def vae_pixels(images: Tensor, side: int) -> Tensor:
    """Pictures as the tower gets them (B, 3, S, S) in [-1, 1] -> as the autoencoder gets them: 16 px to a token.

    The original goes to [0, 1] and back before it clamps; the last bits are those of that way.
    """
    x = ((images * 0.5 + 0.5 - 0.5) / 0.5).clamp(-1.0, 1.0)
    size = side * PIXELS_PER_TOKEN
    return F.interpolate(x, (size, size), mode="bilinear", align_corners=False)


class GazeAutoencoder:
    """Pictures <-> latents on the image tokens' grid, scaled for the diffusion; frozen, float32.

    Its weights are read when the first picture comes: a run whose latents are all in the cache needs neither them nor diffusers.

    Attributes:
        folder: where it is.
        shift, scale: from latents to what the diffusion works on.
        channels: of a latent.
    """

    def __init__(self, folder: Path, file: Path, config: Mapping[str, Any]) -> None:
        self.folder, self.file, self._config = folder, file, config
        self.shift, self.scale = float(config["shift_factor"]), float(config["scaling_factor"])
        self.channels = int(config["latent_channels"])

    @property
    def cell_channels(self) -> int:
        """Channels of a token's cell, 64 for FLUX.1 (``mm_inv_hidden_size``)."""
        return self.channels * CELL**2

    @cached_property
    def vae(self) -> Any:
        """diffusers' network, on the CPU.

        Raises:
            SetupError: diffusers is not installed.
            CheckpointError: the weights do not fit the config.
        """
        made = _autoencoder_kl().from_config({k: v for k, v in self._config.items() if not k.startswith("_")})
        try:
            made.load_state_dict(read_tensors(read_header(self.file)))
        except RuntimeError as error:
            raise CheckpointError(
                f"autoencoder: {self.file} does not fit its config.json: {str(error).splitlines()[-1].strip()}"
            ) from error
        return made.eval().requires_grad_(False)

    @torch.no_grad()
    def encode(self, images: Tensor, side: int) -> Latents:
        """Pictures (B, 3, S, S) in [-1, 1] -> latents (B, C, 2 side, 2 side), in float32 whatever surrounds it."""
        with torch.autocast(images.device.type, enabled=False):
            found = self.vae.to(images.device).encode(vae_pixels(images.float(), side)).latent_dist
        return Latents(found.mean, found.std)

    def scaled(self, z: Tensor) -> Tensor:
        """Latents (B, C, 2 side, 2 side) -> what the diffusion works on (B, 4 C, side, side)."""
        return to_cells((z - self.shift) * self.scale)

    @torch.no_grad()
    def decode(self, cells: Tensor) -> Tensor:
        """(B, 4 C, side, side) -> pictures (B, 3, 16 side, 16 side), about [-1, 1]."""
        z = from_cells(cells.float()) / self.scale + self.shift
        with torch.autocast(cells.device.type, enabled=False):
            return self.vae.to(cells.device).decode(z).sample  # type: ignore[no-any-return]


def _check(config: dict[str, Any], where: Path) -> None:
    """Refuse a layout that is not FLUX.1's.

    Raises:
        CheckpointError: names the key, what it says and what it must say.
    """
    if config.get("_class_name", "AutoencoderKL") != "AutoencoderKL":
        raise CheckpointError(f"{where}: _class_name must be 'AutoencoderKL', got {config['_class_name']!r}")
    for key in ("use_quant_conv", "use_post_quant_conv"):
        if config.get(key, True):
            raise CheckpointError(
                f"{where}: {key} must be false (the layout of FLUX.1), got {config.get(key, 'nothing')}"
            )
    blocks = config.get("block_out_channels", [])
    if 2 ** (len(blocks) - 1) != FACTOR:
        raise CheckpointError(
            f"{where}: block_out_channels must have 4 entries ({FACTOR} px to a latent), got {len(blocks)}"
        )
    for key in ("shift_factor", "scaling_factor", "latent_channels"):
        if not isinstance(config.get(key), (int, float)):
            raise CheckpointError(f"{where}: {key} must be a number, got {config.get(key)!r}")


def read_tensors(stored: dict[str, Stored]) -> dict[str, Tensor]:
    """The tensors of a few small files, as float32 on the CPU."""
    found, cpu = {}, torch.device("cpu")
    for file in dict.fromkeys(t.file for t in stored.values()):
        with Reader(file, cpu, lambda count: None) as reader:
            for name in (n for n, t in stored.items() if t.file == file):
                if stored[name].dtype not in FLOATS:
                    raise CheckpointError(f"{file}: {name} must be a float, got {stored[name].dtype}")
                found[name] = torch.empty(stored[name].shape)
                reader.into(stored[name], found[name])
    return found


def _autoencoder_kl() -> Any:
    try:
        from diffusers.models import AutoencoderKL
    except ImportError as error:
        raise SetupError(
            "the gaze region's autoencoder needs diffusers: pip install -r requirements/train.txt, or train from "
            f"latents that are in the cache already ({error})"
        ) from error
    return AutoencoderKL


def load_autoencoder(folder: Path) -> GazeAutoencoder:
    """The autoencoder of a folder (diffusers' layout), its layout checked.

    Raises:
        CheckpointError: no such folder, or another layout.
    """
    path = folder / "config.json"
    config = read_json(path)
    _check(config, path)
    file = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if file is None:
        raise CheckpointError(f"autoencoder: {folder} holds none of {', '.join(FILES)}")
    return GazeAutoencoder(folder, file, config)


def find_autoencoder(checkpoint: Path, data: dict[str, Any]) -> Path | None:
    """The folder ``mm_pixel_decoder`` of config.json points to: inside the checkpoint, beside it, or from where we are."""
    name = data.get("mm_pixel_decoder")
    if not isinstance(name, str) or not name:
        return None
    given = Path(name)
    for place in (checkpoint / given.name, checkpoint.parent / given, checkpoint.parent / given.name, given):
        if (place / "config.json").is_file():
            return place
    return None
