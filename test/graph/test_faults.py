"""The fault bench itself on a real graph: it times a stop, and it sees an arm that is not stopped."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from reconvla_ros.bench.faults_judge import Instants
from reconvla_ros.cli.fault_runs import chosen, run_all
from reconvla_ros.errors import SetupError

pytestmark = [pytest.mark.graph, pytest.mark.timeout(240)]


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_a_stop_and_a_dead_bus_are_timed_and_a_fault_that_nobody_heeds_is_seen() -> None:
    stop, dead = chosen(["e_stop", "bus_dead"])
    # The same bench with a strike that does nothing must not call that a stop.
    idle = replace(stop, name="idle", strike=lambda rig, run: Instants(time.time(), time.time()))
    rows = {row.fault: row for row in run_all([stop, dead, idle], 1)}
    for name, within in (("e_stop", 0.1), ("bus_dead", 0.1)):
        assert rows[name].broken() == [], name
        (outcome,) = rows[name].outcomes
        assert 0.0 <= outcome.last <= within and outcome.old == 0 and outcome.drops == ()
    assert rows["bus_dead"].outcomes[0].last > 0.01  # silence takes its time to be noticed
    assert any("allowed 100" in words for words in rows["idle"].broken())


def test_an_unknown_fault_is_named_with_the_choices() -> None:
    with pytest.raises(SetupError, match="did you mean 'bus_dead'"):
        chosen(["bus_ded"])
