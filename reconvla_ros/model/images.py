"""From two camera views to the tower's pixels, equal to the original bit for bit: stitch, resize, normalise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reconvla_ros.errors import ShapeError

CANVAS = 334
"""Side of the stitched canvas [px]."""
AS_TRAINED = (173, 161)
"""Heights of base and wrist view the training data is stitched with [px]: 334 * 14 // 27 and the rest."""
AS_SERVED = (167, 167)
"""Heights the original serves with [px]; row 13 of the tokens then mixes both views."""
SIDE = 384
"""Side of the tower's input [px]."""

# uint8 -> float32 in [-1, 1]: scaled in float64, cast, then shifted in float32, in the original's order.
_SCALE = ((np.arange(256) * (1 / 255)).astype(np.float32) - np.float32(0.5)) / np.float32(0.5)

Rgb = NDArray[np.uint8]


def _view(name: str, image: Rgb) -> Image.Image:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ShapeError(f"{name} image: expected RGB uint8 (H, W, 3), got {got}")
    if 0 in image.shape:
        raise ShapeError(f"{name} image: must not be empty, got {image.shape}")
    return Image.fromarray(np.ascontiguousarray(image))


def stitch(base: Rgb, wrist: Rgb, heights: tuple[int, int] = AS_TRAINED) -> Rgb:
    """Base view above, wrist view below, each resized (LANCZOS, aspect not kept) -> (334, 334, 3) RGB uint8.

    Raises:
        ShapeError: an image that is not RGB uint8, or heights that do not fit the canvas.
    """
    top, bottom = heights
    if top <= 0 or bottom <= 0 or top + bottom > CANVAS:
        raise ShapeError(f"stitch heights: must be positive and at most {CANVAS} together, got {heights}")
    canvas = np.zeros((CANVAS, CANVAS, 3), np.uint8)
    canvas[:top] = np.asarray(_view("base", base).resize((CANVAS, top), Image.Resampling.LANCZOS))
    canvas[top : top + bottom] = np.asarray(_view("wrist", wrist).resize((CANVAS, bottom), Image.Resampling.LANCZOS))
    return canvas


def resize_canvas(canvas: Rgb) -> Rgb:
    """The canvas at the tower's size (384, 384, 3), bicubic."""
    return np.asarray(_view("stitched", canvas).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def normalise(image: Rgb) -> NDArray[np.float32]:
    """(384, 384, 3) uint8 -> (1, 3, 384, 384) float32 in [-1, 1]."""
    return np.ascontiguousarray(_SCALE[image].transpose(2, 0, 1)[None])


def pixels(base: Rgb, wrist: Rgb, heights: tuple[int, int] = AS_TRAINED) -> NDArray[np.float32]:
    """Both views -> the tower's input (1, 3, 384, 384) float32."""
    return normalise(resize_canvas(stitch(base, wrist, heights)))
