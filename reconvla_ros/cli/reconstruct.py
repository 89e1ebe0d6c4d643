"""`reconvla reconstruct CHECKPOINT DATA`: what the image tokens know of gaze regions, as a picture."""

from __future__ import annotations

import argparse
from pathlib import Path

from reconvla_ros.errors import SetupError


def main(words: list[str]) -> int:
    """Write the picture; say the error of each sample and their mean."""
    parser = argparse.ArgumentParser(
        "reconvla reconstruct",
        description="Rebuild gaze regions from the image tokens of a training checkpoint: what it sees, the gaze region, what "
        "the autoencoder alone makes of that, and what the denoiser rebuilds. Exported checkpoints have no denoiser.",
    )
    parser.add_argument("checkpoint", type=Path, help="a checkpoint of 'reconvla finetune'")
    parser.add_argument("data", type=Path, help="samples of 'reconvla convert --to reconvla'")
    parser.add_argument("--out", type=Path, default=Path("reconstruction.png"), help="the picture [reconstruction.png]")
    parser.add_argument("--samples", type=int, default=4, help="how many, evenly spread [4]")
    parser.add_argument("--steps", type=int, default=100, help="of the sampling, 2..1000 [100]")
    parser.add_argument("--vae", type=Path, help="the autoencoder's folder (default: the one the checkpoint names)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N [auto]")
    parser.add_argument("--contract", default="", help="of data that has none beside it")
    parser.add_argument("--seed", type=int, default=0, help="of the noise [0]")
    options = parser.parse_args(words)
    if not 2 <= options.steps <= 1000:
        parser.error(f"--steps must be in 2..1000, got {options.steps}")
    from reconvla_ros.training.rebuild import rebuild, sheet

    found = rebuild(
        options.checkpoint, options.data, options.samples, options.steps, options.vae, options.device, options.seed,
        options.contract, print,
    )  # fmt: skip
    try:
        sheet(found).save(options.out)
    except (OSError, ValueError) as error:
        raise SetupError(f"--out {options.out}: cannot be written ({error})") from error
    print(f"{options.out}: {len(found)} samples, mean error {sum(r.error for r in found) / len(found):.3f}")
    return 0
