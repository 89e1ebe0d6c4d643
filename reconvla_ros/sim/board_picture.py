"""Pictures of a ChArUco board and of single markers as PNG bytes, for the textures of a scene."""

from __future__ import annotations

import cv2

from reconvla_ros.errors import ConfigError, choices

PAPER = 255  # grey level of the sheet


def dictionary(name: str) -> cv2.aruco.Dictionary:
    """A predefined ArUco dictionary such as DICT_4X4_50.

    Raises:
        ConfigError: OpenCV has none of that name.
    """
    names = [n for n in dir(cv2.aruco) if n.startswith("DICT_")]
    if name not in names:
        raise ConfigError(f"ArUco dictionary: {choices(name, names)}")
    return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, name))


def board_png(columns: int, rows: int, square: float, marker: float, words: str, cell: int = 120) -> bytes:
    """The board without a margin: `columns` x `rows` squares of `cell` [px] (`square` and `marker` [m] give the ratio)."""
    board = cv2.aruco.CharucoBoard((columns, rows), square, marker, dictionary(words))
    return _png(board.generateImage((columns * cell, rows * cell)))


def marker_png(number: int, words: str, side: int = 240) -> bytes:
    """One marker, black border included, on a sheet with a quiet zone of a sixth of its `side` [px] all around."""
    quiet = side // 6
    picture = cv2.aruco.generateImageMarker(dictionary(words), number, side)
    return _png(cv2.copyMakeBorder(picture, quiet, quiet, quiet, quiet, cv2.BORDER_CONSTANT, value=PAPER))


def _png(grey: cv2.typing.MatLike) -> bytes:
    _, data = cv2.imencode(".png", grey)
    return data.tobytes()
