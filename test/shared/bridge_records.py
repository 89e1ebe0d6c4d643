"""Episodes as BridgeData's record files have them, made here."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image


def jpeg(level: int, flat: bool = False) -> bytes:
    pixels = np.full((64, 64, 3), level, np.uint8)
    if not flat:
        pixels[:32] = 250
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


def episode(steps: int = 7, wrist: bool = False, text: bytes = b"put carrot on plate") -> dict[str, Any]:
    """1 cm a step along x, 0.1 rad a step about z; the gripper closes with the fourth step."""
    state, action = np.zeros((steps, 7)), np.zeros((steps, 7))
    state[:, 0], state[:, 6] = 0.3 + 0.01 * np.arange(steps), 1.0
    action[:, 0], action[:, 5] = 0.01, 0.1
    action[:, 6] = np.arange(steps) < 3
    return {
        "steps/observation/state": state.ravel().tolist(), "steps/action": action.ravel().tolist(),
        "steps/language_instruction": [text] * steps, "steps/is_first": [1] + [0] * (steps - 1),
        "steps/observation/image_0": [jpeg(10 * k) for k in range(steps)],
        "steps/observation/image_3": [jpeg(99, not wrist)] * steps,
    }  # fmt: skip
