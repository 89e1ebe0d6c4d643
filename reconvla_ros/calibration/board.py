"""The ChArUco board: what it is, and its picture to print at true size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from reconvla_ros.config import param
from reconvla_ros.errors import ConfigError
from reconvla_ros.types import Float

INCH = 0.0254  # [m]
PAPERS = {"A4": (0.297, 0.210), "A3": (0.420, 0.297), "letter": (0.2794, 0.2159)}  # landscape [m]
DICTIONARIES = tuple(f"DICT_{bits}X{bits}_{count}" for bits in (4, 5, 6) for count in (50, 100, 250))
RULER = 0.1  # [m] printed below the board, to be measured
_QUIET = 0.003  # [m] least white margin around the board


@dataclass(frozen=True)
class BoardSpec:
    """A board of `columns` x `rows` squares; markers of `dictionary` in the white ones. Fits A4 by default."""

    columns: int = param(6, "squares along the long side", low=3, high=30)
    rows: int = param(4, "squares along the short side", low=3, high=30)
    square: float = param(0.045, "side of a square, measured on the print", unit="m", low=0.005, high=0.3)
    marker: float = param(0.034, "side of a marker, measured on the print", unit="m", low=0.003, high=0.3)
    dictionary: str = param("DICT_4X4_50", "ArUco dictionary", options=DICTIONARIES)

    def __post_init__(self) -> None:
        if not 0.4 * self.square <= self.marker <= 0.95 * self.square:
            raise ConfigError(
                f"board.marker: must be 0.4..0.95 of the square ({self.square * 1e3:g} mm), got {self.marker * 1e3:g} mm"
            )
        held, need = len(self.words.bytesList), self.columns * self.rows // 2
        if need > held:
            raise ConfigError(f"board: {self.columns}x{self.rows} needs {need} markers, {self.dictionary} has {held}")

    @property
    def words(self) -> cv2.aruco.Dictionary:
        """OpenCV's dictionary."""
        return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, self.dictionary))

    def charuco(self) -> cv2.aruco.CharucoBoard:
        """OpenCV's board."""
        return cv2.aruco.CharucoBoard((self.columns, self.rows), self.square, self.marker, self.words)

    @property
    def corners(self) -> Float:
        """Inner corners in the board's frame ((columns - 1) (rows - 1), 3) [m]: x along, y down the picture, z into it."""
        return np.array(self.charuco().getChessboardCorners(), dtype=np.float64)

    @property
    def centre(self) -> Float:
        """The middle of the board in its frame (3,) [m]."""
        return np.array([self.columns * self.square / 2, self.rows * self.square / 2, 0.0])

    def __str__(self) -> str:
        size = f"{self.square * 1e3:g}/{self.marker * 1e3:g} mm"
        return f"{self.columns}x{self.rows} squares, {size}, {self.dictionary}"


def page(spec: BoardSpec, paper: str = "A4", dpi: int = 600) -> Image.Image:
    """The board in the middle of a sheet (landscape), with a ruler of 100 mm below it; grey levels.

    Raises:
        ConfigError: it does not fit on the sheet.
    """
    if paper not in PAPERS:
        from reconvla_ros.errors import choices

        raise ConfigError(f"paper: {choices(paper, PAPERS)}")
    sheet, board = np.array(PAPERS[paper]), np.array([spec.columns, spec.rows]) * spec.square
    if np.any(board + 2 * _QUIET > sheet):
        need, have = (" x ".join(f"{v * 1e3:.0f}" for v in size) for size in (board, sheet))
        raise ConfigError(f"board of {need} mm does not fit {paper} ({have} mm); smaller squares or another paper")
    width, height = (round(v / INCH * dpi) for v in sheet)
    cell = round(spec.square / INCH * dpi)
    drawn = spec.charuco().generateImage((cell * spec.columns, cell * spec.rows))
    made = Image.new("L", (width, height), 255)
    made.paste(Image.fromarray(drawn), ((width - drawn.shape[1]) // 2, (height - drawn.shape[0]) // 2))
    _caption(made, (height + drawn.shape[0]) // 2, spec, dpi)
    return made


def _caption(made: Image.Image, below: int, spec: BoardSpec, dpi: int) -> None:
    """A ruler and the numbers, where there is room for them."""
    draw, line = ImageDraw.Draw(made), round(0.0035 / INCH * dpi)
    if made.height - below < 3 * line:
        return
    left, top, length = round(0.01 / INCH * dpi), below + line, round(RULER / INCH * dpi)
    draw.line((left, top, left + length, top), fill=0, width=max(1, line // 12))
    for end in (left, left + length):
        draw.line((end, top - line // 2, end, top + line // 2), fill=0, width=max(1, line // 12))
    text = f"this line: 100 mm. Print at 100 %. {spec}. Glue it to something flat and stiff; measure the squares."
    draw.text((left + length + line, top), text, fill=0, font=ImageFont.load_default(line * 0.8), anchor="lm")


def write_page(path: Path, spec: BoardSpec, paper: str = "A4", dpi: int = 600) -> None:
    """Write `page` as PDF or PNG (by the suffix), at true size.

    Raises:
        ConfigError: another suffix, or the file cannot be written.
    """
    if path.suffix.lower() not in (".pdf", ".png"):
        raise ConfigError(f"{path}: a board is written as .pdf or .png")
    made = page(spec, paper, dpi)
    try:
        if path.suffix.lower() == ".pdf":
            made.save(path, resolution=float(dpi))
        else:
            made.save(path, dpi=(dpi, dpi))
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error}") from error
