"""`reconvla bench train`: a training step beside the original's, what of it is the reconstruction, and the memory of each.

Both sides start from the same random weights, see the same samples and the same chance; they take turns, and their losses must
be the same. Peak memory is that of a process of its own for each side.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from reconvla_ros.bench.policy_timing import Bound, compare, judge, spread, take_turns
from reconvla_ros.bench.train_upstream import OriginalStep
from reconvla_ros.errors import SetupError
from reconvla_ros.model.gaze_latents import GazeAutoencoder, Latents, load_autoencoder
from reconvla_ros.model.random_init import write_random
from reconvla_ros.model.reconstruction import Draw, draw
from reconvla_ros.model.tokenizer import QwenTokenizer
from reconvla_ros.policy.contract import Contract
from reconvla_ros.training.data import Batch, collate, training_ids
from reconvla_ros.training.recipe import Recipe
from reconvla_ros.training.samples import Sample
from reconvla_ros.training.weights import Start, load_start

SIDES = ("original", "ours", "cached", "repeats1", "baseline")
"""The original's step; ours as it is; with latents from the cache; with one noise level besides; without the branch."""
CURVE = 4
"""Steps of the loss curves."""
NEAR = 2e-3
"""Largest relative difference of two losses of the curves: float32 summed in another order, over some steps of AdamW."""
WORDS = ("put fruit in bowl", "stack the two bowls on the left", "flip the cup upright", "tidy the table")


@dataclass(frozen=True)
class Settings:
    """What a run is asked for."""

    rounds: int = 7
    batch: int = 2
    width: int = 96
    repeats: int = 4
    lr: float = 1e-4
    seed: int = 0
    memory: bool = True


@dataclass(frozen=True)
class Rig:
    """The same start, data and chance for every side."""

    folder: Path
    settings: Settings
    vae: GazeAutoencoder
    batches: list[Batch]
    latents: list[Latents]
    drawn: list[Draw]


def small_autoencoder(folder: Path) -> GazeAutoencoder:
    """A random autoencoder in FLUX.1's layout with 8 channels inside, the size of the golden one.

    Raises:
        SetupError: diffusers is not installed.
    """
    try:
        from diffusers.models import AutoencoderKL
    except ImportError as error:
        raise SetupError(f"bench train needs diffusers: pip install -r requirements/train.txt ({error})") from error
    torch.manual_seed(0)
    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8), latent_channels=16, norm_num_groups=4, layers_per_block=1, use_quant_conv=False,
        use_post_quant_conv=False, shift_factor=0.1159, scaling_factor=0.3611,
    ).save_pretrained(folder)  # fmt: skip
    return load_autoencoder(folder)


def make_batches(tokenizer: QwenTokenizer, settings: Settings, count: int) -> Iterator[Batch]:
    """Micro-batches of random samples, prompts of different lengths in each."""
    from reconvla_ros.model.tokens import ActionCodec

    rng, contract = np.random.default_rng(settings.seed), Contract()
    codec = ActionCodec(tokenizer.base_size)
    for number in range(count):
        rows = []
        for k in range(settings.batch):
            words = WORDS[(number + k) % len(WORDS)]
            state, actions = rng.normal(0.2, 0.3, 15).tolist(), rng.uniform(-1, 1, 35).tolist()
            sample = Sample("x", f"{words}\n<image>\n{words}", tuple(state), tuple(actions), Path(), None, "e")
            rows.append(training_ids(sample, tokenizer, codec, contract))
        images = torch.from_numpy(rng.uniform(-1, 1, (2, settings.batch, 3, 384, 384)).astype(np.float32))
        batch = collate(rows, images[0], [True] * settings.batch)
        batch.targets = images[1]
        yield batch


def make_rig(folder: Path, settings: Settings) -> Rig:
    """Weights, autoencoder, data and chance in `folder`; the same for the same settings."""
    torch.set_num_threads(1)
    if not (folder / "checkpoint").is_dir():
        write_random(folder / "checkpoint", "tiny", settings.seed, torch.float32)
        small_autoencoder(folder / "vae")
    vae = load_autoencoder(folder / "vae")
    start = fresh_start(folder, settings)
    side = start.network.config.vision.side
    batches = list(make_batches(start.survey.tokenizer, settings, 3))
    targets = [b.targets for b in batches if b.targets is not None]
    chance = torch.Generator().manual_seed(settings.seed)
    drawn = [draw(settings.batch, settings.repeats, vae.cell_channels, side, 1000, chance) for _ in batches]
    return Rig(folder, settings, vae, batches, [vae.encode(t, side) for t in targets], drawn)


def fresh_start(folder: Path, settings: Settings, reconstruction: bool = True) -> Start:
    """The network all sides begin with; its denoiser's last layer is made non-zero, so that all of it is trained."""
    recipe = Recipe(
        dtype="float32",
        checkpointing=False,
        denoiser_width=settings.width,
        seed=settings.seed,
        reconstruction=reconstruction,
    )
    start = load_start(folder / "checkpoint", recipe, 0, 64)
    if start.network.branch is not None:
        torch.manual_seed(settings.seed)
        nn.init.normal_(start.network.branch.net.final_layer.linear.weight, std=0.02)
    return start


def stepper(rig: Rig, side: str) -> Callable[[int], float]:
    """A side: call it with the number of the step; it makes one step of the optimiser and returns the loss."""
    start = fresh_start(rig.folder, rig.settings, reconstruction=side != "baseline")
    network: nn.Module = OriginalStep(start.network, rig.vae) if side == "original" else start.network
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rig.settings.lr, weight_decay=0.0)
    grid = start.network.config.vision.side

    def loss_of(k: int) -> torch.Tensor:
        batch, drawn = rig.batches[k], rig.drawn[k]
        if side == "original":
            return network(batch, drawn)  # type: ignore[no-any-return]
        if side == "baseline":
            return network(batch).total  # type: ignore[no-any-return]
        if side == "repeats1":
            drawn = Draw(drawn.t[: len(batch)], drawn.noise[: len(batch)], drawn.latent)
        assert batch.targets is not None
        latents = rig.vae.encode(batch.targets, grid) if side == "ours" else rig.latents[k]
        return network(batch, rig.vae.scaled(latents.draw(drawn.latent)), drawn).total  # type: ignore[no-any-return]

    def step(number: int) -> float:
        optimizer.zero_grad()
        loss = loss_of(number % len(rig.batches))
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        return loss.item()

    return step


def curves(rig: Rig) -> dict[str, Any]:
    """Losses of the same steps of both sides, side by side."""
    sides = {name: stepper(rig, name) for name in ("original", "ours")}
    found: dict[str, list[float]] = {name: [step(k) for k in range(CURVE)] for name, step in sides.items()}
    worst = max(abs(a - b) / abs(b) for a, b in zip(found["ours"], found["original"], strict=True))
    figure = {
        "ratio": round(worst, 7),
        "rounds": CURVE,
        "curves": {n: [round(x, 6) for x in c] for n, c in found.items()},
    }
    return judge(figure, Bound("<=", NEAR))


def peak_memory(rig: Rig, side: str) -> float:
    """Peak of a process that makes two steps of one side [GB]."""
    words = [
        sys.executable,
        "-m",
        "reconvla_ros.bench.train_bench",
        str(rig.folder),
        side,
        json.dumps(vars(rig.settings)),
    ]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise SetupError(f"bench train: the process of side {side} ended with {done.returncode}: {done.stderr[-300:]}")
    return float(done.stdout.split()[-1])


def measure(settings: Settings, say: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """All figures: {speed, parts of it, curve, memory, overhead}."""
    with tempfile.TemporaryDirectory() as name:
        rig = make_rig(Path(name), settings)
        say("loss curves of both sides")
        curve = curves(rig)
        say(f"speed: {settings.rounds} rounds of {', '.join(SIDES)}")
        steps = {side: stepper(rig, side) for side in SIDES}
        took = take_turns({n: _timed(s) for n, s in steps.items()}, settings.rounds)
        if settings.memory:
            say("peak memory, a process each")
        memory = {side: round(peak_memory(rig, side), 3) for side in SIDES if settings.memory}
    bound = Bound(">=", 2.0)
    parts = {
        "ours": compare(took["ours"], took["original"]),
        "cached": compare(took["cached"], took["original"], bound),
        "repeats1": compare(took["repeats1"], took["original"]),
        "baseline": compare(took["baseline"], took["original"]),
    }
    rates = {side: round(settings.batch / float(np.median(t)), 4) for side, t in took.items()}
    more = {
        s: [100 * (a / b - 1) for a, b in zip(took[s], took["baseline"], strict=True)]
        for s in ("ours", "cached", "repeats1")
    }
    return {
        "settings": vars(settings), "torch": torch.__version__, "speed": parts["cached"], "parts": parts, "curve": curve,
        "samples_per_s": rates, "memory_gb": memory, "overhead_percent": {s: spread(v) for s, v in more.items()},
        "kept": bool(parts["cached"]["kept"] and curve["kept"]),
    }  # fmt: skip


def _timed(step: Callable[[int], float]) -> Callable[[int], None]:
    def side(number: int) -> None:
        step(number)

    return side


def table(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    said = {
        "original": "the original's step", "ours": "ours: same work", "cached": "ours: latents cached (recipes)",
        "repeats1": "ours: cached, 1 noise level", "baseline": "ours: no reconstruction",
    }  # fmt: skip
    lines = [f"{'':<34} {'samples/s':>10} {'x original':>18} {'peak GB':>8} {'over baseline':>14}"]
    for side, words in said.items():
        part, over = result["parts"].get(side), result["overhead_percent"].get(side)
        times = f"{part['ratio']:.2f} ({part['ratio_min']:.2f}..{part['ratio_max']:.2f})" if part else ""
        more = f"{over['ratio']:+.0f} %" if over else ""
        memory = f"{result['memory_gb'][side]:.2f}" if result["memory_gb"] else "-"
        lines.append(f"{words:<34} {result['samples_per_s'][side]:10.3f} {times:>18} {memory:>8} {more:>14}")
    speed, curve = result["speed"], result["curve"]
    verdict = {True: "kept", False: "NOT KEPT"}
    lines.append(f"speed {speed['ratio']:.2f} {speed['bound']}: {verdict[speed['kept']]}")
    lines.append(f"loss curves differ by {curve['ratio']:.1e} at most, {curve['bound']}: {verdict[curve['kept']]}")
    return "\n".join(lines)


def _main(words: list[str]) -> None:
    settings = Settings(**json.loads(words[2]))
    rig = make_rig(Path(words[0]), settings)
    step = stepper(rig, words[1])
    for number in range(2):
        step(number)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)


if __name__ == "__main__":
    _main(sys.argv[1:])
