"""B4b of `reconvla bench policy`: what a draft of known accuracy is worth, when every token of it is verified."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from reconvla_ros.bench.policy_bench import Progress, Settings
from reconvla_ros.bench.policy_decode import STEPS, WARM
from reconvla_ros.bench.policy_timing import Bound, compare, gather, take_turns
from reconvla_ros.bench.policy_workload import PLAIN, Laps, Workload, workload
from reconvla_ros.model.engine import Mechanisms

ACCURACIES = (1.0, 0.9, 0.5, 0.0)
DRAFTED = Mechanisms(draft="previous")


def oracle(answer: Sequence[int], accuracy: float, low: int, high: int, random: np.random.Generator) -> list[int]:
    """`answer` with each token kept with probability `accuracy`, independently; the others become other action ids."""
    kept = random.random(len(answer)) < accuracy
    shifts = random.integers(1, high - low + 1, len(answer))
    span = high - low + 1
    pairs = zip(answer, kept, shifts, strict=True)
    return [int(token) if keep else low + (int(token) - low + int(shift)) % span for token, keep, shift in pairs]


def bounds(gpu: bool) -> dict[float, Bound]:
    """What the gain must be for each accuracy that has a bound."""
    return {1.0: Bound(">=", 6.0 if gpu else 2.0), 0.0: Bound(">=", 0.9)}


class Drafts:
    """Answers to every input set with drafts of any accuracy; times from pixels on (vision, prefill, decode)."""

    def __init__(self, load: Workload, seed: int) -> None:
        self.load, self.seed = load, seed
        self.pixels = [load.pixels(inputs) for inputs in load.inputs]
        self.plain, self.drafted = load.engine(PLAIN), load.engine(DRAFTED)
        self.answers = [list(self.plain.answer(i.ids, load.image(i)).ids) for i in load.inputs]
        self.passes: dict[float, list[int]] = {p: [] for p in ACCURACIES}
        self.stages: list[dict[str, float]] = []
        self.wrong = 0

    @torch.inference_mode()
    def autoregressive(self, index: int) -> float:
        """One token a step [s]."""
        laps = Laps(self.load.sync)
        image = self.load.model.encode_image(self.pixels[index % len(self.pixels)])
        laps("vision")
        self.plain.answer(self.load.of(index).ids, image, lap=laps)
        self.stages.append(laps.stages)
        return laps.total

    def with_draft(self, accuracy: float) -> Callable[[int], float]:
        """A side that is given a draft of this accuracy [s]; its answer is compared with the one made token by token."""

        @torch.inference_mode()
        def side(index: int) -> float:
            place = index % len(self.pixels)
            random = np.random.default_rng([self.seed, index + 1000, round(accuracy * 100)])
            codec = self.load.codec
            draft = oracle(self.answers[place], accuracy, codec.low, codec.high, random)
            laps = Laps(self.load.sync)
            image = self.load.model.encode_image(self.pixels[place])
            laps("vision")
            decoded = self.drafted.answer(self.load.of(index).ids, image, draft=draft, lap=laps)
            self.wrong += list(decoded.ids) != self.answers[place]
            if index >= 0:
                self.passes[accuracy].append(decoded.passes)
            return laps.total

        return side

    def limit(self) -> float:
        """(vision + prefill + 34 steps) / (vision + prefill + one step): a perfect draft checked at the price of a step."""
        vision, prefill, decode = (
            float(np.median([s[name] for s in self.stages])) for name in ("vision", "prefill", "decode")
        )
        return (vision + prefill + decode) / (vision + prefill + decode / STEPS)


def draft_curve(settings: Settings, progress: Progress) -> dict[str, Any]:
    """B4b: t(one token a step) / t(with a draft) for drafts whose tokens are right with probability 1, 0.9, 0.5 and 0.

    The draft's tokens are right or wrong independently; each pass verifies what is left of it. Passes are those after the
    prefill; without a draft there are 34.
    """
    load = workload(settings)
    drafts = Drafts(load, settings.seed)
    sides = {"plain": drafts.autoregressive, **{f"p={p:g}": drafts.with_draft(p) for p in ACCURACIES}}
    times = take_turns(sides, settings.rounds, WARM[settings.gpu], load.sync)
    verdicts, figures = bounds(settings.gpu), {}
    for p in ACCURACIES:
        figure = compare(times[f"p={p:g}"], times["plain"], verdicts.get(p))
        figures[f"p={p:g}"] = {**figure, "passes": float(np.median(drafts.passes[p])), "other": "one token a step"}
    whole = gather("p=1", figures)
    counts = ", ".join(f"{name}: {figure['passes']:g}" for name, figure in figures.items())
    whole["limit"], whole["answers_changed"] = round(drafts.limit(), 3), drafts.wrong
    whole["kept"] = bool(whole["kept"] and drafts.wrong == 0)
    whole["notes"] = [
        f"passes after the prefill (of {STEPS}): {counts}; limit at p=1: {drafts.limit():.2f}; answers changed by a draft: "
        f"{drafts.wrong}"
    ]
    return whole
