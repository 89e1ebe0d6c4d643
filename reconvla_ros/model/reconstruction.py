"""The reconstruction branch: the image tokens must tell the denoiser what the gaze region looks like (training only).

Removed at inference; nothing of the policy imports it (test_layers of the model folder says so).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reconvla_ros.model.denoiser import Denoiser, DenoiserConfig
from reconvla_ros.model.diffusion import Diffusion

NORM_EPS = 1e-5
LIMIT = 5.0
"""Largest clean latent when regions are rebuilt; by shift and scale latents are about standard normal."""
REPEATS = 4
"""Noise levels each sample is seen at in one step, in the original."""


@dataclass(frozen=True)
class Draw:
    """What chance decides in one step, for R = repeats * B rows [s0, s1, .., s0, s1, ..].

    Attributes:
        t: (R,) steps of the diffusion.
        noise: (R, channels, side, side).
        latent: (B, C, 2 side, 2 side), for the sample of the encoder's posterior.
    """

    t: Tensor
    noise: Tensor
    latent: Tensor


def draw(batch: int, repeats: int, channels: int, side: int, steps: int, generator: torch.Generator) -> Draw:
    """Draw on the CPU, so that the same seed is the same on every device; `channels` those of a cell (4 C)."""
    rows = batch * repeats
    return Draw(
        torch.randint(0, steps, (rows,), generator=generator),
        torch.randn(rows, channels, side, side, generator=generator),
        torch.randn(batch, channels // 4, 2 * side, 2 * side, generator=generator),
    )


def context_of(hidden: Tensor) -> Tensor:
    """States of the image positions (B, side * side, H) after the last norm -> (B, H, side, side): LayerNorm, no affine."""
    x = F.layer_norm(hidden, hidden.shape[-1:], eps=NORM_EPS)
    side = round(hidden.shape[1] ** 0.5)
    return x.transpose(1, 2).unflatten(2, (side, side))


class Reconstruction(nn.Module):
    """The denoiser and its loss; float32 whatever surrounds it."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.net = Denoiser(config)
        self.diffusion = Diffusion()

    def rows(self, hidden: Tensor, cells: Tensor, drawn: Draw) -> Tensor:
        """Loss of every row.

        Args:
            hidden: (B, side * side, H) states of the image positions.
            cells: (B, channels, side, side) scaled latents of the gaze regions.
            drawn: R = repeats * B rows.

        Returns:
            (R,) mean squared error of the predicted noise over channels and places.
        """
        device = hidden.device
        with torch.autocast(device.type, enabled=False):
            t, noise = drawn.t.to(device), drawn.noise.to(device)
            repeats = len(t) // len(hidden)
            start = cells.float().repeat(repeats, 1, 1, 1)
            # The condition is the same for all rows of a sample: embedded once, where the original does it for each.
            z = self.net.condition(context_of(hidden.float())).repeat(repeats, 1, 1)
            found = self.net.denoise(self.diffusion.noised(start, t, noise), t, z)
            return (found - noise).pow(2).mean(dim=(1, 2, 3))

    def sample(self, hidden: Tensor, steps: int, generator: torch.Generator) -> Tensor:
        """Rebuild gaze regions from states (B, side * side, H): scaled latents (B, channels, side, side)."""
        config = self.net.config
        z = self.net.condition(context_of(hidden.float()))
        shape = (len(hidden), config.channels, config.side, config.side)
        x = torch.randn(shape, generator=generator).to(hidden.device)
        schedule = self.diffusion if steps == len(self.diffusion) else self.diffusion.respaced(steps)
        return schedule.sample(lambda x, t: self.net.denoise(x, t, z), x, generator, LIMIT)
