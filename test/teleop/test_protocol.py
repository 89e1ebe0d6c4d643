from __future__ import annotations

import math
from dataclasses import replace

import pytest

from reconvla_ros.errors import TeleopError
from reconvla_ros.teleop.protocol import Reading, checked

GOOD = Reading(True, (0.0, 1.0, -1.0, 0.0, 0.5, 0.0), 1.0, (0.0, 1.0, -1.0, 0.0, 0.5, 3.0), 0.03)


def test_good_numbers_pass_as_they_are() -> None:
    assert checked("pad", GOOD) is GOOD


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"twist": (0.0, math.nan, 0.0, 0.0, 0.0, 0.0)}, r"pad: twist\[1\]: must be in -1..1, got nan"),
        ({"twist": (0.0, 0.0, 1.01, 0.0, 0.0, 0.0)}, r"twist\[2\]"),
        ({"twist": (0.0,) * 5}, "6 entries, got 5"),
        ({"grip": math.inf}, r"grip\[0\]"),
        ({"joints": (0.0,) * 7}, "6 entries, got 7"),
        ({"joints": (0.0, math.nan, 0.0, 0.0, 0.0, 0.0)}, "joint2: must be in -pi..pi rad, got nan"),
        ({"joints": (0.0, 0.0, 0.0, 0.0, 0.0, 4.0)}, "joint6"),
        ({"opening": math.nan}, "opening: must be finite"),
    ],
)
def test_a_number_that_cannot_be_is_named(change: dict[str, object], words: str) -> None:
    with pytest.raises(TeleopError, match=words):
        checked("pad", replace(GOOD, **change))  # type: ignore[arg-type]
