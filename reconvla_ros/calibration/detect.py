"""Corners of the board and single markers in a picture, to a fraction of a pixel; and why a board was not seen."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from reconvla_ros.calibration.board import DICTIONARIES, BoardSpec
from reconvla_ros.errors import ShapeError
from reconvla_ros.types import Float

Grey = NDArray[np.uint8]

LEAST = 6  # corners below which a view says too little of the board's tilt
_FLAT = 0.05  # second over first extent of the corners; below it they lie on a line


@dataclass(frozen=True, eq=False)
class Corners:
    """Corners `ids` (N,) of the board at `pixels` (N, 2): u right, v down, (0, 0) = middle of the first pixel."""

    ids: NDArray[np.int64]
    pixels: Float


def grey_of(picture: NDArray[np.uint8]) -> Grey:
    """RGB (H, W, 3) or grey (H, W) -> grey (H, W) uint8.

    Raises:
        ShapeError: another shape or type.
    """
    if picture.dtype != np.uint8 or not (picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 3)):
        raise ShapeError(f"picture: expected uint8 (H, W) or (H, W, 3), got {picture.dtype} {picture.shape}")
    return picture if picture.ndim == 2 else np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


class Detector:
    """Finds one board, and the markers of its dictionary that are not on it."""

    def __init__(self, spec: BoardSpec) -> None:
        self.spec = spec
        board = spec.charuco()
        self._own = set(np.asarray(board.getIds()).ravel().tolist())
        self._grid = spec.corners
        refined = cv2.aruco.DetectorParameters()
        refined.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
        self._markers = cv2.aruco.ArucoDetector(spec.words, refined)
        parameters = cv2.aruco.CharucoParameters()
        parameters.minMarkers = 1
        self._board = cv2.aruco.CharucoDetector(board, parameters)

    def board(self, grey: Grey) -> Corners | None:
        """The board's corners, or None when fewer than `LEAST` are seen or all seen lie on a line."""
        pixels, ids, _, _ = self._board.detectBoard(grey)
        if ids is None or len(ids) < LEAST:
            return None
        found = ids.ravel().astype(np.int64)
        spread = np.linalg.svd(self._grid[found] - self._grid[found].mean(axis=0), compute_uv=False)
        if spread[1] < _FLAT * spread[0]:
            return None
        return Corners(found, pixels.reshape(-1, 2).astype(np.float64))

    def markers(self, grey: Grey) -> dict[int, Float]:
        """Number -> corners (4, 2) [px] of the markers that are not on the board; one seen twice is left out."""
        pixels, ids, _ = self._markers.detectMarkers(grey)
        if ids is None:
            return {}
        numbers = ids.ravel().tolist()
        return {
            number: corners.reshape(4, 2).astype(np.float64)
            for number, corners in zip(numbers, pixels, strict=True)
            if number not in self._own and numbers.count(number) == 1
        }

    def why_not(self, grey: Grey) -> str:
        """Why `board` saw nothing, in words."""
        _, ids, _ = self._markers.detectMarkers(grey)
        mine = sorted(set() if ids is None else set(ids.ravel().tolist()) & self._own)
        if mine:
            return f"only {len(mine)} of its {len(self._own)} markers are seen clearly (covered, cut off, blurred or too small)"
        others = []
        for name in DICTIONARIES:
            words = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, name))
            if words.markerSize != self.spec.words.markerSize and self._counts(grey, words) >= 4:
                others.append(name)
        if others:
            return f"markers of {others[0]} are seen, not of {self.spec.dictionary}: another board?"
        return "no marker is seen (out of view, too dark, too far, or mirrored)"

    @staticmethod
    def _counts(grey: Grey, words: cv2.aruco.Dictionary) -> int:
        _, ids, _ = cv2.aruco.ArucoDetector(words).detectMarkers(grey)
        return 0 if ids is None else len(ids)
