"""`reconvla export CHECKPOINT OUT`: a training checkpoint without its reconstruction branch."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from reconvla_ros.errors import ConfigError
from reconvla_ros.model.export import SHARD_BYTES, Group, export
from reconvla_ros.model.hub import fetch, is_hub_id
from reconvla_ros.model.model import DTYPES, pick_dtype_name
from reconvla_ros.policy.contract import FILE_NAME, load_contract

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def size_of(text: str) -> int:
    """``5GB``, ``200MB`` -> bytes.

    Raises:
        ConfigError: not a positive size.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B?)", text.strip().upper())
    size = int(float(found[1]) * UNITS.get(found[2], 0)) if found else 0
    if size <= 0:
        raise ConfigError(f"size: {text!r} must be a positive number with B, KB, MB, GB or TB, as 5GB")
    return size


def table(title: str, groups: tuple[Group, ...]) -> str:
    """What happened to each part, and the sum."""
    rows = [f"{title}: {sum(g.count for g in groups)} tensors, {sum(g.size for g in groups) / 1e6:.1f} MB"]
    rows += [f"  {g.name:<28} {g.count:>5} tensors {g.size / 1e6:>12.1f} MB" for g in groups]
    return "\n".join(rows)


def main(words: list[str]) -> int:
    """Strip it; refuse a target that holds something."""
    parser = argparse.ArgumentParser(
        "reconvla export",
        description="Write what inference needs of a training checkpoint: the denoiser and the pixel decoder are left "
        "out, the tokenizer, the contract and the vision tower's folder go along.",
    )
    parser.add_argument("checkpoint", help="a folder in the original layout, or owner/name[@revision] of the hub")
    parser.add_argument("out", type=Path, help="a new or an empty folder")
    parser.add_argument(
        "--dtype", help=f"of the new tensors: {', '.join(DTYPES)} or bf16, fp16, fp32; default: as they are"
    )
    parser.add_argument("--max-shard-size", default=f"{SHARD_BYTES // 10**9}GB", help="largest file, default 5GB")
    options = parser.parse_args(words)
    dtype = DTYPES[pick_dtype_name(options.dtype)] if options.dtype else None
    limit = size_of(options.max_shard_size)
    folder = (
        fetch(options.checkpoint, print) if is_hub_id(options.checkpoint) else Path(options.checkpoint).expanduser()
    )
    heads = load_contract(folder).vision_heads if (folder / FILE_NAME).is_file() else 0
    done = export(folder, options.out.expanduser(), dtype, limit, heads, print)
    print(table("dropped", done.dropped))
    print(table("kept", done.kept))
    print(f"{options.out}: {done.size / 1e9:.2f} GB in {done.shards} files, {options.dtype or 'types as they were'}")
    if not (folder / FILE_NAME).is_file():
        print(f"no {FILE_NAME} went along: {folder} has none, and a live run asks for one")
    return 0
