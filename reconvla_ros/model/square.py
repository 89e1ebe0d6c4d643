"""Pictures that are not square, as the original's training makes them so (``image_aspect_ratio: pad``).

The stitched canvas of serving is square already; pretraining pictures of other data sets are not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reconvla_ros.errors import ShapeError

GREY = 127
"""int(0.5 * 255): the processor's mean as a colour."""


def pad_to_square(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) RGB uint8 in the middle of a grey square of the longer side; the odd line goes below or to the right.

    Raises:
        ShapeError: not RGB uint8, or empty.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ShapeError(f"picture to pad: expected RGB uint8 (H, W, 3), got {image.dtype} {image.shape}")
    height, width = image.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = np.full((side, side, 3), GREY, np.uint8)
    square[top : top + height, left : left + width] = image
    return square
