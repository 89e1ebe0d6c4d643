"""Two threads and a fused last stage change no bit of the tower's pixels."""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from reconvla_ros.errors import ShapeError
from reconvla_ros.model import images
from reconvla_ros.model.images import AS_SERVED, AS_TRAINED, CANVAS, SIDE

RNG = np.random.default_rng(7)
Rgb = NDArray[np.uint8]


def as_the_original(base: Rgb, wrist: Rgb, heights: tuple[int, int]) -> tuple[Rgb, Rgb, NDArray[np.float32]]:
    """Canvas, resized canvas and pixels the way the original makes them in one thread."""
    canvas = Image.new("RGB", (CANVAS, CANVAS))
    canvas.paste(Image.fromarray(base).resize((CANVAS, heights[0]), Image.Resampling.LANCZOS), (0, 0))
    canvas.paste(Image.fromarray(wrist).resize((CANVAS, heights[1]), Image.Resampling.LANCZOS), (0, heights[0]))
    small = np.asarray(canvas.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    half = np.full(3, 0.5, np.float32)
    scaled = (small * (1 / 255)).astype(np.float32)
    return np.asarray(canvas), small, ((scaled - half) / half).transpose(2, 0, 1)[None]


def picture(kind: str, height: int, width: int) -> Rgb:
    """Noise, the hardest edges (every overshoot is clipped), or a smooth slope."""
    if kind == "noise":
        return RNG.integers(0, 256, (height, width, 3), np.uint8)
    if kind == "edges":
        return RNG.integers(0, 2, (height, width, 3), np.uint8) * np.uint8(255)
    rows, columns = np.mgrid[0:height, 0:width]
    return np.dstack(
        [rows * 255 // max(height - 1, 1), columns * 255 // max(width - 1, 1), (rows + columns) % 256]
    ).astype(np.uint8)


SIZES = [(480, 640), (200, 200), (84, 84), (720, 1280), (161, 334), (1, 1), (3, 1000), (481, 641), (173, 334)]


@pytest.mark.parametrize("kind", ["noise", "edges", "slope"])
@pytest.mark.parametrize("heights", [AS_TRAINED, AS_SERVED, (1, 333)])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_stage_equals_the_original_bit_for_bit(
    kind: str, heights: tuple[int, int], size: tuple[int, int]
) -> None:
    base, wrist = picture(kind, *size), picture(kind, *SIZES[(SIZES.index(size) + 1) % len(SIZES)])
    canvas, small, tensor = as_the_original(base, wrist, heights)
    np.testing.assert_array_equal(images.stitch(base, wrist, heights), canvas)
    np.testing.assert_array_equal(images.resize_canvas(canvas), small)
    np.testing.assert_array_equal(images.normalise(small), tensor)
    np.testing.assert_array_equal(images.pixels(base, wrist, heights), tensor)


def test_one_processor_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    base, wrist = picture("noise", 48, 64), picture("edges", 60, 50)
    two = images.pixels(base, wrist)
    monkeypatch.setattr(images, "_helper", lambda: None)
    np.testing.assert_array_equal(images.pixels(base, wrist), two)


def test_division_by_255_is_the_scaling_of_the_original() -> None:
    every = np.arange(256).astype(np.uint8)
    np.testing.assert_array_equal(every / np.float32(255), (every * (1 / 255)).astype(np.float32))


def weights(low: float, high: float, size: int, out: int) -> list[list[int]]:
    """Pillow's 22-bit bicubic weights of every output pixel (Resample.c, precompute_coeffs and normalize_coeffs_8bpc)."""

    def bicubic(x: float) -> float:
        x, a = abs(x), -0.5
        if x < 1:
            return ((a + 2) * x - (a + 3)) * x * x + 1
        return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0

    scale = (high - low) / out
    assert scale < 1  # enlarging: the filter's support is two pixels
    found = []
    for i in range(out):
        centre = low + (i + 0.5) * scale
        first, last = max(int(centre - 2 + 0.5), 0), min(int(centre + 2 + 0.5), size)
        raw = [bicubic(k + first - centre + 0.5) for k in range(last - first)]
        total = sum(raw)
        rounded = [math.trunc(w / total * (1 << 22) + math.copysign(0.5, w)) for w in raw]
        found.append([first, *rounded])
    return found


def test_the_weights_of_the_halves_are_those_of_the_whole() -> None:
    """So the halves are equal for every image, not only for those tried."""
    middle = CANVAS / 2
    halves = [weights(low, low + middle, CANVAS, SIDE // 2) for low in (0.0, middle)]
    assert halves[0] + halves[1] == weights(0.0, CANVAS, CANVAS, SIDE)


def test_these_are_pillows_weights() -> None:
    """The weights above, applied, give what Pillow gives."""
    column = RNG.integers(0, 256, (CANVAS, 1), np.uint8)
    expected = np.asarray(Image.fromarray(column).resize((1, SIDE), Image.Resampling.BICUBIC)).ravel()
    values = column.ravel().astype(np.int64)
    got = [(1 << 21) + int(values[f : f + len(w)] @ np.array(w)) >> 22 for f, *w in weights(0, CANVAS, CANVAS, SIDE)]
    np.testing.assert_array_equal(np.clip(got, 0, 255), expected)


def test_what_is_wrong_with_either_image_is_said_by_name() -> None:
    good = picture("noise", 10, 10)
    with pytest.raises(ShapeError, match=r"wrist image: expected RGB uint8 \(H, W, 3\), got float64 \(10, 10, 3\)"):
        images.stitch(good, good.astype(float))  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"base image: must not be empty, got \(0, 10, 3\)"):
        images.stitch(good[:0], good)


def test_an_error_in_either_thread_comes_out() -> None:
    def fail() -> None:
        raise MemoryError("no room")

    for pair in ((fail, bool), (bool, fail)):
        with pytest.raises(MemoryError, match="no room"):
            images._both(*pair)  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_a_second_thread_of_its_own() -> None:
    """A data loader's worker waited for ever for the parent's thread."""
    base = picture("noise", 20, 20)
    whole = int(images.stitch(base, base).sum())
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_stitch_and_sum, args=(base, answers.put))
    child.start()
    try:
        assert answers.get(timeout=20) == whole
    finally:
        child.kill()
        child.join()


def _stitch_and_sum(base: Rgb, answer: Callable[[int], None]) -> None:
    answer(int(images.stitch(base, base).sum()))
