"""Decoding without a launch of its own for every kernel: passes of fixed shapes, recorded once as CUDA graphs.

A step is 28 layers of a dozen small kernels between four large products; launched one by one from Python they take
longer than the memory needs. Recorded, they are one launch. All that changes between passes lies in tensors: the tokens,
the place in the cache, the slot of the result. The token a step chooses is the input of the next one without coming to
the host, so that a stretch of steps waits once.

Without a GPU `record` may be the identity; the arithmetic is the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from reconvla_ros.model.language import Block, Cache
from reconvla_ros.model.model import ReconVla

LOG = logging.getLogger(__name__)
Work = Callable[[], None]
Apply = Callable[..., Tensor]

FAITHFUL = 0.1
"""Most that a recorded pass may differ from the plain one, as a share of its size: bfloat16 over 28 layers rounds to 0.01."""
BLOCK_SIZES = (8, 36)
"""Passes over guesses are filled up to one of these sizes: up to 36 tokens cost a GPU nearly the same."""


def record_on_gpu(work: Work) -> Work:
    """Run `work` until its libraries are warm, then record it; the result replays it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads may use the GPU meanwhile
        work()
    return graph.replay


def plain_block(tokens: int) -> Apply:
    """`Block.fixed`, whatever the number of tokens."""
    return Block.fixed


def compiled_block(tokens: int) -> Apply:
    """`Block.fixed` with its small kernels fused by torch.compile; layers and engines share one compilation a size."""
    return _compiled(tokens == 1)


@cache
def _compiled(single: bool) -> Apply:
    """For a single row coordinate descent makes the compiler write a product as a sum, which reads the memory at full
    speed (the way of gpt-fast); it takes a minute, which passes over several rows would not earn.
    """
    options: dict[str, str | int | bool | Callable[..., object]] = {"coordinate_descent_tuning": single}
    compiled: Apply = torch.compile(Block.fixed, dynamic=False, fullgraph=True, options=options)
    return compiled


class Recorded:
    """Steps (see model.decode) through recorded passes over one cache.

    Args:
        model, cache: the network and the sequence; the cache must have room for the largest block beyond it.
        low, high: first and last action id; steps choose among these.
        most: tokens of one stretch at most.
        record: makes a replay of some work.
        block: number of tokens -> `Block.fixed` or a compiled form of it.
    """

    def __init__(
        self,
        model: ReconVla,
        cache: Cache,
        low: int,
        high: int,
        most: int,
        record: Callable[[Work], Work] = record_on_gpu,
        block: Callable[[int], Apply] = plain_block,
    ) -> None:
        self.model, self.cache = model, cache
        self.low, self._rows, self._record, self._block = low, model.lm_head.weight[low : high + 1], record, block
        self._words = model.decoder.embed_tokens.weight
        new = {"device": model.device, "dtype": torch.long}
        self._start, self._token, self._slot = (torch.zeros(1, **new) for _ in range(3))  # type: ignore[call-overload]
        self._chosen = torch.zeros(most, **new)  # type: ignore[call-overload]
        self._states = torch.zeros(most, self._words.shape[1], device=model.device, dtype=model.dtype)
        self._ids = {m: torch.zeros(m, **new) for m in BLOCK_SIZES}  # type: ignore[call-overload]
        self._out = {m: self._words.new_zeros(m, self._words.shape[1]) for m in BLOCK_SIZES}
        self._step = self._recorded(self._one_step)
        self._passes = {m: self._recorded(lambda m=m: self._one_pass(m)) for m in BLOCK_SIZES}  # type: ignore[misc]

    def _recorded(self, work: Work) -> Work:
        """Record with the place behind what is in use; what recording writes there is hidden until written anew."""
        self._start.fill_(self.cache.length)
        self._slot.zero_()
        return self._record(work)

    def _one_step(self) -> None:
        state = self.model.decoder.fixed(self._words[self._token], self.cache, self._start, self._block(1))
        best = (state @ self._rows.T).argmax(-1) + self.low
        self._states.index_copy_(0, self._slot, state)
        self._chosen.index_copy_(0, self._slot, best)
        self._token.copy_(best)
        self._start.add_(1)
        self._slot.add_(1)

    def _one_pass(self, size: int) -> None:
        words = self._words[self._ids[size]]
        self._out[size].copy_(self.model.decoder.fixed(words, self.cache, self._start, self._block(size)))

    def extend(self, ids: Sequence[int]) -> Tensor:
        """See Steps. A block is filled up with copies of its last token, whose places are written anew later."""
        if len(ids) == 1:
            return self.roll(ids[0], 1)[0]
        size = next((m for m in BLOCK_SIZES if m >= len(ids)), 0)
        if not size:
            return self.model.extend(ids, self.cache)
        filled = [*ids, *[ids[-1]] * (size - len(ids))]
        self._ids[size].copy_(torch.tensor(filled))
        self._start.fill_(self.cache.length)
        self._passes[size]()
        self.cache.length += len(ids)
        return self._out[size][: len(ids)].clone()

    def roll(self, token: int, count: int) -> tuple[Tensor, list[int]]:
        """See Steps."""
        count = min(count, len(self._chosen))
        self._token.fill_(token)
        self._start.fill_(self.cache.length)
        self._slot.zero_()
        for _ in range(count):
            self._step()
        self.cache.length += count
        return self._states[:count].clone(), self._chosen[: count - 1].tolist()

    def forget(self, count: int) -> None:
        """See Steps."""
        self.cache.length -= count


def faithful(steps: Recorded) -> bool:
    """Whether a recorded pass and recorded steps give what the plain network gives, within what its dtype rounds.

    Where the plain network gives nothing finite (a bad picture came first) there is nothing to compare with.
    """
    ids = [steps.low + k for k in range(BLOCK_SIZES[0])]
    wanted = steps.model.extend(ids, steps.cache).float()
    steps.forget(len(ids))
    for parts in ([ids], [[token] for token in ids]):
        found = torch.cat([steps.extend(part) for part in parts])
        steps.forget(len(ids))
        error = float((found.float() - wanted).norm() / wanted.norm())
        if bool(torch.isfinite(wanted).all()) and not error <= FAITHFUL:
            LOG.warning("graphs: a recorded pass is %.3g of its size away from the plain one", error)
            return False
    return True


def record_steps(
    model: ReconVla,
    cache: Cache,
    low: int,
    high: int,
    most: int,
    compiled: bool,
    record: Callable[[Work], Work] = record_on_gpu,
) -> Recorded | None:
    """Recorded steps on a GPU; without the compiler where it does not work, None where graphs do not."""
    for fused in (True, False) if compiled else (False,):
        try:
            with torch.cuda.device(model.device):
                block = compiled_block if fused else plain_block
                steps = Recorded(model, cache, low, high, most, record, block)
                if faithful(steps):
                    return steps
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever compiler or driver lack: the answer is the same without them
            LOG.warning("graphs: recording failed, going on without: %s", str(error).splitlines()[:1])
    return None


def record_image(model: ReconVla) -> Callable[[Tensor], Tensor]:
    """`RecordedImage` on a GPU, or the plain pass where it cannot be recorded."""
    try:
        with torch.cuda.device(model.device):
            return RecordedImage(model)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # as above
        LOG.warning("graphs: recording the image failed, going on without: %s", str(error).splitlines()[:1])
        return model.encode_image


class RecordedImage:
    """`ReconVla.encode_image` as one recorded pass: 26 blocks take 1 ms, their launches longer."""

    def __init__(self, model: ReconVla, record: Callable[[Work], Work] = record_on_gpu) -> None:
        side = model.config.vision.image_size
        self._pixels = torch.zeros(1, 3, side, side, device=model.device)
        self._out = model.encode_image(self._pixels).clone()
        self._replay = record(lambda: self._encode(model))

    def _encode(self, model: ReconVla) -> None:
        self._out.copy_(model.encode_image(self._pixels))

    def __call__(self, pixels: Tensor) -> Tensor:
        """Pixels (1, 3, 384, 384) -> image embeddings (729, hidden), good until the next call."""
        self._pixels.copy_(pixels)
        self._replay()
        return self._out
