"""From parameters to a policy."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import torch

from reconvla_ros.errors import ContractError
from reconvla_ros.model.checkpoint import Hooks, list_tensors
from reconvla_ros.model.hub import fetch, is_hub_id
from reconvla_ros.model.model import load_model, pick_device, pick_dtype
from reconvla_ros.policy.contract import EMBODIMENT, Contract, load_contract
from reconvla_ros.policy.protocol import Policy
from reconvla_ros.policy.random_checkpoint import make_checkpoint
from reconvla_ros.policy.reconvla import ReconVlaPolicy, options_of
from reconvla_ros.policy.scripted import ScriptedPolicy
from reconvla_ros.policy.settings import PolicyConfig

SCRIPTED, EXPERT = "scripted", "expert"
WITHOUT_WEIGHTS = (SCRIPTED, EXPERT)
DEMO = "demo"
HOME_VARIABLE = "RECONVLA_HOME"


def demo_folder(seed: int = 0) -> Path:
    """Where the demo's random checkpoint of `seed` lies: below $RECONVLA_HOME, or else the user's cache."""
    named = os.environ.get(HOME_VARIABLE)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return (Path(named) if named else cache / "reconvla_ros") / "checkpoints" / f"{DEMO}-{seed}"


def resolve_checkpoint(checkpoint: str, seed: int, say: Callable[[str], None] = lambda line: None) -> Path:
    """The folder of a checkpoint: a path, an id of the hub, or the demo's, which is made when missing (seconds, 45 MB).

    Raises:
        SetupError: the vocabulary's package is not installed, or the disk is full.
        CheckpointError: an id of the hub that cannot be had.
    """
    if is_hub_id(checkpoint):
        return fetch(checkpoint, say)
    if checkpoint != DEMO:
        return Path(checkpoint).expanduser()
    folder = demo_folder(seed)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # A load that was given back goes on making it for a while, and two nodes may be started at once: the second waits.
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            say(f"making the demo's random checkpoint in {folder}")
            make_checkpoint(folder, "tiny", seed)
    return folder


def contract_of(folder: Path, config: PolicyConfig) -> Contract:
    """The contract that the parameters name for the checkpoint in `folder`, stitched as they say.

    Raises:
        ContractError: missing, broken, contradictory, or of another arm than the one that would move.
    """
    contract = load_contract(folder, config.contract).stitched(config.stitch)
    require_embodiment(contract, config)
    return contract


def open_policy(
    config: PolicyConfig,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] | None = None,
    hooks: Hooks | None = None,
) -> Policy:
    """Load what the parameters name; `say` gets a line about what is done, `progress` (tensors done, in all).

    `hooks`, instead of `progress`, get bytes and memory too and may call the load off; it may run in its own thread.

    Raises:
        ConfigError: a device that is not there.
        CheckpointError, ContractError: what is wrong with the folder.
        Cancelled: `hooks.cancel` said so.
    """
    if config.policy == SCRIPTED:
        return ScriptedPolicy()
    if config.policy == EXPERT:
        # Its simulator, MuJoCo, is loaded for nobody else.
        from reconvla_ros.policy.expert import ExpertPolicy, SharedTruth

        truth = SharedTruth(f"udp_multicast:{config.sim_port}")
        return ExpertPolicy(truth.setup, truth.things)
    torch.set_num_threads(config.threads)
    device = pick_device(config.device)
    dtype = pick_dtype(config.dtype, device)
    folder = resolve_checkpoint(config.checkpoint, config.seed, say)
    list_tensors(folder)  # names what is wrong with the folder before a contract is asked for
    contract = contract_of(folder, config)
    loaded = load_model(folder, device, dtype, contract.vision_heads, progress, hooks)
    contract.check_model(loaded.model.config)
    return ReconVlaPolicy(loaded, contract, options_of(config))


def require_embodiment(contract: Contract, config: PolicyConfig) -> None:
    """Refuse numbers that mean another arm, unless the arm is simulated.

    Raises:
        ContractError: names both.
    """
    if contract.embodiment != EMBODIMENT and not config.simulated:
        raise ContractError(
            f"contract: embodiment is {contract.embodiment!r}, this arm is {EMBODIMENT!r}; another one runs in sim only"
        )


def describe(policy: Policy) -> dict[str, str]:
    """checkpoint, kind, contract digest, device and dtype of a policy, for its status."""
    if not isinstance(policy, ReconVlaPolicy):
        # The expert's steps are those of a PiPER's contract.
        name, digest = (SCRIPTED, "") if isinstance(policy, ScriptedPolicy) else (EXPERT, Contract().digest)
        return {"checkpoint": name, "kind": "unknown", "digest": digest, "device": "cpu", "dtype": ""}
    model = policy.loaded.model
    return {
        "checkpoint": str(policy.loaded.folder),
        "kind": policy.contract.checkpoint_kind,
        "digest": policy.contract.digest,
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
    }
