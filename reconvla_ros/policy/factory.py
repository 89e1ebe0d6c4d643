"""From parameters to a policy."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch

from reconvla_ros.errors import ConfigError, ContractError
from reconvla_ros.policy.protocol import Policy
from reconvla_ros.policy.reconvla import Options, ReconVlaPolicy
from reconvla_ros.policy.scripted import ScriptedPolicy
from reconvla_ros.policy.settings import PolicyConfig

SCRIPTED = "scripted"
DEMO = "demo"
HOME_VARIABLE = "RECONVLA_HOME"
EMBODIMENT = "piper"


def demo_folder() -> Path:
    """Where the demo's random checkpoint lies: ``$RECONVLA_HOME/checkpoints/demo``, by default below ``~/.reconvla``."""
    home = os.environ.get(HOME_VARIABLE)
    return (Path(home) if home else Path.home() / ".reconvla") / "checkpoints" / DEMO


def open_policy(config: PolicyConfig, progress: Callable[[int, int], None] | None = None) -> Policy:
    """Load what `config.checkpoint` names.

    Raises:
        ConfigError: a demo checkpoint that was not made yet, a device that is not there.
        CheckpointError, ContractError: what is wrong with the folder.
    """
    if config.checkpoint == SCRIPTED:
        return ScriptedPolicy()
    folder = demo_folder() if config.checkpoint == DEMO else Path(config.checkpoint).expanduser()
    if config.checkpoint == DEMO and not folder.is_dir():
        raise ConfigError(
            f"checkpoint 'demo': {folder} does not exist; make it with 'reconvla make-checkpoint {folder}', "
            f"or give a checkpoint folder or {SCRIPTED!r}"
        )
    torch.set_num_threads(config.threads)
    options = Options(config.head, config.require_end, config.attention, config.attention_layer)
    policy = ReconVlaPolicy.from_checkpoint(folder, config.device, config.dtype, options, progress)
    if policy.contract.embodiment != EMBODIMENT and not config.other_embodiment:
        raise ContractError(
            f"contract: embodiment is {policy.contract.embodiment!r}, this arm is {EMBODIMENT!r}; in sim or dry-run, and "
            "only there, set other_embodiment to run it"
        )
    return policy


def describe(policy: Policy) -> dict[str, str]:
    """checkpoint, kind, contract digest, device and dtype of a policy, for its status."""
    if not isinstance(policy, ReconVlaPolicy):
        return {"checkpoint": SCRIPTED, "kind": "unknown", "digest": "", "device": "cpu", "dtype": ""}
    model = policy.loaded.model
    return {
        "checkpoint": str(policy.loaded.folder),
        "kind": policy.contract.checkpoint_kind,
        "digest": policy.contract.digest,
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
    }
