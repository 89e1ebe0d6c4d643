"""Training samples in the original's format: a JSON list beside its pictures, read and checked before the first step.

One sample: {id, image, image_target, conversations: [{from: human, value}, {from: gpt, value}]}; the human's value is the
prompt's text, its last line the numbers of the state; the other's value holds the actions. Read beyond the original: `episode`
(what is held out together) and `outcome`. A `contract.yaml` beside the JSON says what the numbers mean.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from reconvla_ros.errors import TrainingError
from reconvla_ros.policy.contract import AXES, FILE_NAME, Contract, choose_contract, load_contract

SAMPLES = "samples.json"
"""Where `reconvla convert --to reconvla` writes them."""
BLOCK = 64
"""Samples that are held out together where nobody says which episode they are of."""


@dataclass(frozen=True)
class Sample:
    """One sample.

    Attributes:
        text: the human's text without the state's line, ``<image>`` in it once.
        state: (slots,) raw proprioception.
        actions: (steps * 7,) normalised actions.
        episode: what is held out together.
        target: picture of the gaze region, None where there is none.
    """

    id: str
    text: str
    state: tuple[float, ...]
    actions: tuple[float, ...]
    image: Path
    target: Path | None
    episode: str


@dataclass(frozen=True)
class Dataset:
    """Samples of one JSON file, their contract, weight in a mix and digest.

    Attributes:
        skipped: reason -> number of samples left out.
        digest: SHA-256 over the JSON and every picture of the samples.
    """

    name: str
    samples: tuple[Sample, ...]
    contract: Contract
    weight: float
    skipped: dict[str, int]
    digest: str


def _numbers(words: str, count: int, what: str, where: str) -> tuple[float, ...]:
    try:
        values = tuple(float(word) for word in words.split(" "))
    except ValueError as error:
        raise TrainingError(f"{where}: {what} must be {count} numbers with single spaces, got {words!r:.60}") from error
    if len(values) != count or not np.all(np.isfinite(values)):
        raise TrainingError(f"{where}: {what} must be {count} finite numbers, got {len(values)}: {words!r:.60}")
    return values


def _text(turns: Any, index: int, speaker: str, where: str) -> str:
    if not isinstance(turns, list) or len(turns) != 2 or not isinstance(turns[index], dict):
        raise TrainingError(f"{where}: conversations must be two turns, human and gpt")
    if turns[index].get("from") != speaker or not isinstance(turns[index].get("value"), str):
        raise TrainingError(f"{where}: turn {index} must be from {speaker!r} with a text as value")
    return str(turns[index]["value"])


def _picture(folder: Path, name: Any, where: str) -> Path:
    if not isinstance(name, str) or not name:
        raise TrainingError(
            f"{where}: image must be the path of a picture, got {name!r:.40}; the model sees nothing without"
        )
    path = folder / name
    if not path.is_file():
        raise TrainingError(f"{where}: picture {path} does not exist")
    return path


def _episode(entry: dict[str, Any], index: int) -> str:
    """`episode`, else the id up to its running number where that says anything, else a block of neighbours."""
    if "episode" in entry:
        return str(entry["episode"])
    found = re.fullmatch(r"(.*\D)?(\d+)[_-](\d+)", str(entry.get("id", "")))
    return f"{found[1] or ''}{found[2]}" if found else f"samples {index // BLOCK * BLOCK}.."


def _sample(entry: dict[str, Any], index: int, folder: Path, contract: Contract, where: str) -> Sample:
    human = _text(entry.get("conversations"), 0, "human", where)
    gpt = _text(entry.get("conversations"), 1, "gpt", where)
    text, _, last = human.rpartition("\n")
    if text.count("<image>") != 1:
        raise TrainingError(f"{where}: the text must hold <image> exactly once, found {text.count('<image>')}")
    state = _numbers(last, len(contract.state_slots), "the last line (state)", where)
    before, _, after = text.partition("<image>")
    if before != (f"{after.strip()}\n" if contract.prompt == "double" else "") or not after.startswith("\n"):
        raise TrainingError(
            f"{where}: the contract's prompt is {contract.prompt!r}, but the text is {text!r:.80}; inference would ask otherwise"
        )
    target = entry.get("image_target")
    return Sample(
        str(entry.get("id", index)),
        text,
        state,
        _numbers(gpt, contract.chunk_steps * AXES, "the answer (actions)", where),
        _picture(folder, entry.get("image"), where),
        _picture(folder, target, where) if target else None,
        _episode(entry, index),
    )


def _json_of(path: Path) -> Path:
    if path.is_dir():
        if (path / SAMPLES).is_file():
            return path / SAMPLES
        found = sorted(path.glob("*.json"))
        if len(found) != 1:
            names = ", ".join(p.name for p in found) or "none"
            raise TrainingError(f"data: {path} must hold one JSON list of samples, found {names}; name the file itself")
        return found[0]
    if not path.is_file():
        raise TrainingError(f"data: {path} does not exist; make it with 'reconvla convert --to reconvla'")
    return path


def digest_of(file: Path, pictures: Iterator[Path]) -> str:
    """SHA-256 over a JSON file and the pictures its samples name, by content."""
    digest = hashlib.sha256(file.read_bytes())
    for path in pictures:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def read_dataset(
    path: Path,
    weight: float = 1.0,
    contract: str = "",
    outcomes: tuple[str, ...] = ("success",),
    require_gaze: bool = False,
) -> Dataset:
    """Read and check one dataset.

    Args:
        path: the JSON file, or a folder that holds one.
        weight: its share of a mix, before the shares are made to sum to 1.
        contract: of data that has none beside it.
        outcomes: what an episode may have ended as; samples that do not say it are taken.
        require_gaze: refuse a sample without a gaze region.

    Raises:
        TrainingError: names file, sample and what is wrong with it; or nothing is left to learn from.
        ContractError: no contract, or a broken one.
    """
    file = _json_of(path)
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"data: {file} cannot be read as JSON: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise TrainingError(f"data: {file} must hold a list of samples, got {type(entries).__name__}")
    meaning = load_contract(file.parent) if (file.parent / FILE_NAME).is_file() else choose_contract(contract or "?")
    samples, skipped = [], {"outcome": 0, "no gaze": 0}
    for index, entry in enumerate(entries):
        if entry.get("outcome", outcomes[0] if outcomes else "") not in outcomes:
            skipped["outcome"] += 1
            continue
        sample = _sample(entry, index, file.parent, meaning, f"{file.name}[{index}]")
        if sample.target is None:
            if require_gaze:
                raise TrainingError(f"{file.name}[{index}]: no image_target, and require_gaze is true")
            skipped["no gaze"] += 1  # counted, not left out: it trains the actions
        samples.append(sample)
    if not samples:
        raise TrainingError(
            f"data: {file} leaves nothing to learn from: {len(entries)} samples, {skipped['outcome']} of other outcomes than "
            f"{', '.join(outcomes)}"
        )
    pictures = (p for s in samples for p in (s.image, s.target) if p is not None)
    return Dataset(file.parent.name, tuple(samples), meaning, weight, skipped, digest_of(file, pictures))


STATISTICS = ("state_mean", "state_std", "checkpoint_kind")


def common_contract(datasets: list[Dataset], statistics: str) -> Contract:
    """The one contract of a mix: equal but for the statistics, which are counted over all samples when they differ.

    Raises:
        TrainingError: names the keys in which two datasets differ (rate, embodiment, scales, ...).
    """
    first = datasets[0].contract
    for other in datasets[1:]:
        keys = [
            f"{name} {getattr(first, name)!r} and {getattr(other.contract, name)!r}"
            for name in first.__dataclass_fields__
            if name not in STATISTICS and getattr(first, name) != getattr(other.contract, name)
        ]
        if keys:
            raise TrainingError(
                f"data: {datasets[0].name} and {other.name} cannot be mixed, their contracts differ in {'; '.join(keys)}"
            )
    same = all((d.contract.state_mean, d.contract.state_std) == (first.state_mean, first.state_std) for d in datasets)
    if statistics == "contract" and same:
        return replace(first, checkpoint_kind="trained")
    states = np.array([s.state for d in datasets for s in d.samples])
    # A slot that never changes would be divided by nothing; 1 leaves it where it is.
    std = np.where(states.std(axis=0) > 1e-6, states.std(axis=0), 1.0)
    return replace(
        first, checkpoint_kind="trained", state_mean=tuple(states.mean(axis=0).tolist()), state_std=tuple(std.tolist())
    )


def hold_out(dataset: Dataset, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices of (training, validation) samples; whole episodes go one way or the other.

    At least one episode stays on each side where there are two.
    """
    episodes = sorted({s.episode for s in dataset.samples})
    order = np.random.default_rng([seed, 1]).permutation(len(episodes))
    count = min(max(round(share * len(episodes)), 1 if share > 0 else 0), len(episodes) - 1)
    out = {episodes[i] for i in order[:count]}
    sides: tuple[list[int], list[int]] = ([], [])
    for index, sample in enumerate(dataset.samples):
        sides[sample.episode in out].append(index)
    return sides
