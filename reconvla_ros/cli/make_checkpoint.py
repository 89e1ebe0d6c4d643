"""`reconvla make-checkpoint FOLDER`: a random checkpoint in the original layout."""

from __future__ import annotations

import argparse
from pathlib import Path

from reconvla_ros.model.random_init import SIZES
from reconvla_ros.policy.random_checkpoint import make_checkpoint


def main(words: list[str]) -> int:
    """Write it; refuse a folder that holds something."""
    parser = argparse.ArgumentParser(
        "reconvla make-checkpoint",
        description="Write a random checkpoint in the original ReconVLA layout, with the real Qwen2 vocabulary. "
        "It moves the arm aimlessly: it is for trying the road, for tests and for benchmarks.",
    )
    parser.add_argument("folder", type=Path, help="a new or an empty folder")
    parser.add_argument(
        "--size", choices=tuple(SIZES), default="tiny", help="full has the 7B shapes: 16 GB in bfloat16"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    parser.add_argument("--device", default="cpu", help="where the numbers are drawn: cpu or cuda")
    options = parser.parse_args(words)
    make_checkpoint(options.folder, options.size, options.seed, options.dtype, options.device, print)
    total = sum(p.stat().st_size for p in options.folder.rglob("*") if p.is_file())
    print(
        f"{options.folder}: {options.size}, seed {options.seed}, {options.dtype}, {total / 1e6:.0f} MB, random weights"
    )
    return 0
