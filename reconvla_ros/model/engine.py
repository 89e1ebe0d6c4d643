"""One answer of the network at the speed of the hardware: prompt and image in, a gated chunk of action tokens out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor

from reconvla_ros.errors import ConfigError, SetupError, TokenGateError, choices
from reconvla_ros.model.decode import HEADS, Decoded, Head, Plain, Steps, decode
from reconvla_ros.model.draft import CPU_COST, GPU_COST, Draft
from reconvla_ros.model.engine_graphs import BLOCK_SIZES, Recorded, record_image, record_steps
from reconvla_ros.model.engine_weights import WEIGHTS, prepare, weight_bytes
from reconvla_ros.model.language import Cache
from reconvla_ros.model.model import ReconVla
from reconvla_ros.model.tokens import ActionCodec

DRAFTS = ("none", "previous", "jacobi")
GRAPHS = ("auto", "recorded", "off")
LEAST_CAPACITY = 1024
"""Positions of the cache: a prompt of 800, the answer, and room for longer instructions without recording anew."""


@dataclass(frozen=True)
class Mechanisms:
    """What makes decoding fast; each a switch. All but `weights` leave the tokens as they are.

    Attributes:
        head: "certified" (rows of the action ids, one certificate for all) or "full" (the whole table in every step).
        draft: "none", "previous" (verify the draft the caller gives) or "jacobi" (and draft anew from each pass).
        graphs: "auto" (CUDA graphs of compiled blocks on a GPU), "recorded" (without the compiler) or "off".
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

    The network's weights are brought into the form the mechanisms ask for, in place (see model.engine_weights).

    Args:
        model: the network.
        codec: which ids are actions.
        count: tokens of an answer.
        mechanisms: see there.
        end_id: when given, an answer must end with it after its last action token.
        watch_layer: decoder layer whose attention of the last prompt position is kept, -1 = none.

    Raises:
        ConfigError: the network's weights are in another form already.
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
        prepare(model.decoder, self.mechanisms.weights)
        self._cache: Cache | None = None
        self._recorded: tuple[Cache, Recorded | None] | None = None
        self._image: Callable[[Tensor], Tensor] | None = None

    @torch.inference_mode()
    def encode_image(self, pixels: Tensor) -> Tensor:
        """Pixels (1, 3, 384, 384) -> image embeddings (729, hidden), good until the next call."""
        if not self._on_gpu:
            return self.model.encode_image(pixels)
        with self._enough_memory(0):
            self._image = self._image or record_image(self.model)
            return self._image(pixels)

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
            image: (729, hidden) of `encode_image`.
            prefix: first tokens of the answer that are already committed; they are given, not decoded.
            draft: guess of the tokens behind the prefix; changes the time, never the answer.
            lap: called with "prefill" and "decode" as each ends.

        Raises:
            TokenGateError: the answer is not exactly the action tokens asked for.
            SetupError: the device has not memory enough for it.
        """
        if len(prefix) > self.count:
            raise TokenGateError(f"token gate: a prefix of {len(prefix)} tokens, the answer has {self.count}")
        head = Head(self.model, self.codec, self.count, self.mechanisms.head, prefix)
        guess = self._guess(draft, head.left)
        prompt = len(ids) - 1 + len(image)
        fed = guess.first(max(0, head.left - (self.end_id is None)), prompt)
        positions = prompt + self.count + 1
        with self._enough_memory(positions):
            try:
                embeds = self.model.embed(ids, image)
                if prefix or fed:
                    embeds = torch.cat((embeds, self.model.words([*prefix, *fed])))
                cache = self._cache_for(positions)
                keep = 1 + len(prefix) + len(fed)
                _, states = self.model.prefill(embeds, 0, self.watch_layer, keep, cache)
                lap("prefill")
                passes = decode(self._steps(cache), head, states[len(prefix) :], fed, guess, self.end_id)
            except TokenGateError:
                self._clear()
                raise
        lap("decode")
        return head.decoded(passes, cache.watched)

    @property
    def _on_gpu(self) -> bool:
        return self.mechanisms.graphs != "off" and self.model.device.type == "cuda"

    def _guess(self, draft: Sequence[int], left: int) -> Draft:
        """The caller's draft up to its first id that is no action; for Jacobi filled up, with zero action if empty."""
        cost = GPU_COST if self.model.device.type == "cuda" else CPU_COST
        if self.mechanisms.draft == "none":
            return Draft((), cost)
        low, high = self.codec.low, self.codec.high
        guess = list(takewhile(lambda token: low <= token <= high, draft))[:left]
        renew = self.mechanisms.draft == "jacobi"
        if renew:
            last = guess[-1] if guess else (low + high) // 2
            guess += [last] * (left - len(guess))
        return Draft(guess, cost, renew)

    def _cache_for(self, positions: int) -> Cache:
        """The one cache, renewed when it is too small; larger than asked for, so that this stays rare."""
        needed = positions + BLOCK_SIZES[-1]
        if self._cache is None or self._cache.capacity < needed:
            self._cache = self._recorded = None  # free the old one first
            self._cache = self.model.decoder.new_cache(max(LEAST_CAPACITY, -(-needed // 64) * 64))
        return self._cache

    def _steps(self, cache: Cache) -> Steps:
        if not self._on_gpu:
            return Plain(self.model, cache)
        if self._recorded is None or self._recorded[0] is not cache:
            compiled = self.mechanisms.graphs == "auto"
            low, high = self.codec.low, self.codec.high
            self._recorded = (cache, record_steps(self.model, cache, low, high, self.count, compiled))
        return self._recorded[1] or Plain(self.model, cache)

    def _clear(self) -> None:
        """Forget what a refused answer left: a state that is not finite would reach through the mask of later ones."""
        if self._cache is not None:
            self._cache.keys.zero_()
            self._cache.values.zero_()

    @contextmanager
    def _enough_memory(self, positions: int) -> Iterator[None]:
        """Turn a lack of memory into an error that names what would fit.

        Raises:
            SetupError: as said.
        """
        try:
            yield
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
                raise
            self._cache = self._recorded = self._image = None
            device, weights = self.model.device, weight_bytes(self.model)
            free = ""
            if device.type == "cuda":
                torch.cuda.empty_cache()
                free = f" of {torch.cuda.mem_get_info(device)[1] / 1e9:.1f} GB"
            raise SetupError(
                f"engine: an answer of {positions} positions does not fit beside {weights / 1e9:.1f} GB of "
                f"{self.model.dtype} weights into the memory{free} of {device}; what would fit: dtype bfloat16 (half of "
                "float32), weights int8 (half of bfloat16), graphs off, device cpu, or a GPU with more memory"
            ) from error
