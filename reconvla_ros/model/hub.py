"""Checkpoints of the Hugging Face hub by their id (``owner/name``, ``owner/name@revision``), where it can be reached."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from reconvla_ros.errors import CheckpointError

HUB_ID = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?")
WANTED = ("*.safetensors", "*.json", "*.txt", "contract.yaml")
"""What is fetched. Pickles are not among it: they can run code."""


def is_hub_id(name: str) -> bool:
    """Whether `name` can only mean a repository of the hub: of its form, and no folder here."""
    return HUB_ID.fullmatch(name) is not None and not Path(name).exists()


def fetch(name: str, say: Callable[[str], None] = lambda line: None) -> Path:
    """The folder of a hub checkpoint in the hub's own cache, fetched when it is not complete there.

    Args:
        name: ``owner/name``, with ``@`` and a branch, tag or commit when it shall not be the newest.
        say: gets a line before anything is fetched.

    Raises:
        CheckpointError: no such repository, no such revision, no network and nothing in the cache.
    """
    found = HUB_ID.fullmatch(name)
    if found is None:
        raise CheckpointError(
            f"checkpoint: {name!r} is no id of the hub, which is written owner/name or owner/name@revision"
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise CheckpointError(
            f"checkpoint: {name} is fetched with huggingface_hub, which is not installed; install it, or give a folder"
        ) from error
    say(f"fetching {name} from the hub, or taking it from its cache (a 7B checkpoint has about 17 GB)")
    try:
        folder = snapshot_download(found["repo"], revision=found["revision"], allow_patterns=list(WANTED))
    # The hub's client raises its own errors, those of its HTTP library and OSError; each means: not to be had.
    except Exception as error:
        raise CheckpointError(
            f"checkpoint: {name} cannot be had from the hub ({type(error).__name__}: {error}); give the folder of a "
            f"checkpoint on this machine instead, or fetch it where there is a network with "
            f"'hf download {found['repo']} --local-dir FOLDER'"
        ) from error
    return Path(folder)
