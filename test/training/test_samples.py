"""What is read, what is refused, what is held out, and what a mix gives."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_samples import make_samples

from reconvla_ros.errors import ContractError, TrainingError
from reconvla_ros.policy.contract import FILE_NAME, Contract, to_yaml
from reconvla_ros.training.mix import Batches, Mix
from reconvla_ros.training.samples import common_contract, hold_out, read_dataset


def edit(folder: Path, index: int, **changes: Any) -> None:
    file = folder / "samples.json"
    entries = json.loads(file.read_text())
    entries[index] |= changes
    file.write_text(json.dumps(entries))


def turns(human: str, gpt: str) -> list[dict[str, str]]:
    return [{"from": "human", "value": human}, {"from": "gpt", "value": gpt}]


STATE, ACTIONS = " ".join(["0.1"] * 15), " ".join(["0.1"] * 35)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"conversations": turns("a\n<image>\na\n0.1 0.2", ACTIONS)}, "must be 15 finite numbers, got 2"),
        ({"conversations": turns(f"a\n<image>\na\n{STATE}", ACTIONS + " nan")}, "must be 35 finite numbers"),
        ({"conversations": turns(f"a\n<image>\na\n{STATE.replace('0.1', 'nan', 1)}", ACTIONS)}, "finite"),
        ({"conversations": turns("put it there\n<image>\nput it there", ACTIONS)}, "must be 15 numbers"),
        ({"conversations": turns(f"a\na\n{STATE}", ACTIONS)}, "<image> exactly once, found 0"),
        ({"conversations": turns(f"<image>\na\n{STATE}", ACTIONS)}, "the contract's prompt is 'double'"),
        ({"conversations": [{"from": "human", "value": "a"}]}, "two turns"),
        ({"image": "images/none.jpg"}, "none.jpg does not exist"),
        ({"image": None}, "the model sees nothing without"),
    ],
)
def test_a_sample_that_cannot_be_learned_from_is_named(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    """The original trains on: it cuts 15 tokens of the instruction where the state is missing, and goes blind."""
    folder = make_samples(tmp_path / "set", 4)
    edit(folder, 2, **changes)
    with pytest.raises(TrainingError, match=says) as caught:
        read_dataset(folder)
    assert "samples.json[2]" in str(caught.value)


def test_failed_and_unlabeled_episodes_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    folder = make_samples(tmp_path / "set", 6)
    for index, outcome in enumerate(("success", "failure", "unlabeled")):
        edit(folder, index, outcome=outcome)
    assert len(read_dataset(folder).samples) == 4
    assert read_dataset(folder).skipped["outcome"] == 2
    assert len(read_dataset(folder, outcomes=("success", "failure", "unlabeled")).samples) == 6
    for index in range(6):
        edit(folder, index, outcome="failure")
    with pytest.raises(TrainingError, match="nothing to learn from"):
        read_dataset(folder)


def test_data_without_a_contract_needs_one_by_name(tmp_path: Path) -> None:
    folder = make_samples(tmp_path / "set", 2)
    (folder / FILE_NAME).unlink()
    with pytest.raises(ContractError):
        read_dataset(folder)
    assert read_dataset(folder, contract="calvin").contract.embodiment != "piper"


def test_mixed_contracts_are_refused_by_key(tmp_path: Path) -> None:
    one, other = (make_samples(tmp_path / name, 4, seed=k) for k, name in enumerate(("one", "other")))
    sets = [read_dataset(one), read_dataset(other)]
    assert common_contract(sets, "contract").checkpoint_kind == "trained"
    (other / FILE_NAME).write_text(to_yaml(replace(Contract(), rate=30.0, xyz_scale=0.01)))
    with pytest.raises(TrainingError, match=r"xyz_scale 0.02 and 0.01; rate 10.0 and 30.0"):
        common_contract([sets[0], read_dataset(other)], "contract")


def test_statistics_are_counted_over_a_mix_whose_sets_differ(tmp_path: Path) -> None:
    one, other = (make_samples(tmp_path / name, 6, seed=k) for k, name in enumerate(("one", "other")))
    (other / FILE_NAME).write_text(to_yaml(replace(Contract(), state_mean=(0.5,) * 15)))
    sets = [read_dataset(one), read_dataset(other)]
    states = np.array([s.state for d in sets for s in d.samples])
    merged = common_contract(sets, "contract")
    np.testing.assert_allclose(merged.state_mean, states.mean(0))
    np.testing.assert_allclose(common_contract(sets[:1], "data").state_std, states[:6].std(0))


def test_the_digest_follows_the_content(tmp_path: Path) -> None:
    one, same = make_samples(tmp_path / "one", 3), make_samples(tmp_path / "same", 3)
    digest = read_dataset(one).digest
    assert digest == read_dataset(same).digest
    picture = one / "images" / "0001_target.jpg"
    picture.write_bytes(picture.read_bytes() + b"\0")
    assert read_dataset(one).digest != digest


def test_whole_episodes_are_held_out(tmp_path: Path) -> None:
    dataset = read_dataset(make_samples(tmp_path / "set", 20, episodes=5))
    training, held = hold_out(dataset, 0.2, 0)
    names = [{dataset.samples[i].episode for i in side} for side in (training, held)]
    assert not names[0] & names[1] and len(names[1]) == 1 and len(training) + len(held) == 20
    assert hold_out(dataset, 0.0, 0)[1] == []
    assert len({tuple(hold_out(dataset, 0.2, seed)[1]) for seed in range(8)}) > 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.floats(0.05, 1.0)), min_size=1, max_size=5), st.integers(0, 1000))
def test_a_mix_keeps_its_shares_at_every_moment(parts: list[tuple[int, float]], seed: int) -> None:
    sizes, weights = [n for n, _ in parts], [w for _, w in parts]
    mix = Mix(sizes, weights, seed)
    drawn: Counter[int] = Counter()
    for total, (which, index) in enumerate(islice(mix, 300), start=1):
        assert 0 <= index < sizes[which]
        drawn[which] += 1
        assert all(abs(drawn[k] - share * total) < 2 for k, share in enumerate(mix.shares))


def test_every_sample_comes_once_before_any_comes_again() -> None:
    """The original takes the first N items of a file for its share, and the rest never."""
    mix = Mix([10, 3], [0.5, 0.5], 0)
    seen = list(islice(mix, 26 * 2))
    first = [i for which, i in seen if which == 0][:10]
    assert sorted(first) == list(range(10)) and first != list(range(10))
    small = [i for which, i in seen if which == 1]
    assert sorted(small[:3]) == sorted(small[3:6]) == [0, 1, 2]
    by_size = Counter(which for which, _ in islice(Mix([30, 10], None, 0), 400))
    assert by_size == {0: 300, 1: 100}


def test_batches_go_on_where_they_stopped_and_share_out_between_processes() -> None:
    mix = Mix([7, 5], [0.3, 0.7], 3)
    whole = list(Batches(mix, 2, 3, 0, 4))
    assert list(Batches(mix, 2, 3, 2, 4)) == whole[6:]
    assert len(whole) == len(Batches(mix, 2, 3, 0, 4)) == 12
    two = [list(Batches(mix, 2, 3, 0, 2, rank, 2)) for rank in range(2)]
    step = [p for b in Batches(mix, 4, 3, 0, 1) for p in b]
    assert sorted(p for side in two for b in side[:3] for p in b) == sorted(step)
