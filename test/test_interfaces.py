"""Every field of every interface says its unit, shape or meaning."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(p for folder in ("msg", "srv", "action") for p in (ROOT / folder).glob("*.*"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_every_field_is_commented(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# "), "the file says what it is for"
    fields = [line for line in lines if line.strip() and not line.startswith("#") and line.strip() != "---"]
    for line in fields:
        assert "#" in line or "=" in line, f"{path.name}: {line!r} has no comment"
    assert fields


def test_no_field_is_a_keyword_of_c_plus_plus() -> None:
    """`operator` once stopped the build of the C++ type support."""
    keywords = {
        "operator",
        "class",
        "new",
        "delete",
        "default",
        "register",
        "template",
        "union",
        "private",
        "public",
        "this",
    }
    for path in FILES:
        for line in path.read_text().splitlines():
            words = line.split("#")[0].split()
            if len(words) >= 2:
                assert words[1] not in keywords, f"{path.name}: {words[1]}"
