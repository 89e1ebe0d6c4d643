from __future__ import annotations

import pytest

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
