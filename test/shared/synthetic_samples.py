"""A small dataset in the original's training format: a dot on a canvas, and actions that lead to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reconvla_ros.policy.contract import FILE_NAME, Contract, to_yaml

SIDE = 334  # [px] of the stitched canvas


def _canvas(x: float, y: float, near: bool) -> np.ndarray:
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    size = 0.2 if near else 0.05
    dot = (rows - y) ** 2 + (columns - x) ** 2 < size**2
    picture = np.full((SIDE, SIDE, 3), 70, np.uint8)
    picture[dot] = (220, 60, 30)
    return picture


def make_samples(folder: Path, count: int = 12, episodes: int = 4, seed: int = 0, **changes: Any) -> Path:
    """Write `count` samples, their pictures and a contract; `changes` go into every sample (None removes a key)."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    entries = []
    for index in range(count):
        x, y = rng.uniform(0.2, 0.8, 2)
        for name, near in (("image", False), ("target", True)):
            Image.fromarray(_canvas(x, y, near)).save(folder / "images" / f"{index:04d}_{name}.jpg")
        state = " ".join(f"{v:.6f}" for v in rng.normal(0.0, 0.3, 15))
        step = [2 * x - 1, 2 * y - 1, 0.0, 0.0, 0.0, 0.1, 1.0]
        words = ("put fruit in bowl", "stack bowls")[index % 2]
        entry = {
            "id": f"ep{index % episodes}_{index:04d}",
            "image": f"images/{index:04d}_image.jpg",
            "image_target": f"images/{index:04d}_target.jpg",
            "embody": True,
            "conversations": [
                {"from": "human", "value": f"{words}\n<image>\n{words}\n{state}"},
                {"from": "gpt", "value": " ".join(f"{v:.6f}" for v in step * 5)},
            ],
        } | changes
        entries.append({k: v for k, v in entry.items() if v is not None})
    (folder / "samples.json").write_text(json.dumps(entries), encoding="utf-8")
    (folder / FILE_NAME).write_text(to_yaml(Contract()), encoding="utf-8")
    return folder
