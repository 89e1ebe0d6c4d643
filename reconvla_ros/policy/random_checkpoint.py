"""A random checkpoint with its contract: what `reconvla make-checkpoint` writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reconvla_ros.model.model import pick_device, pick_dtype
from reconvla_ros.model.random_init import write_random
from reconvla_ros.policy.contract import FILE_NAME, Contract, to_yaml


def make_checkpoint(
    folder: Path,
    size: str = "tiny",
    seed: int = 0,
    dtype: str = "bfloat16",
    device: str = "cpu",
    progress: Callable[[str], None] = lambda line: None,
) -> Contract:
    """Write a checkpoint of random weights into `folder`, with a PiPER contract that calls it random.

    Args:
        folder: must not exist or be empty; it appears only when it is complete.
        size: "tiny" (45 MB) or "full" (Qwen2-7B with SigLIP so400m, 17 GB in bfloat16).
        seed: the same seed on the same kind of device gives the same bytes.
        dtype: of the stored tensors.
        device: where they are drawn; a GPU makes the full size in minutes.
        progress: called with a line for each file.

    Raises:
        ConfigError: unknown size, dtype or device, or a folder that is not empty.
        SetupError: the vocabulary's package is not installed, or the disk is too small.
    """
    place = pick_device(device)
    contract = Contract(checkpoint_kind="random")
    write_random(folder, size, seed, pick_dtype(dtype, place), place, {FILE_NAME: to_yaml(contract)}, progress)
    return contract
