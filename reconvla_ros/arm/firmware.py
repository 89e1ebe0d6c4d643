"""What follows from the version text of the firmware, e.g. "S-V1.8-5"."""

from __future__ import annotations

import re

_TEXT = re.compile(r"S-V(\d+)\.(\d+)-(\d+)")
_QUARTER_EFFORT = (1, 8, 2)  # up to here joints 1 to 3 report a quarter of their torque
_MIT_FIRST, _MIT_LAST = (1, 7, 3), (1, 8, 8)  # the form of the MIT frames that piper_sdk 0.6.2 speaks: from, before
_NEW_ZEROS = (1, 6, 3)  # from here on joints 2 and 3 have their zeros 2 degrees elsewhere (`dh_is_offset` 1)


def version(text: str) -> tuple[int, int, int] | None:
    """(1, 8, 5) for "S-V1.8-5"; None for a text of another form, and for one that has not arrived whole."""
    found = _TEXT.fullmatch(text.strip())
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def dh_variant(text: str) -> int:
    """`dh_is_offset`: 0 before S-V1.6-3, 1 from it on and, as in the SDK, where the version is unknown."""
    known = version(text)
    return 0 if known is not None and known < _NEW_ZEROS else 1


def effort_scale(text: str) -> tuple[float, ...]:
    """What the reported effort of joints 1..6 is to be multiplied with (6,); ones where the version is unknown."""
    known = version(text)
    return (4.0,) * 3 + (1.0,) * 3 if known is not None and known <= _QUARTER_EFFORT else (1.0,) * 6


def mit_refusal(text: str) -> str:
    """Why the MIT frames of piper_sdk 0.6.2 (8-bit torque, check nibble, mode code 4) do not fit; empty when they do."""
    known = version(text)
    if known is None:
        return f"the firmware {text!r} is not known, so neither is the form of its MIT frames"
    if known < _MIT_FIRST:
        return f"firmware {text} turns joints 1, 2, 4 and 6 the other way; from S-V1.7-3 on"
    if known >= _MIT_LAST:
        return f"firmware {text} has another frame (12-bit torque, no check) and mode code than piper_sdk 0.6.2; before S-V1.8-8"
    return ""
