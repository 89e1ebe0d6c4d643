"""A random checkpoint with its contract: what `reconvla make-checkpoint` writes, and tries out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reconvla_ros.model import memory
from reconvla_ros.model.checkpoint import Hooks, Loading
from reconvla_ros.model.model import load_model, pick_device, pick_dtype
from reconvla_ros.model.random_init import write_random
from reconvla_ros.policy.contract import FILE_NAME, Contract, load_contract, to_yaml
from reconvla_ros.policy.reconvla import ReconVlaPolicy
from reconvla_ros.types import ActionChunk, ArmState, Observation, Pose


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
        size: "tiny" (45 MB), "small" (0.6 GB) or "full" (Qwen2-7B with SigLIP so400m, 17 GB in bfloat16).
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


@dataclass(frozen=True, eq=False)
class Answer:
    """What a checkpoint answered to one observation, and what that took: [s], [bytes]."""

    chunk: ActionChunk
    seconds: float
    memory: int
    weights: int
    device: str
    dtype: str


def answer_once(
    folder: Path, device: str = "auto", dtype: str = "auto", say: Callable[[str], None] = lambda line: None
) -> Answer:
    """Load a checkpoint and let it answer to an observation of noise, after one answer that warms it up.

    Raises:
        CheckpointError, ContractError, ConfigError, TokenGateError: why it cannot be loaded or may not be obeyed.
    """
    place = pick_device(device)
    kind = pick_dtype(dtype, place)
    quarter = -1

    def report(now: Loading) -> None:
        nonlocal quarter
        if 4 * now.bytes // max(now.bytes_total, 1) != quarter:
            quarter = 4 * now.bytes // max(now.bytes_total, 1)
            say(f"loading: {now}")

    contract = load_contract(folder)
    loaded = load_model(folder, place, kind, contract.vision_heads, hooks=Hooks(report=report))
    policy = ReconVlaPolicy(loaded, contract)
    policy.warm_up()
    views = np.random.default_rng(0).integers(0, 256, (2, 480, 640, 3), dtype=np.uint8)
    tcp = Pose(np.array([0.3, 0.0, 0.25]), np.array([0.0, 1.0, 0.0, 0.0]))
    arm = ArmState(1, np.zeros(6), np.zeros(6), np.zeros(6), 0.03)
    start = time.monotonic()
    chunk = policy.infer(Observation(1, views[0], views[1], arm, tcp, "put fruit in bowl", "try"))
    seconds = time.monotonic() - start
    weights = sum(p.numel() * p.element_size() for p in loaded.model.parameters())
    return Answer(chunk, seconds, memory.held(place), weights, str(place), str(kind).removeprefix("torch."))
