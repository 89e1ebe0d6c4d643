from __future__ import annotations

import pytest

from reconvla_ros.arm import firmware
from reconvla_ros.arm.firmware import dh_variant, version


@pytest.mark.parametrize(
    ("text", "known", "variant"),
    [
        ("S-V1.5-8", (1, 5, 8), 0),
        ("S-V1.6-2", (1, 6, 2), 0),
        ("S-V1.6-3", (1, 6, 3), 1),
        ("S-V1.8-5", (1, 8, 5), 1),
        ("S-V1.10-0", (1, 10, 0), 1),  # a comparison of texts would call it old
        ("S-V1.8-", None, 1),  # not whole yet
        ("", None, 1),
    ],
)
def test_version_and_zeros(text: str, known: tuple[int, int, int] | None, variant: int) -> None:
    assert version(text) == known
    assert dh_variant(text) == variant


@pytest.mark.parametrize(("text", "scale"), [("S-V1.8-2", 4.0), ("S-V1.7-3", 4.0), ("S-V1.8-3", 1.0), ("", 1.0)])
def test_older_firmware_reports_a_quarter_of_the_effort_of_joints_1_to_3(text: str, scale: float) -> None:
    assert firmware.effort_scale(text) == (scale,) * 3 + (1.0,) * 3


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("S-V1.7-2", False),
        ("S-V1.7-3", True),
        ("S-V1.8-7", True),
        ("S-V1.8-8", False),
        ("S-V2.0-1", False),
        ("", False),
    ],
)
def test_the_mit_frames_of_the_sdk_fit_some_firmware_only(text: str, fits: bool) -> None:
    assert (firmware.mit_refusal(text) == "") is fits
