"""Small parts the decoder and the tower share."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
ONEDNN_WEIGHTS = 1 << 17
"""Smallest matrix [entries] that goes to oneDNN: a call costs 15 us more than MKL's, which small ones do not earn."""


class Matrix(NamedTuple):
    """A linear map in the form it is applied: (out, in) weights, (out,) bias, and (out,) scale of 8-bit weights."""

    weight: Tensor
    bias: Tensor | None = None
    scale: Tensor | None = None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(..., in) -> (..., out), as `F.linear`.

    Inference in float32 on a CPU goes to oneDNN instead of MKL: measured on an AMD EPYC with one thread it is 1.2 to 1.4
    times as fast for 1 row and for 200 to 800, and 2 to 2.5 times for 2 and 3 rows, where MKL falls back to something slow.
    """
    if (
        ONEDNN
        and x.is_cpu
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_grad_enabled()
        and weight.numel() >= ONEDNN_WEIGHTS
    ):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")  # type: ignore[no-any-return]
    return F.linear(x, weight, bias)


def project(x: Tensor, matrix: Matrix) -> Tensor:
    """(..., in) -> (..., out); 8-bit weights are widened to the dtype of `x`, which a compiler fuses into the product."""
    if matrix.scale is None:
        return linear(x, matrix.weight, matrix.bias)
    y = F.linear(x, matrix.weight.to(x.dtype)) * matrix.scale
    return y if matrix.bias is None else y + matrix.bias


class Linear(nn.Linear):
    """`nn.Linear` through `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return linear(x, self.weight, self.bias)


class RmsNorm(nn.Module):
    """x / rms(x) * weight; the mean square in float32, whatever the dtype of `x` (..., hidden)."""

    def __init__(self, hidden: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Same shape and dtype as `x`."""
        if x.dtype == torch.float32 or x.is_cuda:  # one kernel; the wide sum is inside it
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


def rope_tables(
    length: int, head_dim: int, theta: float, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Cosine and sine (length, head_dim) of rotary positions 0..length-1, computed in float32.

    The first half of the sine carries the sign that `rotate` needs.
    """
    inverse = 1.0 / (theta ** (torch.arange(0, head_dim, 2, device=device, dtype=torch.int64).float() / head_dim))
    angle = torch.outer(torch.arange(length, device=device).float(), inverse)
    cos, sin = angle.cos(), angle.sin()
    return torch.cat((cos, cos), dim=-1).to(dtype), torch.cat((-sin, sin), dim=-1).to(dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn `x` (heads, T, head_dim) by its positions; the halves of a head form the pairs, as Qwen2 does it."""
    return x * cos + x.roll(x.shape[-1] // 2, dims=-1) * sin
