"""What every source of demonstrations must keep; a test class per source sets the fixture `source`."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from reconvla_ros.dataset.frame import Frame, Refused, Request, Source
from reconvla_ros.errors import DatasetError


def frames(source: Source, name: str, steps: int = 5) -> list[Frame | Refused]:
    return list(source.frames(name, Request(source.contract().rate, steps)))


class SourceContract:
    """Inherit and give a fixture `source` with at least one readable episode."""

    def test_episodes_are_named_once_and_sorted(self, source: Source) -> None:
        names = [info.name for info in source.infos()]
        assert names
        assert names == sorted(set(names))
        assert all("/" not in name and not name.startswith(".") for name in names)

    def test_digests_tell_episodes_apart_and_stay(self, source: Source) -> None:
        first, second = ({i.name: i.digest for i in source.infos()} for _ in range(2))
        assert first == second
        assert all(first.values())

    def test_frames_are_whole_and_in_order(self, source: Source) -> None:
        found = frames(source, source.infos()[0].name)
        good = [f for f in found if isinstance(f, Frame)]
        assert good
        assert [f.tick for f in found] == list(range(len(found)))
        assert all(a.stamp_ns < b.stamp_ns for a, b in itertools.pairwise(good))
        for f in good:
            assert f.base.dtype == np.uint8
            assert f.base.ndim == 3
            assert f.wrist is None or f.wrist.ndim == 3
            assert f.positions.shape == (5, 3)
            assert f.quaternions.shape == (5, 4)
            assert f.opens.shape == f.openings.shape == (5,)
            assert 1 <= f.valid <= 5
            np.testing.assert_allclose(np.linalg.norm(f.quaternions, axis=1), 1.0, atol=1e-6)
            np.testing.assert_array_equal(f.positions[f.valid - 1 :], f.positions[[f.valid - 1] * (6 - f.valid)])

    def test_the_target_of_a_step_is_the_same_from_every_frame(self, source: Source) -> None:
        good = {f.tick: f for f in frames(source, source.infos()[0].name) if isinstance(f, Frame) and f.valid == 5}
        pairs = [(good[k], good[k + 1]) for k in good if k + 1 in good]
        assert pairs
        for now, then in pairs:
            if then.stamp_ns - now.stamp_ns == round(1e9 / source.contract().rate):
                np.testing.assert_allclose(now.positions[1:], then.positions[:-1], atol=1e-6)

    def test_reading_twice_gives_the_same(self, source: Source) -> None:
        name = source.infos()[0].name
        for a, b in zip(frames(source, name), frames(source, name), strict=True):
            assert type(a) is type(b)
            if isinstance(a, Frame) and isinstance(b, Frame):
                np.testing.assert_array_equal(a.base, b.base)
                np.testing.assert_array_equal(a.positions, b.positions)

    def test_an_instruction_is_known(self, source: Source) -> None:
        info = source.infos()[0]
        assert (info.instruction or source.instruction(info.name)).strip()

    def test_an_unknown_episode_is_refused_by_name(self, source: Source) -> None:
        with pytest.raises(DatasetError, match="nowhere"):
            frames(source, "nowhere")
