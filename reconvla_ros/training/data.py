"""From samples to batches: ids and labels as the original builds them, pictures as the policy sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reconvla_ros.errors import TrainingError
from reconvla_ros.model.gaze_latents import Latents
from reconvla_ros.model.images import SIDE, tower_pixels
from reconvla_ros.model.prompt import IMAGE_ID, SYSTEM, encode_prompt, splice_state
from reconvla_ros.model.square import pad_to_square
from reconvla_ros.model.tokenizer import QwenTokenizer
from reconvla_ros.model.tokens import ActionCodec
from reconvla_ros.policy.contract import Contract
from reconvla_ros.training.latents import LatentCache
from reconvla_ros.training.mix import Place
from reconvla_ros.training.samples import Sample

IGNORED = -100
"""A label that is not learned."""
MAX_TOKENS = 32768
"""Where the original cuts; here a longer prompt is refused."""


def training_ids(
    sample: Sample, tokenizer: QwenTokenizer, codec: ActionCodec, contract: Contract
) -> tuple[list[int], list[int]]:
    """Ids of prompt and answer with `IMAGE_ID` once, and the labels: the exact action ids and the end of the answer.

    The prompt's ids are those of inference: no space stands between the colon and the first action.

    Raises:
        TrainingError: the state's splice pushed the image out, or the text is too long.
    """
    state = codec.encode_state(sample.state, contract.state_mean, contract.state_std).tolist()
    text = f"{SYSTEM} USER: {sample.text}\n{tokenizer.decode(state)} ASSISTANT:"
    prompt = splice_state(encode_prompt(tokenizer, text), state, tokenizer.splice_id)
    if prompt.count(IMAGE_ID) != 1:
        raise TrainingError(
            f"sample {sample.id}: the prompt must hold the image once, found {prompt.count(IMAGE_ID)} times; its "
            f"instruction may not hold ' ASSISTANT': {sample.text!r:.60}"
        )
    answer = [*codec.encode(sample.actions).tolist(), tokenizer.end_id]
    if len(prompt) + len(answer) > MAX_TOKENS:
        raise TrainingError(f"sample {sample.id}: {len(prompt) + len(answer)} tokens, at most {MAX_TOKENS}")
    return prompt + answer, [IGNORED] * len(prompt) + answer


def read_pixels(path: Path, side: int = SIDE) -> Tensor:
    """A picture file -> the tower's input (3, side, side) float32 in [-1, 1].

    Raises:
        TrainingError: it cannot be read.
    """
    try:
        with Image.open(path) as picture:
            rgb = np.asarray(picture.convert("RGB"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"picture {path} cannot be read: {error}") from error
    square = rgb if rgb.shape[0] == rgb.shape[1] else pad_to_square(rgb)
    return torch.from_numpy(tower_pixels(square, side)[0])


@dataclass
class Batch:
    """Samples of one micro-batch.

    Attributes:
        ids, labels: (B, T), right-padded; `IMAGE_ID` once in each row.
        images: (B, 3, S, S).
        has_target: (B,) whether a row has a gaze region.
        targets: (n, 3, S, S) of the n rows that have one; None when `latents` holds them or nobody asks.
        latents: of the same n rows, from the cache.
    """

    ids: Tensor
    labels: Tensor
    images: Tensor
    has_target: Tensor
    targets: Tensor | None = None
    latents: Latents | None = None

    def __len__(self) -> int:
        return len(self.ids)


def collate(rows: Sequence[tuple[list[int], list[int]]], images: Tensor, has_target: Sequence[bool]) -> Batch:
    """Rows of ids and labels, right-padded; no mask is needed, nothing that is learned stands behind the padding."""
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    labels = torch.full((len(rows), longest), IGNORED)
    for k, (row, wanted) in enumerate(rows):
        ids[k, : len(row)] = torch.tensor(row)
        labels[k, : len(row)] = torch.tensor(wanted)
    return Batch(ids, labels, images, torch.tensor(list(has_target)))


class TrainingData(torch.utils.data.Dataset[Batch]):
    """Batches by the places of their samples.

    Args:
        samples: of each dataset of the mix.
        tokenizer, contract: of the checkpoint that is trained.
        cache: latents of all gaze regions, None = pictures are returned.
        reconstruction: false leaves gaze regions unread.
        image_side: of the tower's input [px].
    """

    def __init__(
        self,
        samples: Sequence[Sequence[Sample]],
        tokenizer: QwenTokenizer,
        contract: Contract,
        cache: LatentCache | None = None,
        reconstruction: bool = True,
        image_side: int = SIDE,
    ) -> None:
        self.samples, self.tokenizer, self.contract = samples, tokenizer, contract
        self.codec = ActionCodec(tokenizer.base_size, contract.bins)
        self.cache, self.reconstruction, self.image_side = cache, reconstruction, image_side

    def __getitem__(self, places: list[Place]) -> Batch:
        """The micro-batch of these samples."""
        chosen = [self.samples[which][index] for which, index in places]
        rows = [training_ids(s, self.tokenizer, self.codec, self.contract) for s in chosen]
        images = torch.stack([read_pixels(s.image, self.image_side) for s in chosen])
        targets = [s.target if self.reconstruction else None for s in chosen]
        batch = collate(rows, images, [t is not None for t in targets])
        there = [t for t in targets if t is not None]
        if not there:
            return batch
        if self.cache is not None:
            batch.latents = self.cache.rows(there)
        else:
            batch.targets = torch.stack([read_pixels(t, self.image_side) for t in there])
        return batch
