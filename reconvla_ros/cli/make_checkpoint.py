"""`reconvla make-checkpoint [FOLDER]`: a random checkpoint in the original layout."""

from __future__ import annotations

import argparse
from pathlib import Path

from reconvla_ros.cli.places import state
from reconvla_ros.model.layout import SIZES
from reconvla_ros.model.model import DTYPES, pick_dtype_name
from reconvla_ros.policy.random_checkpoint import answer_once, make_checkpoint


def main(words: list[str]) -> int:
    """Write it; refuse a folder that holds something."""
    parser = argparse.ArgumentParser(
        "reconvla make-checkpoint",
        description="Write a random checkpoint in the original ReconVLA layout, with the real Qwen2 vocabulary. "
        "It moves the arm aimlessly: it is for trying the road, for tests and for benchmarks.",
    )
    parser.add_argument("folder", type=Path, nargs="?", help="a new or an empty folder; default: below $RECONVLA_HOME")
    parser.add_argument(
        "--size", choices=tuple(SIZES), default="tiny", help="full has the 7B shapes: 17 GB in bfloat16; small 0.6 GB"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="bfloat16", help=f"{', '.join(DTYPES)} or bf16, fp16, fp32")
    parser.add_argument(
        "--device", default="cpu", help="where the numbers are drawn: cpu or cuda (minutes sooner for full)"
    )
    parser.add_argument(
        "--answer", metavar="DEVICE", help="afterwards load it there (auto, cpu, cuda) and let it answer once"
    )
    options = parser.parse_args(words)
    dtype = pick_dtype_name(options.dtype)
    folder: Path = options.folder or state() / "checkpoints" / f"random-{options.size}-{dtype}-{options.seed}"
    make_checkpoint(folder, options.size, options.seed, dtype, options.device, print)
    total = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    print(f"{folder}: {options.size}, seed {options.seed}, {dtype}, {total / 1e6:.0f} MB, random weights")
    if options.answer:
        answer = answer_once(folder, options.answer, say=print)
        print(
            f"answered on {answer.device} as {answer.dtype}: {len(answer.chunk.token_ids)} tokens in {answer.seconds:.3f} s"
        )
        print(f"memory held: {answer.memory / 1e9:.2f} GB, {answer.memory / answer.weights:.3f} of the weights")
    return 0
