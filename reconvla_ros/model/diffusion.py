"""The diffusion of the reconstruction branch: cosine schedule, noise prediction, ancestral sampling (training only).

Formulas: Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models" (2021), with the settings of the original:
1000 steps, float64 tables, the network predicts the noise, fixed large variance, no clipping.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

STEPS = 1000
"""Steps the denoiser is trained for."""
MAX_BETA = 0.999
OFFSET = 0.008
"""Keeps the first betas away from zero."""

Predict = Callable[[Tensor, Tensor], Tensor]
"""Noisy latents (B, C, H, W) and steps (B,) -> the noise in them."""


def cosine_betas(steps: int = STEPS) -> NDArray[np.float64]:
    """beta_i = min(1 - f((i + 1) / steps) / f(i / steps), 0.999), f(u) = cos((u + 0.008) / 1.008 * pi / 2)^2."""

    def f(u: float) -> float:
        return math.cos((u + OFFSET) / (1 + OFFSET) * math.pi / 2) ** 2

    return np.array([min(1 - f((i + 1) / steps) / f(i / steps), MAX_BETA) for i in range(steps)])


class Diffusion:
    """Tables of one schedule (float64) and what is done with them.

    Attributes:
        betas, alphas_cumprod, posterior_variance, posterior_log_variance: (steps,).
        times: (steps,) step of the full schedule each step here stands for; the network is asked about that one.
    """

    def __init__(self, betas: NDArray[np.float64] | None = None, times: Sequence[int] | None = None) -> None:
        self.betas = cosine_betas() if betas is None else betas
        self.times = np.arange(len(self.betas)) if times is None else np.asarray(times)
        self.alphas_cumprod = np.cumprod(1.0 - self.betas)
        before = np.append(1.0, self.alphas_cumprod[:-1])
        self.posterior_variance = self.betas * (1.0 - before) / (1.0 - self.alphas_cumprod)
        self.posterior_log_variance = np.log(np.append(self.posterior_variance[1], self.posterior_variance[1:]))
        self.mean_start = self.betas * np.sqrt(before) / (1.0 - self.alphas_cumprod)
        self.mean_now = (1.0 - before) * np.sqrt(1.0 - self.betas) / (1.0 - self.alphas_cumprod)
        # "Fixed large": beta, but the posterior's variance at the first step, where beta would leave noise in the result.
        self.log_variance = np.log(np.append(self.posterior_variance[1], self.betas[1:]))

    def __len__(self) -> int:
        return len(self.betas)

    def respaced(self, count: int) -> Diffusion:
        """The same noise levels in `count` evenly spread steps, for sampling sooner.

        Raises:
            ValueError: `count` is not in 2..len.
        """
        if not 2 <= count <= len(self):
            raise ValueError(f"diffusion: steps must be in 2..{len(self)}, got {count}")
        chosen = np.unique(np.round(np.linspace(0, len(self) - 1, count)).astype(int))
        levels = self.alphas_cumprod[chosen]
        return Diffusion(1.0 - levels / np.append(1.0, levels[:-1]), self.times[chosen])

    def _at(self, table: NDArray[np.float64], t: Tensor) -> Tensor:
        """Entries of a table at steps (B,) -> float32 (B, 1, 1, 1), as the original casts them."""
        return torch.from_numpy(table).to(t.device)[t].float()[:, None, None, None]

    def noised(self, start: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t = sqrt(abar) * start + sqrt(1 - abar) * noise; (B, C, H, W), t (B,)."""
        return (
            self._at(np.sqrt(self.alphas_cumprod), t) * start + self._at(np.sqrt(1.0 - self.alphas_cumprod), t) * noise
        )

    def start(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """The clean latents that `noise` leads from to `x` at `t`."""
        scale = self._at(np.sqrt(1.0 / self.alphas_cumprod), t)
        return scale * x - self._at(np.sqrt(1.0 / self.alphas_cumprod - 1.0), t) * noise

    def backward(self, x: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One step back from `x` (B, C, H, W) at `t` (B,), given the predicted noise.

        Returns:
            Mean and log variance of the step before, and the predicted clean latents.
        """
        start = self.start(x, t, noise)
        mean = self._at(self.mean_start, t) * start + self._at(self.mean_now, t) * x
        return mean, self._at(self.log_variance, t).expand_as(x), start

    def sample(self, predict: Predict, x: Tensor, generator: torch.Generator, limit: float | None = None) -> Tensor:
        """Latents from the noise `x` (B, C, H, W), by all steps; noise is drawn in each of them, as the original draws it.

        Args:
            predict: asked with steps of the full schedule.
            generator: on the CPU, so that every device gives the same noise.
            limit: largest size of a predicted clean latent. The original has none. Where steps are few, the first divides the
                error of the predicted noise by almost nothing, and a limit is needed.
        """
        for i in reversed(range(len(self))):
            t = torch.full((len(x),), i, device=x.device, dtype=torch.long)
            asked = torch.full_like(t, int(self.times[i]))
            mean, log_variance, start = self.backward(x, t, predict(x, asked))
            if limit is not None:
                mean = mean + self._at(self.mean_start, t) * (start.clamp(-limit, limit) - start)
            noise = torch.randn(x.shape, generator=generator).to(x)
            x = mean + torch.exp(0.5 * log_variance) * noise if i else mean
        return x
