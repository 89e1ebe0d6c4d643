"""What the benches of the policy work on: a network with random weights made in memory, and inputs that rotate.

The weights are those of `model.random_init`: the head's rows of the action ids are large, so an action id wins in every step
and every side decodes 35 of them, whatever it computes otherwise. No row is skipped for it: both sides do the work of a trained
checkpoint of these sizes. Such answers hold no end id, so a side that would stop at one is given its number of tokens instead.
"""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reconvla_ros.bench.policy_bench import Settings
from reconvla_ros.bench.policy_timing import Sync, nothing
from reconvla_ros.model.config import LanguageConfig, ModelConfig, VisionConfig
from reconvla_ros.model.engine import Engine, Mechanisms
from reconvla_ros.model.images import AS_SERVED, pixels
from reconvla_ros.model.layout import model_config
from reconvla_ros.model.model import DTYPES, ReconVla
from reconvla_ros.model.prompt import IMAGE_ID
from reconvla_ros.model.random_init import random_model
from reconvla_ros.model.tokenizer import ADDED
from reconvla_ros.model.tokens import ActionCodec

TOKENS = 35
"""Of an answer: 5 steps of 7 values."""
ROTATE = 3
"""Input sets, so that no side profits from having seen its input."""
VIEW = (480, 640, 3)  # of the cameras
PLAIN = Mechanisms(draft="none")
"""One token a step: the certified head, CUDA graphs on a GPU."""


@dataclass(frozen=True)
class Shape:
    """Sizes of the network, and `prompt` positions with the image's."""

    language: LanguageConfig
    vision: VisionConfig
    prompt: int

    @property
    def config(self) -> ModelConfig:
        """As the network wants it."""
        return ModelConfig(self.language, self.vision)


SHAPES = {
    # Patches of 42 px of a 384 px picture: 81 tokens, and the original's whole way from the cameras to the pixels.
    "tiny": Shape(
        LanguageConfig(64, 128, 2, 4, 2, 1e6, 1e-6, 1024), VisionConfig(48, 96, 3, 4, patch_size=42), prompt=120
    ),
    "small": Shape(
        LanguageConfig(768, 4096, 6, 12, 2, 1e6, 1e-6, 16384), VisionConfig(192, 768, 5, 4, patch_size=42), prompt=200
    ),
    "full": Shape(model_config("full").language, model_config("full").vision, prompt=800),
}


@dataclass(frozen=True, eq=False)
class Inputs:
    """One request: two RGB views (480, 640, 3) uint8 and the prompt's ids with `IMAGE_ID` once."""

    base: NDArray[np.uint8]
    wrist: NDArray[np.uint8]
    ids: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Workload:
    """The network and what it is asked; `inputs` rotate with the number of the round."""

    model: ReconVla
    codec: ActionCodec
    shape: Shape
    inputs: tuple[Inputs, ...]
    _engines: dict[tuple[Mechanisms, bool], Engine] = field(default_factory=dict)

    def of(self, index: int) -> Inputs:
        """The inputs of a round."""
        return self.inputs[index % len(self.inputs)]

    @property
    def sync(self) -> Sync:
        """Waits until the device is done."""
        device = self.model.device
        return nothing if device.type == "cpu" else lambda: torch.cuda.synchronize(device)

    def engine(self, mechanisms: Mechanisms = PLAIN, watch: bool = False) -> Engine:
        """An engine for `TOKENS` tokens, the same for the same request: on a GPU the first answer of each is recorded.

        `watch` keeps the attention at two thirds of the depth, as the policy does.
        """
        key = (mechanisms, watch)
        if key not in self._engines:
            self._engines[key] = self.new_engine(mechanisms, watch)
        return self._engines[key]

    def new_engine(self, mechanisms: Mechanisms = PLAIN, watch: bool = False, model: ReconVla | None = None) -> Engine:
        """An engine that nobody else has; of another network of these sizes where one is given."""
        layer = (2 * self.shape.language.layers) // 3 if watch else -1
        return Engine(model or self.model, self.codec, TOKENS, mechanisms, watch_layer=layer)

    def pixels(self, inputs: Inputs) -> Tensor:
        """The tower's input (1, 3, 384, 384) float32, stitched as the original serves, so that both see the same."""
        return torch.from_numpy(pixels(inputs.base, inputs.wrist, AS_SERVED))

    @torch.inference_mode()
    def image(self, inputs: Inputs) -> Tensor:
        """Image embeddings (tokens, hidden)."""
        return self.model.encode_image(self.pixels(inputs))


def random_inputs(shape: Shape, seed: int) -> tuple[Inputs, ...]:
    """`ROTATE` requests: smooth pictures with noise, words of the ordinary vocabulary, the state's ids at the end."""
    random = np.random.default_rng(seed)
    low, words = shape.language.vocab_rows - len(ADDED) - 256, shape.prompt - shape.vision.tokens
    if words < 20:
        raise ValueError(f"prompt of {shape.prompt} positions leaves {words} for words, needs 20")
    made = []
    for _ in range(ROTATE):
        views = []
        for _ in range(2):
            waves = np.linspace(0, 6.28, VIEW[1])[None, :, None] * random.uniform(1, 4, (1, 1, 3))
            noise = random.normal(0, 8, VIEW)
            views.append(np.clip(128 + 90 * np.sin(waves + random.uniform(0, 6)) + noise, 0, 255).astype(np.uint8))
        ids = [int(i) for i in random.integers(0, low, words)]
        ids[-20:-5] = [low + int(i) for i in random.integers(0, 256, 15)]
        made.append(Inputs(views[0], views[1], (*ids[: words // 3], IMAGE_ID, *ids[words // 3 :])))
    return tuple(made)


def workload(settings: Settings) -> Workload:
    """The workload of settled `settings`; kept for the next bench of the run, without what the last one left in memory."""
    torch.set_num_threads(settings.threads)
    gc.collect()
    if settings.gpu:
        torch.cuda.empty_cache()
    return _workload(settings.size, settings.device, settings.dtype, settings.seed)


@lru_cache(maxsize=1)
def _workload(size: str, device: str, dtype: str, seed: int) -> Workload:
    shape = SHAPES[size]
    model = random_model(shape.config, torch.device(device), DTYPES[dtype], seed)
    codec = ActionCodec(shape.language.vocab_rows - len(ADDED))
    return Workload(model, codec, shape, random_inputs(shape, seed))


class Laps:
    """Seconds of each stage of an answer; hand it to `Engine.answer` as `lap`."""

    def __init__(self, sync: Sync) -> None:
        self._sync = sync
        sync()
        self._last = time.perf_counter()
        self.stages: dict[str, float] = {}

    def __call__(self, stage: str) -> None:
        """End `stage` now."""
        self._sync()
        now = time.perf_counter()
        self.stages[stage] = now - self._last
        self._last = now

    @property
    def total(self) -> float:
        """All stages together [s]."""
        return sum(self.stages.values())


def parameter_bytes(module: nn.Module) -> int:
    """Memory of the parameters [bytes], wherever they lie."""
    return sum(p.numel() * p.element_size() for p in module.parameters())
