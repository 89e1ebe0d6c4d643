"""The network as it is trained: tower and projector of model/, transformers' Qwen2, and the reconstruction branch.

Names of its parts follow the checkpoint, so that what is trained here is what the policy runs. Rows of a batch are padded on
the right and attention is causal, so nothing that counts ever sees the padding.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from reconvla_ros.errors import SetupError
from reconvla_ros.model.config import LanguageConfig, ModelConfig
from reconvla_ros.model.denoiser import DenoiserConfig
from reconvla_ros.model.prompt import IMAGE_ID
from reconvla_ros.model.reconstruction import Draw, Reconstruction
from reconvla_ros.model.vision import Projector, SiglipTower
from reconvla_ros.training.data import IGNORED, Batch


@dataclass(frozen=True)
class Losses:
    """Scalars of one micro-batch: `total` is what is learned; `gaze` is None without a branch or without a gaze region."""

    total: Tensor
    action: Tensor
    gaze: Tensor | None
    correct: Tensor


def language_model(c: LanguageConfig) -> nn.Module:
    """transformers' Qwen2 without head, on the current device; SDPA attention.

    Raises:
        SetupError: transformers is not installed.
    """
    try:
        from transformers import Qwen2Config, Qwen2Model
    except ImportError as error:
        raise SetupError(f"training needs transformers: pip install transformers ({error})") from error
    config = Qwen2Config(
        vocab_size=c.vocab_rows, hidden_size=c.hidden, intermediate_size=c.intermediate, num_hidden_layers=c.layers,
        num_attention_heads=c.heads, num_key_value_heads=c.kv_heads, rms_norm_eps=c.norm_eps, hidden_act="silu",
        rope_theta=c.rope_theta, tie_word_embeddings=c.tied, max_position_embeddings=32768, use_cache=False,
        attn_implementation="sdpa",
    )  # fmt: skip
    model: nn.Module = Qwen2Model(config)
    return model


class TrainingNetwork(nn.Module):
    """Batch in, losses out; everything runs through `forward`, so that it may be wrapped for several devices.

    Args:
        config: sizes, with all rows of the vocabulary's tables.
        denoiser: sizes of the reconstruction branch, None = the baseline.
        train_tower: gradients reach the tower.
        gaze_weight: of the reconstruction loss.
    """

    def __init__(
        self,
        config: ModelConfig,
        denoiser: DenoiserConfig | None,
        train_tower: bool = False,
        gaze_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.config, self.train_tower, self.gaze_weight = config, train_tower, gaze_weight
        self.checkpointing = False
        self.tower = SiglipTower(config.vision)
        self.projector = Projector(config.vision.hidden, config.language.hidden)
        self.language: Any
        self.language = language_model(config.language)
        self.lm_head = nn.Linear(config.language.hidden, config.language.vocab_rows, bias=False)
        if config.language.tied:
            self.lm_head.weight = self.language.get_input_embeddings().weight
        self.branch = Reconstruction(denoiser) if denoiser is not None else None

    @staticmethod
    def make_branch(config: DenoiserConfig, seed: int) -> Reconstruction:
        """A fresh reconstruction branch; the same seed gives the same weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Reconstruction(config)

    def encode_images(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) -> image embeddings (B, N, hidden)."""
        with torch.set_grad_enabled(self.train_tower and torch.is_grad_enabled()):
            features = self._tower(images)
        return self.projector(features)

    def _tower(self, images: Tensor) -> Tensor:
        x = self.tower.embeddings(images)
        for block in self.tower.encoder.layers:
            x = checkpoint(block, x, use_reentrant=False) if self.checkpointing else block(x)
        return x

    def embed(self, ids: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """Ids (B, T) with `IMAGE_ID` once a row -> embeddings (B, T + N - 1, hidden) and the image's first place (B,)."""
        places = (ids == IMAGE_ID).int().argmax(dim=1)
        words = self.language.embed_tokens(ids.clamp(min=0))
        pictures = self.encode_images(images).to(words.dtype)
        rows = [torch.cat((words[k, :at], pictures[k], words[k, at + 1 :])) for k, at in enumerate(places.tolist())]
        return torch.stack(rows), places

    def hidden(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """States after the last norm (B, T + N - 1, hidden) and the image's first place (B,)."""
        device = self.lm_head.weight.device
        embeds, places = self.embed(batch.ids.to(device), batch.images.to(device))
        return self.language(inputs_embeds=embeds, use_cache=False).last_hidden_state, places

    def image_states(self, hidden: Tensor, places: Tensor) -> Tensor:
        """States of the image positions (B, N, hidden)."""
        count = self.config.vision.tokens
        return torch.stack([hidden[k, at : at + count] for k, at in enumerate(places.tolist())])

    def action_loss(self, hidden: Tensor, labels: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy of the labelled tokens, and the share of them that would be chosen.

        Logits are made for the positions that are learned from and for no other: the original makes them for all.
        """
        labels, extra = labels.to(hidden.device), self.config.vision.tokens - 1
        rows, columns = (labels[:, 1:] != IGNORED).nonzero(as_tuple=True)
        wanted = labels[rows, columns + 1]
        # A label behind the image has moved by the image's further tokens; the state before a label predicts it.
        moved = columns + extra * (columns + 1 > places[rows]).long()
        logits = self.lm_head(hidden[rows, moved]).float()
        return F.cross_entropy(logits, wanted), (logits.argmax(-1) == wanted).float().mean()

    def forward(self, batch: Batch, cells: Tensor | None = None, drawn: Draw | None = None) -> Losses:
        """Losses of a micro-batch.

        Args:
            batch: B samples.
            cells: (n, channels, side, side) scaled latents of the n rows that have a gaze region.
            drawn: repeats * n rows.
        """
        hidden, places = self.hidden(batch)
        action, correct = self.action_loss(hidden, batch.labels, places)
        if self.branch is None or cells is None or drawn is None:
            return Losses(action, action, None, correct)
        chosen = batch.has_target.to(hidden.device)
        # Only rows with a gaze region enter, and the mean is over them: the original averages over all rows, those without
        # a picture included, and masks afterwards.
        states = self.image_states(hidden[chosen], places[chosen]) if bool(chosen.any()) else None
        if states is None:
            return Losses(action, action, None, correct)
        gaze = self.branch.rows(states, cells.to(hidden.device), drawn).mean()
        return Losses(action + self.gaze_weight * gaze, action, gaze, correct)

    def use_checkpointing(self) -> None:
        """Keep no activations inside the blocks; they are computed again on the way back."""
        self.checkpointing = True
        with warnings.catch_warnings():  # it is to be renamed in transformers 6, and 5.17 knows this name alone
            warnings.simplefilter("ignore", FutureWarning)
            self.language.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def all_rows(config: ModelConfig, rows: int) -> ModelConfig:
    """The sizes with the vocabulary's tables as they are stored: training's softmax is over all of them."""
    return replace(config, language=replace(config.language, vocab_rows=rows))
