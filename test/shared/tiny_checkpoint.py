"""Plugin: one random checkpoint and its network for the whole run, and copies of it for tests that break something.

Nothing heavy is imported before a test asks for it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from reconvla_ros.model.model import Loaded

SEED = 3
SHARD_1, SHARD_2 = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder nobody writes to; take `copy` for that."""
    from reconvla_ros.policy.random_checkpoint import make_checkpoint

    folder = tmp_path_factory.mktemp("random") / "checkpoint"
    make_checkpoint(folder, seed=SEED)
    return folder


@pytest.fixture(scope="session")
def loaded(checkpoint: Path) -> Loaded:
    """Its network, float32 on the CPU."""
    import torch

    from reconvla_ros.model.model import load_model

    torch.set_num_threads(1)
    return load_model(checkpoint, torch.device("cpu"), torch.float32)


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    """The checkpoint again; its files are links, and a test replaces those it breaks."""
    target = tmp_path / "checkpoint"
    shutil.copytree(checkpoint, target, copy_function=lambda src, dst: Path(dst).hardlink_to(src))
    return target


def rewrite(path: Path, text: str) -> None:
    """Another content for one file of a copy."""
    path.unlink(missing_ok=True)
    path.write_text(text, encoding="utf-8")


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change one JSON file of a copy."""
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    rewrite(path, json.dumps(data))
