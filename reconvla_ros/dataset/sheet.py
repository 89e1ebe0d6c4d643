"""A contact sheet of a converted data set: what the model will be shown, its words and where the arm goes next."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from reconvla_ros.dataset.samples import SAMPLES
from reconvla_ros.errors import DatasetError
from reconvla_ros.model.images import CANVAS

COLUMNS = 5  # samples of an episode
_WIDTH = 160  # [px] of a picture
_TEXT = 15  # [px] a line


def draw(folder: Path, path: Path, episodes: int = 8) -> int:
    """Write the sheet of a data set of ReconVLA samples; a row an episode, spread over the set. Returns the rows.

    Under each picture: the tick and the TCP [m]; the first step's xyz in the contract's units, and what the gripper does.

    Raises:
        DatasetError: no such data set, or the picture cannot be written.
    """
    try:
        samples: list[dict[str, Any]] = json.loads((folder / SAMPLES).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{folder / SAMPLES} cannot be read: {error}") from error
    by_episode: dict[str, list[dict[str, Any]]] = {}
    for sample in samples:
        by_episode.setdefault(sample["episode"], []).append(sample)
    names = _spread(list(by_episode), episodes)
    rows = [_row(folder, _spread(by_episode[name], COLUMNS), f"{name}: {by_episode[name][0]['instruction']}")
            for name in names]  # fmt: skip
    sheet = Image.new("RGB", (COLUMNS * _WIDTH, sum(row.height for row in rows)), "white")
    at = 0
    for row in rows:
        sheet.paste(row, (0, at))
        at += row.height
    try:
        sheet.quantize(192).save(path, optimize=True)
    except (OSError, ValueError) as error:
        raise DatasetError(f"picture {path} cannot be written: {error}") from error
    return len(rows)


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    places = np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int))
    return [items[k] for k in places]


def _row(folder: Path, samples: Sequence[dict[str, Any]], title: str) -> Image.Image:
    pictures = [_picture(folder, sample) for sample in samples]
    row = Image.new("RGB", (COLUMNS * _WIDTH, max(p.height for p in pictures) + 3 * _TEXT), "white")
    pen, font = ImageDraw.Draw(row), ImageFont.load_default(11)
    pen.text((4, 1), title, fill="black", font=font)
    for k, (sample, picture) in enumerate(zip(samples, pictures, strict=True)):
        left = k * _WIDTH
        row.paste(picture, (left, _TEXT))
        x, y, z = sample["state"][:3]
        step = sample["actions"][0]
        word = "opens" if step[6] > 0 else "closes"
        under = picture.height + _TEXT
        pen.text((left + 4, under), f"t{sample['frame']}: {x:.2f}, {y:.2f}, {z:.2f} m", fill="black", font=font)
        pen.text((left + 4, under + _TEXT - 3), f"{step[0]:+.1f}, {step[1]:+.1f}, {step[2]:+.1f}, {word}",
                 fill="#a03000", font=font)  # fmt: skip
    return row


def _picture(folder: Path, sample: dict[str, Any]) -> Image.Image:
    """The canvas (its upper view alone where there is no wrist view)."""
    try:
        with Image.open(folder / sample["image"]) as opened:
            picture = opened.convert("RGB")
    except OSError as error:
        raise DatasetError(f"{folder / sample['image']} cannot be read: {error}") from error
    height = CANVAS if sample["views"] == "both" else CANVAS * 173 // 334
    picture = picture.crop((0, 0, CANVAS, height))
    return picture.resize((_WIDTH - 4, height * (_WIDTH - 4) // CANVAS), Image.Resampling.LANCZOS)
