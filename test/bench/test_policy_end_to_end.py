"""The figure of B14 from made-up times."""

from __future__ import annotations

import pytest

from reconvla_ros.bench.policy_end_to_end import figure
from reconvla_ros.errors import SetupError

MS = 1_000_000


def heard(between_ms: int = 0, chunks: int = 6) -> dict[str, object]:
    """Chunks whose stages take wait 10, decode 30, driver 4 and bus 1 ms, and so much that no stage has."""
    made = {}
    for index in range(chunks):
        captured = 1_700_000_000_000_000_000 + index * 500 * MS
        published = captured + (40 + between_ms) * MS
        made[f"task:{index}"] = [captured, published, published + 4 * MS, published + 5 * MS]
    stages = {key: {"wait": 0.01, "decode": 0.03, "publish": 0.5} for key in made}
    return {"chunks": made, "stages": stages, "sent": [0.002]}


def test_stages_without_a_gap_give_one() -> None:
    result = figure(heard())
    assert result["ratio"] == pytest.approx(1.0, abs=1e-4)
    assert result["stages_ms"] == {"wait": 10.0, "decode": 30.0, "driver": 4.0, "bus": 1.0}
    assert result["kept"] and result["bound"] == "<= 1.15" and result["rounds"] == 6


def test_what_lies_between_the_stages_is_seen() -> None:
    result = figure(heard(between_ms=9))
    assert result["ratio"] == pytest.approx(54 / 45, abs=1e-4)
    assert result["between_ms"] == pytest.approx(9.0, abs=1e-3)
    assert not result["kept"]


def test_a_chunk_is_compared_with_its_own_stages() -> None:
    """Half of the decodings are slow: the sum of the medians was the time of no chunk, and the ratio 1.24 without a gap."""
    times = heard()
    for index, (key, chunk) in enumerate(times["chunks"].items()):  # type: ignore[attr-defined]
        slow = (0, 300)[index % 2]
        times["stages"][key]["decode" if index % 4 < 2 else "wait"] += slow / 1e3  # type: ignore[index]
        times["chunks"][key] = [chunk[0], *(at + slow * MS for at in chunk[1:])]  # type: ignore[index]
    result = figure(times)
    assert result["ratio"] == pytest.approx(1.0, abs=1e-4) and result["between_ms"] == pytest.approx(0.0, abs=1e-3)
    assert result["ratio_of_medians"] > 1.2


@pytest.mark.parametrize("stages", [True, False])
def test_too_few_chunks_are_no_figure(stages: bool) -> None:
    few = heard(chunks=4 if stages else 6)
    if not stages:
        few["stages"] = {}
    with pytest.raises(SetupError, match="at least 5 are needed"):
        figure(few)
