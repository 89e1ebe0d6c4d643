"""One random checkpoint and one loaded model for the whole folder; the original's vectors where they are."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from reconvla_ros.model.model import Loaded, load_model
from reconvla_ros.model.random_init import write_random

torch.set_num_threads(1)
CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def random_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    write_random(folder, seed=3)
    return folder


@pytest.fixture(scope="session")
def random_model(random_folder: Path) -> Loaded:
    return load_model(random_folder, CPU, torch.float32)


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
    folder = Path(os.environ.get("RECONVLA_GOLDEN", beside))
    if not (folder / "golden.json").is_file():
        pytest.skip(f"the original's vectors are not in {folder}; RECONVLA_GOLDEN names another folder")
    return folder


@pytest.fixture(scope="session")
def golden(golden_folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((golden_folder / "golden.json").read_text(encoding="utf-8"))
    return data


@pytest.fixture(scope="session")
def vectors(golden_folder: Path) -> dict[str, np.ndarray]:
    with np.load(golden_folder / "golden.npz") as arrays:
        return {name: arrays[name] for name in arrays.files if name.startswith(("serve/", "act/", "train/composite"))}


@pytest.fixture(scope="session")
def cases(golden_folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_cases", golden_folder / "cases.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def original(golden_folder: Path) -> Loaded:
    return load_model(golden_folder / "tiny_checkpoint", CPU, torch.float32)
