"""From two camera views to the tower's pixels, equal to the original bit for bit: stitch, resize, normalise.

Pillow does the resampling, since no other library's arithmetic is the same to the last bit. It lets go of the interpreter while
it works, so two threads share it: one view each, then one half of the canvas each. `reconvla bench policy` (B7) puts it beside
the original's way.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

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
    views = _view("base", base), _view("wrist", wrist)
    canvas = np.zeros((CANVAS, CANVAS, 3), np.uint8)

    def paste(view: Image.Image, row: int, height: int) -> None:
        canvas[row : row + height] = np.asarray(view.resize((CANVAS, height), Image.Resampling.LANCZOS))

    _both(lambda: paste(views[0], 0, top), lambda: paste(views[1], top, bottom))
    return canvas


def resize_canvas(canvas: Rgb, side: int = SIDE) -> Rgb:
    """The canvas at the tower's size (384, 384, 3), bicubic; `side` [px] of a tower of another size."""
    small = np.empty((side, side, 3), np.uint8)

    def place(rows: slice, part: Rgb) -> None:
        small[rows] = part

    _halves(_view("stitched", canvas), place, side)
    return small


def normalise(image: Rgb) -> NDArray[np.float32]:
    """(384, 384, 3) uint8 -> (1, 3, 384, 384) float32 in [-1, 1]."""
    out = np.empty((1, image.shape[2], *image.shape[:2]), np.float32)
    _normalise(image, out[0])
    return out


def tower_pixels(canvas: Rgb, side: int = SIDE) -> NDArray[np.float32]:
    """The canvas -> the tower's input (1, 3, 384, 384) float32: `normalise(resize_canvas(canvas))` without the pass between.

    `side` [px] of a tower of another size.
    """
    out = np.empty((1, 3, side, side), np.float32)
    _halves(_view("stitched", canvas), lambda rows, part: _normalise(part, out[0, :, rows]), side)
    return out


def pixels(base: Rgb, wrist: Rgb, heights: tuple[int, int] = AS_TRAINED) -> NDArray[np.float32]:
    """Both views -> the tower's input (1, 3, 384, 384) float32."""
    return tower_pixels(stitch(base, wrist, heights))


def _halves(image: Image.Image, use: Callable[[slice, Rgb], None], side: int) -> None:
    """Bicubic to (side, side), the upper and the lower half apart; `use` takes the rows and their pixels.

    A box says where the half lies, and the filter still reads across its border. The halves' filter weights are those of the
    whole for this one pair of sizes (proven in test_images); anything else is resized in one piece.
    """
    width, height = image.size
    if (width, height, side) != (CANVAS, CANVAS, SIDE):
        use(slice(0, side), np.asarray(image.resize((side, side), Image.Resampling.BICUBIC)))
        return

    def half(which: int) -> None:
        box = (0, which * CANVAS // 2, CANVAS, (which + 1) * CANVAS // 2)
        part = image.resize((SIDE, SIDE // 2), Image.Resampling.BICUBIC, box)
        use(slice(which * SIDE // 2, (which + 1) * SIDE // 2), np.asarray(part))

    _both(lambda: half(0), lambda: half(1))


def _normalise(image: Rgb, out: NDArray[np.float32]) -> None:
    """(H, W, 3) uint8 -> `out` (3, H, W) in [-1, 1].

    The original scales by 1/255 in float64, casts, and then shifts and scales in float32. A float32 division by 255 is the same
    for all 256 values (test_images), and 0.5 and 2 are powers of two.
    """
    np.divide(image.transpose(2, 0, 1), np.float32(255), out=out)
    np.subtract(out, np.float32(0.5), out=out)
    np.multiply(out, np.float32(2), out=out)


@cache
def _helper() -> ThreadPoolExecutor | None:
    """The second thread; None where this process has a single processor."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ThreadPoolExecutor(1, thread_name_prefix="images") if processors > 1 else None


# A forked child (a data loader's worker) has the pool's queue without its thread, and would wait for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_helper.cache_clear)


def _both(first: Callable[[], None], second: Callable[[], None]) -> None:
    """Run both, at the same time where there are two processors; what either raises is raised."""
    pool = _helper()
    if pool is None:
        first()
        second()
        return
    other = pool.submit(second)
    try:
        first()
    finally:
        other.result()
