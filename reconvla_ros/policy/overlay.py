"""Where the model looks, painted over what it was shown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

STRENGTH = 0.65
"""Share of red where the attention is largest."""


def paint(canvas: NDArray[np.uint8], attention: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Blend red into `canvas` (H, W, 3) by `attention` (N, N), scaled so that its largest entry is full strength."""
    peak = float(attention.max())
    scaled = (attention / peak if peak > 0.0 else attention).astype(np.float32)
    size = (canvas.shape[1], canvas.shape[0])
    heat = np.asarray(Image.fromarray(scaled).resize(size, Image.Resampling.BILINEAR))
    weight = np.clip(heat, 0.0, 1.0)[..., None] * STRENGTH
    red = np.array([255.0, 0.0, 0.0], dtype=np.float32)
    return np.rint(canvas * (1.0 - weight) + red * weight).astype(np.uint8)
