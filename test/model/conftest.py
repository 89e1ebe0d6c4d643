"""The names this folder's tests have for the shared random checkpoint (test/shared/tiny_checkpoint.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconvla_ros.model.model import Loaded


@pytest.fixture(scope="session")
def random_folder(checkpoint: Path) -> Path:
    return checkpoint


@pytest.fixture(scope="session")
def random_model(loaded: Loaded) -> Loaded:
    return loaded
