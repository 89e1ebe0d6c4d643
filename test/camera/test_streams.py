from __future__ import annotations

import math

import numpy as np
import pytest

from reconvla_ros.camera.streams import Pairing, Stillness, StreamWatch, slow


def test_rate_and_losses_by_stamps_and_numbers() -> None:
    watch = StreamWatch("color")
    assert math.isnan(watch.rate()) and slow(watch, 30) == ""
    for number in (1, 2, 5, 6):
        assert watch.add(number, number * 50.0, 0.0)
    assert watch.rate() == pytest.approx(12.0)  # 4 frames over 250 ms: lost ones are missing from the rate
    assert (watch.frames, watch.lost) == (4, 2)
    assert watch.values()["color_dropped_percent"] == 33.33
    assert slow(watch, 20) == "color comes at 12.0 Hz of 20"
    assert not watch.add(6, 300.0, 0.0), "the very same frame"
    assert watch.frames == 4


def test_numbers_that_begin_anew_are_no_loss_and_stamps_that_go_back_are_counted() -> None:
    watch = StreamWatch("depth")
    for number, stamp in ((100, 5000.0), (1, 10.0), (2, 43.0)):
        watch.add(number, stamp, 0.0)
    assert (watch.lost, watch.backwards) == (0, 1)
    assert watch.rate() == pytest.approx(1000 / 33)


def feed(*frames: tuple[str, float]) -> list[tuple[float, float | None]]:
    pairing = Pairing[float](20.0)
    ready = []
    for kind, stamp in frames:
        ready += (pairing.color if kind == "c" else pairing.depth)(stamp, stamp)
    return ready


@pytest.mark.parametrize(
    ("frames", "pairs"),
    [
        ([("d", 0), ("c", 5), ("d", 33), ("c", 38)], [(5, 0), (38, 33)]),
        ([("c", 0), ("d", 12), ("c", 33), ("d", 45)], [(0, 12), (33, 45)]),
        # A lost depth frame: its colour goes on alone, with the next colour or the next depth.
        ([("c", 0), ("d", 2), ("c", 33), ("c", 66), ("d", 68)], [(0, 2), (33, None), (66, 68)]),
        ([("c", 0), ("d", 33), ("c", 35)], [(0, None), (35, 33)]),
        # A lost colour frame: its depth is used for no other.
        ([("d", 0), ("d", 33), ("c", 35), ("c", 68)], [(35, 33)]),
        ([("c", 5), ("d", 0), ("c", 15)], [(5, 0)]),
        # Stamps that go back by a minute pair again with their like.
        ([("c", 60000), ("d", 60001), ("c", 5), ("d", 6)], [(60000, 60001), (5, 6)]),
    ],
)
def test_each_colour_gets_the_depth_nearest_to_it(
    frames: list[tuple[str, float]], pairs: list[tuple[float, float | None]]
) -> None:
    assert feed(*frames) == pairs


def test_pairing_tells_how_far_they_are_apart() -> None:
    pairing = Pairing[int](20.0)
    for k, apart in enumerate((4.0, 6.0, -9.0)):
        pairing.depth(100.0 * k + apart, k)
        pairing.color(100.0 * k, k)
    assert pairing.values() == {"depth_after_color_ms": 4.0, "color_depth_skew_ms_max": 9.0, "color_without_depth": 0}


def test_a_picture_that_stands_still() -> None:
    still, rng = Stillness(), np.random.default_rng(0)
    picture = rng.integers(0, 255, (480, 640, 3), dtype=np.uint8)
    assert still.warning(100.0) == ""
    for now in (0.0, 1.0, 2.5):
        still.add(picture, now)
    assert "2.5 s" in still.warning(2.5)
    still.add(np.bitwise_xor(picture, np.uint8(1)), 2.6)
    assert still.warning(2.7) == ""
