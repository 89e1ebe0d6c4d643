"""The printed board has the size it says; a board that cannot be is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reconvla_ros.calibration.board import INCH, BoardSpec, page, write_page
from reconvla_ros.calibration.detect import Detector
from reconvla_ros.config import build
from reconvla_ros.errors import ConfigError


def test_the_page_has_the_board_at_true_size(tmp_path: Path) -> None:
    write_page(tmp_path / "board.png", BoardSpec(), dpi=150)
    picture = Image.open(tmp_path / "board.png")
    assert picture.size == (round(0.297 / INCH * 150), round(0.210 / INCH * 150))
    assert picture.info["dpi"] == pytest.approx((150, 150), abs=0.1)
    found = Detector(BoardSpec()).board(np.asarray(picture))
    assert found is not None and len(found.ids) == 15
    side = np.linalg.norm(found.pixels[1] - found.pixels[0]) / 150 * INCH
    assert side == pytest.approx(0.045, abs=0.0002)


def test_a_pdf_has_the_size_of_the_paper(tmp_path: Path) -> None:
    write_page(tmp_path / "board.pdf", BoardSpec(), dpi=100)
    box = re.search(rb"/MediaBox \[ ?([\d. ]+)\]", (tmp_path / "board.pdf").read_bytes())
    assert box is not None
    points = [float(v) for v in box[1].split()]
    assert points[2:] == pytest.approx([0.297 / INCH * 72, 0.210 / INCH * 72], abs=1.0)


def test_boards_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not fit A4"):
        page(BoardSpec(columns=8))
    with pytest.raises(ConfigError, match=r"marker: must be 0\.4\.\.0\.95 of the square \(45 mm\), got 50 mm"):
        BoardSpec(marker=0.05)
    with pytest.raises(ConfigError, match="needs 72 markers, DICT_4X4_50 has 50"):
        BoardSpec(columns=12, rows=12)
    with pytest.raises(ConfigError, match="DICT_4X4_50"):
        build(BoardSpec, {"dictionary": "DICT_4X4_51"})
    with pytest.raises(ConfigError, match=r"\.pdf or \.png"):
        write_page(tmp_path / "board.svg", BoardSpec())
    with pytest.raises(ConfigError, match="A4"):
        page(BoardSpec(), "A5")
