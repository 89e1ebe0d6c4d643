"""One answer of the network at the speed of the hardware: prompt and image in, a gated chunk of action tokens out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reconvla_ros.errors import ConfigError, TokenGateError, choices
from reconvla_ros.model.decode import HEADS, Decoded, decode_chunk
from reconvla_ros.model.language import Cache
from reconvla_ros.model.model import ReconVla
from reconvla_ros.model.tokens import ActionCodec

DRAFTS = ("none", "previous", "jacobi")
GRAPHS = ("auto", "off")
WEIGHTS = ("plain", "int8", "fp8")


@dataclass(frozen=True)
class Mechanisms:
    """What makes decoding fast; each a switch. All but `weights` leave the tokens as they are.

    Attributes:
        head: "certified" (rows of the action ids, one certificate for all) or "full" (the whole table in every step).
        draft: "none", "previous" (verify the draft the caller gives) or "jacobi" (and draft anew from each pass).
        graphs: "auto" (CUDA graphs on a GPU) or "off".
        weights: "plain", or weight-only "int8" or "fp8", which may change tokens.
    """

    head: str = HEADS[0]
    draft: str = "previous"
    graphs: str = "auto"
    weights: str = "plain"

    def __post_init__(self) -> None:
        for name, valid in (("head", HEADS), ("draft", DRAFTS), ("graphs", GRAPHS), ("weights", WEIGHTS)):
            value = getattr(self, name)
            if value not in valid:
                raise ConfigError(f"mechanisms: {name} {choices(value, valid)}")


class Engine:
    """Answers prompts with a loaded network; not for use by two threads at once.

    Args:
        model: the network.
        codec: which ids are actions.
        count: tokens of an answer.
        mechanisms: see there.
        end_id: when given, an answer must end with it after its last action token.
        watch_layer: decoder layer whose attention of the last prompt position is kept, -1 = none.
    """

    def __init__(
        self,
        model: ReconVla,
        codec: ActionCodec,
        count: int,
        mechanisms: Mechanisms | None = None,
        end_id: int | None = None,
        watch_layer: int = -1,
    ) -> None:
        self.model, self.codec, self.count = model, codec, count
        self.mechanisms, self.end_id, self.watch_layer = mechanisms or Mechanisms(), end_id, watch_layer
        self._cache: Cache | None = None

    @torch.inference_mode()
    def answer(
        self,
        ids: Sequence[int],
        image: Tensor,
        prefix: Sequence[int] = (),
        draft: Sequence[int] = (),
        lap: Callable[[str], None] = lambda stage: None,
    ) -> Decoded:
        """The chunk for one prompt.

        Args:
            ids: the prompt with `IMAGE_ID` in the place of the image.
            image: (729, hidden) of `ReconVla.encode_image`.
            prefix: first tokens of the answer that are already committed; they are given, not decoded.
            draft: guess of the tokens behind the prefix; changes the time, never the answer.
            lap: called with "prefill" and "decode" as each ends.

        Raises:
            TokenGateError: the answer is not exactly the action tokens asked for.
        """
        if len(prefix) > self.count:
            raise TokenGateError(f"token gate: a prefix of {len(prefix)} tokens, the answer has {self.count}")
        embeds = self.model.embed(ids, image)
        if prefix:
            embeds = torch.cat((embeds, self.model.words(prefix)))
        self._cache, states = self.model.prefill(
            embeds, self.count + 1 - len(prefix), self.watch_layer, 1 + len(prefix), self._cache
        )
        lap("prefill")
        head = self.mechanisms.head
        decoded = decode_chunk(self.model, self._cache, states, self.codec, self.count, head, self.end_id, prefix)
        lap("decode")
        return decoded
