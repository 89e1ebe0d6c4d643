"""The peer of `reconvla bench train`: a training step as the original (OpenHelix-Team/ReconVLA 047ccd9) makes it.

What costs time there, and is kept: the whole SigLIP model, last block and pooling head included; rows padded on the right with
an attention mask; logits of all positions, image and padding included, over the whole table in float32; every gaze region encoded
in every step; condition and latents repeated four times before anything is made of them.

What is left out, in its favour: reading and scaling pictures, which both sides get ready-made. Its loss is ours to rounding: the
bench compares the curves.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reconvla_ros.bench.upstream import hand_over, vision_model
from reconvla_ros.model.gaze_latents import GazeAutoencoder
from reconvla_ros.model.reconstruction import Draw, context_of
from reconvla_ros.training.data import IGNORED, Batch
from reconvla_ros.training.network import TrainingNetwork

EPSILON = 1e-6  # of the mask's sum


@dataclass(frozen=True)
class Expanded:
    """Embeddings (B, L, hidden), labels and mask (B, L) with the image's tokens in their places, its first place (B,)."""

    embeds: Tensor
    labels: Tensor
    mask: Tensor
    places: list[int]


class OriginalStep(nn.Module):
    """Batch in, loss out; the weights are copies of `network`'s, the frozen tower is shared."""

    def __init__(self, network: TrainingNetwork, vae: GazeAutoencoder | None) -> None:
        super().__init__()
        self.side, self.tokens = network.config.vision.side, network.config.vision.tokens
        self.language: Any = copy.deepcopy(network.language)
        self.lm_head, self.projector = copy.deepcopy(network.lm_head), copy.deepcopy(network.projector)
        self.branch = copy.deepcopy(network.branch)
        self.tower: Any = vision_model(network.config.vision)
        hand_over(self.tower, dict(network.tower.state_dict()), torch.device("cpu"), torch.float32)
        self.vae = vae

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, N, hidden): all blocks are run, the state before the last one is used."""
        with torch.no_grad():
            states = self.tower(images, output_hidden_states=True).hidden_states
        return self.projector(states[-2])  # type: ignore[no-any-return]

    def expand(self, batch: Batch) -> Expanded:
        """Each row without its padding, with the image inside, padded again with zeros."""
        pictures, rows, labels, places = self.features(batch.images), [], [], []
        for k in range(len(batch)):
            end = 1 + int((batch.labels[k] != IGNORED).nonzero().max())
            ids, wanted = batch.ids[k, :end], batch.labels[k, :end]
            at = int((ids < 0).nonzero()[0])
            words = self.language.embed_tokens(torch.cat((ids[:at], ids[at + 1 :])))
            rows.append(torch.cat((words[:at], pictures[k], words[at:])))
            labels.append(torch.cat((wanted[:at], wanted.new_full((self.tokens,), IGNORED), wanted[at + 1 :])))
            places.append(at)
        pad = nn.utils.rnn.pad_sequence
        mask = pad([torch.ones(len(r), dtype=torch.long) for r in rows], batch_first=True)
        return Expanded(pad(rows, batch_first=True), pad(labels, batch_first=True, padding_value=IGNORED), mask, places)

    def forward(self, batch: Batch, drawn: Draw | None) -> Tensor:
        """Total loss."""
        made = self.expand(batch)
        hidden = self.language(inputs_embeds=made.embeds, attention_mask=made.mask, use_cache=False).last_hidden_state
        logits = self.lm_head(hidden).float()
        shifted, wanted = logits[:, :-1].contiguous(), made.labels[:, 1:].contiguous()
        loss = F.cross_entropy(shifted.view(-1, shifted.shape[-1]), wanted.view(-1), ignore_index=IGNORED)
        if self.branch is None or self.vae is None or drawn is None or batch.targets is None:
            return loss
        states = torch.stack([hidden[k, at : at + self.tokens] for k, at in enumerate(made.places)])
        cells = self.vae.scaled(self.vae.encode(batch.targets, self.side).draw(drawn.latent))
        repeats = len(drawn.t) // len(cells)
        context, start = (x.repeat(repeats, 1, 1, 1) for x in (context_of(states), cells))
        noised = self.branch.diffusion.noised(start, drawn.t, drawn.noise)
        rows = (self.branch.net(noised, drawn.t, context) - drawn.noise).pow(2).mean(dim=(1, 2, 3))
        count = float(len(rows))
        return loss + rows.mean() * count / (count + EPSILON)
