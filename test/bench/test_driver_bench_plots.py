from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.bench import driver_bench_plots as plots
from reconvla_ros.errors import SetupError

CONFIG = DriverConfig(arm="sim", can_interface="virtual", dry_run=False)


def test_a_hand_over_is_a_leap_when_steps_are_streamed_and_none_in_our_motion() -> None:
    naive, ours = plots.hand_over(CONFIG)
    assert len(naive.joints) == len(ours.joints)
    at = round(ours.marks["second chunk"] / ours.period)
    leap, step = (np.abs(np.diff(np.array(t.joints[at - 2 : at + 4]), axis=0)).max() for t in (naive, ours))
    assert leap > 0.05 and step <= CONFIG.joint_speed * ours.period * (1 + 1e-6)
    assert np.abs(ours.derivative(2)[1]).max() <= CONFIG.stop_acceleration * 1.05
    # Both are after the same targets: the way to the second chunk's end is not simply left out.
    assert np.abs(naive.joints[-1] - ours.joints[-1]).max() < 0.3 < np.abs(ours.joints[-1] - ours.joints[0]).max()


def test_a_starvation_decelerates_and_holds() -> None:
    tape = plots.starvation(CONFIG)
    end = round(tape.marks["chunk ends, nothing comes"] / tape.period)
    speed = np.abs(tape.derivative(1)[1]).max(axis=1)
    assert speed[end - 1] > 0.2
    assert np.all(np.diff(speed[end + 10 :]) <= 1e-9)  # never faster again
    assert speed[end + 80 :].max() == 0.0 and not tape.moving[-1]


def test_the_pictures_are_small_enough_to_be_committed(tmp_path: Path) -> None:
    paths = plots.draw(tmp_path / "new", CONFIG)
    assert [p.name for p in paths] == ["hand-over.png", "starvation.png"]
    assert all(20_000 < p.stat().st_size < 200_000 for p in paths)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match=r"--plots .*file"):
        plots.draw(tmp_path / "file", CONFIG)
