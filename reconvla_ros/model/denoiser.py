"""The denoiser of the reconstruction branch: a small diffusion transformer (training only).

After Peebles and Xie, "Scalable Diffusion Models with Transformers" (2023), with the condition given per token: each of the
image's tokens says what the latents at its place should become. Names of parameters are the original's
(``model.mm_inv_projector.net.*``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reconvla_ros.errors import CheckpointError

PREFIX = "model.mm_inv_projector.net."
"""Of the denoiser's names in a checkpoint."""
FREQUENCIES = 256
"""Width of the sinusoid of a step."""
NORM_EPS = 1e-6
FULL_HEAD = 16
"""Narrowest head that a CPU's attention is quick with: heads of 6 and 8 take 1.6 times as long as the same filled with zeros
(torch 2.13, one thread, forward and backward over 729 tokens)."""
WIDTHS = {"denoiser_vit8x": 1280, "denoiser_vit12x": 1536}
"""Width by ``mm_inv_projector_type`` in the original; any other has 1024. A checkpoint's weights say it themselves."""


@dataclass(frozen=True)
class DenoiserConfig:
    """Sizes: condition (the language model's width), latent channels in and out, grid side, width, depth, heads."""

    condition: int
    channels: int = 64
    side: int = 27
    width: int = 1024
    depth: int = 3
    heads: int = 16

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width % 4:
            raise CheckpointError(
                f"denoiser: width must be divisible by its {self.heads} heads and by 4, got {self.width}"
            )


def read_config(shapes: Mapping[str, tuple[int, ...]], heads: int = 16) -> DenoiserConfig | None:
    """Sizes from the tensors of a checkpoint, None where it has no denoiser.

    Args:
        shapes: shape by full name.
        heads: attention heads; the checkpoint does not say them, the original always has 16.

    Raises:
        CheckpointError: a denoiser that lacks parts, or whose grid is no square.
    """
    mine = {n.removeprefix(PREFIX): s for n, s in shapes.items() if n.startswith(PREFIX)}
    if not mine:
        return None
    try:
        width, channels = mine["x_embedder.proj.weight"][:2]
        condition, tokens = mine["z_embedder.1.weight"][1], mine["pos_embed"][1]
    except KeyError as error:
        raise CheckpointError(f"checkpoint: the denoiser lacks {PREFIX}{error.args[0]}") from error
    side = round(tokens**0.5)
    if side * side != tokens:
        raise CheckpointError(f"checkpoint: the denoiser's {tokens} places ({PREFIX}pos_embed) are no square")
    depth = 1 + max(int(n.split(".")[1]) for n in mine if n.startswith("blocks."))
    return DenoiserConfig(condition, channels, side, width, depth, heads)


def positions(side: int, width: int) -> Tensor:
    """Frozen places (1, side * side, width): first half of the width from the column, second from the row, [sin | cos]."""
    omega = 1.0 / 10000 ** (np.arange(width // 4, dtype=np.float64) / (width / 4))
    rows, columns = np.divmod(np.arange(side * side), side)

    def half(place: np.ndarray) -> np.ndarray:
        angle = np.outer(place.astype(np.float64), omega)
        return np.concatenate((np.sin(angle), np.cos(angle)), axis=1)

    return torch.from_numpy(np.concatenate((half(columns), half(rows)), axis=1)).float()[None]


def sinusoid(t: Tensor) -> Tensor:
    """Steps (B,) -> (B, 256): [cos(t w) | sin(t w)], w_k = 10000^(-k / 128)."""
    half = FREQUENCIES // 2
    w = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angle = t[:, None].float() * w
    return torch.cat((angle.cos(), angle.sin()), dim=-1)


def _norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=NORM_EPS)


class Attention(nn.Module):
    """Self-attention with one matrix for q, k and v, in this order."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) -> (B, T, width)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        dim = q.shape[-1]
        if x.is_cpu and dim < FULL_HEAD:
            q, k, v = (F.pad(part, (0, FULL_HEAD - dim)) for part in (q, k, v))
        found = F.scaled_dot_product_attention(q, k, v, scale=dim**-0.5)[..., :dim]
        return self.proj(found.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linears with the tanh form of GELU between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) -> (B, T, width)."""
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


def _modulation(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(nn.SiLU(), nn.Linear(width, count * width))


class Block(nn.Module):
    """Transformer block whose norms are shifted, scaled and gated by the condition of each token (adaLN-zero)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = Attention(width, heads)
        self.mlp = Mlp(width)
        self.adaLN_modulation = _modulation(width, 6)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """x and c (B, T, width) -> (B, T, width)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(c).chunk(6, dim=-1)
        x = x + gate1 * self.attn(_norm(x) * (1 + scale1) + shift1)
        return x + gate2 * self.mlp(_norm(x) * (1 + scale2) + shift2)


class FinalLayer(nn.Module):
    """Modulated norm and the linear map to the noise."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, channels)
        self.adaLN_modulation = _modulation(width, 2)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """x and c (B, T, width) -> (B, T, channels)."""
        shift, scale = self.adaLN_modulation(c).chunk(2, dim=-1)
        return self.linear(_norm(x) * (1 + scale) + shift)


class StepEmbedder(nn.Module):
    """A step of the diffusion as a vector."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        """(B,) -> (B, width)."""
        return self.mlp(sinusoid(t))


class PatchEmbedder(nn.Module):
    """Latents to tokens, one a place (patches of 1 x 1)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, side, side) -> (B, side * side, width), row by row."""
        return self.proj(x).flatten(2).transpose(1, 2)


class Denoiser(nn.Module):
    """Noisy latents, steps and the condition -> the noise."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.pos_embed = nn.Parameter(positions(config.side, width), requires_grad=False)
        self.x_embedder = PatchEmbedder(config.channels, width)
        self.t_embedder = StepEmbedder(width)
        self.z_embedder = nn.Sequential(nn.SiLU(), nn.Linear(config.condition, width))
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.depth))
        self.final_layer = FinalLayer(width, config.channels)
        self.reset()

    def reset(self) -> None:
        """Fresh weights: xavier linears, zero biases, modulations and last layer zero (the net then answers zero)."""
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight)
                nn.init.zeros_(part.bias)
        patch = self.x_embedder.proj
        nn.init.xavier_uniform_(patch.weight.view(len(patch.weight), -1))
        assert patch.bias is not None
        nn.init.zeros_(patch.bias)
        for layer in (self.z_embedder[1], self.t_embedder.mlp[0], self.t_embedder.mlp[2]):
            nn.init.normal_(layer.weight, std=0.02)  # type: ignore[arg-type]
        last: list[nn.Module] = [b.adaLN_modulation[1] for b in self.blocks]  # type: ignore[index,union-attr,misc]
        for zero in (*last, self.final_layer.adaLN_modulation[1], self.final_layer.linear):
            nn.init.zeros_(zero.weight)  # type: ignore[arg-type]

    def condition(self, context: Tensor) -> Tensor:
        """Context (B, condition, side, side) -> its tokens (B, side * side, width); the same for all steps."""
        return self.z_embedder(context.flatten(2).transpose(1, 2))

    def denoise(self, x: Tensor, t: Tensor, z: Tensor) -> Tensor:
        """Latents (B, channels, side, side), steps (B,), condition tokens (B, side * side, width) -> noise like `x`."""
        c = self.t_embedder(t)[:, None] + z
        tokens = self.x_embedder(x) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens, c)
        return self.final_layer(tokens, c).transpose(1, 2).unflatten(2, x.shape[2:])

    def forward(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """As `denoise`, from the context (B, condition, side, side)."""
        return self.denoise(x, t, self.condition(context))
