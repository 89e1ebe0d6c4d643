from __future__ import annotations

import pytest

from reconvla_ros.camera.usb import Mode, advice, generation

OFFERED = [Mode(640, 480, 30), Mode(640, 480, 15), Mode(640, 480, 6), Mode(424, 240, 30)]


@pytest.mark.parametrize(("descriptor", "found"), [("2.1", 2), ("3.2", 3), ("", 0), ("Undefined", 0)])
def test_generation(descriptor: str, found: int) -> None:
    assert generation(descriptor) == found


def test_usb_3_and_an_unknown_one_need_no_advice() -> None:
    for descriptor in ("3.2", "3.1", ""):
        assert advice(descriptor, OFFERED[0], OFFERED) == ""


def test_usb_2_says_what_fits() -> None:
    said = advice("2.1", OFFERED[0], OFFERED)
    assert "640x480@30 needs 37 MB/s, about 35 are there: is too much" in said
    assert said.endswith("else one of 640x480@15, 424x240@30, 640x480@6")
    assert "fits" in advice("2.1", OFFERED[1], OFFERED)


def test_two_cameras_share_it() -> None:
    said = advice("2.1", OFFERED[1], OFFERED, cameras=2)
    assert "about 18 are there: is too much" in said and said.endswith("else one of 424x240@30, 640x480@6")
