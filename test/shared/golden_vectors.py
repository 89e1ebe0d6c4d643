"""Plugin: the vectors of the original code, where they are ($RECONVLA_GOLDEN, or shared/golden beside the checkout)."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from reconvla_ros.model.model import Loaded


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    """Folder with golden.json, golden.npz, cases.py, tiny_checkpoint and the folders it names."""
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
    folder = Path(os.environ.get("RECONVLA_GOLDEN", beside))
    if not (folder / "golden.json").is_file():
        pytest.skip(f"the original's vectors are not in {folder}; RECONVLA_GOLDEN names another folder")
    return folder


@pytest.fixture(scope="session")
def golden(golden_folder: Path) -> dict[str, Any]:
    """golden.json."""
    data: dict[str, Any] = json.loads((golden_folder / "golden.json").read_text(encoding="utf-8"))
    return data


@pytest.fixture(scope="session")
def vectors(golden_folder: Path) -> dict[str, np.ndarray]:
    """The arrays of golden.npz that inference is compared with."""
    with np.load(golden_folder / "golden.npz") as arrays:
        return {name: arrays[name] for name in arrays.files if name.startswith(("serve/", "act/", "train/composite"))}


@pytest.fixture(scope="session")
def cases(golden_folder: Path) -> ModuleType:
    """cases.py, which makes the inputs again."""
    spec = importlib.util.spec_from_file_location("golden_cases", golden_folder / "cases.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def original(golden_folder: Path) -> Loaded:
    """The network of the original's checkpoint, float32 on the CPU."""
    import torch

    from reconvla_ros.model.model import load_model

    torch.set_num_threads(1)
    return load_model(golden_folder / "tiny_checkpoint", torch.device("cpu"), torch.float32)
