"""What `reconvla convert` and `reconvla import` are asked for, as plain values that go to worker processes."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

from reconvla_ros.dataset.frame import ACTIONS
from reconvla_ros.errors import DatasetError, choices
from reconvla_ros.policy.contract import Contract, to_yaml

FORMATS = ("reconvla", "lerobot")
INTERVENTIONS = ("keep", "drop", "only")
CODECS = ("h264", "av1")
KINDS = ("bag", "lerobot", "bridge")
MORE = ("failure", "unlabeled", "discarded")
"""Outcomes that are left out unless asked for."""


@dataclass(frozen=True)
class Place:
    """A source: its kind (of KINDS), where it lies, and which episodes (empty = all)."""

    kind: str
    root: Path
    names: tuple[str, ...] = ()
    discarded: bool = False


@dataclass(frozen=True)
class Options:
    """What changes the result; the number of workers is not among them.

    Attributes:
        to: of FORMATS. include: of MORE, besides success.
        actions: of ACTIONS. interventions: of INTERVENTIONS: ticks in which a person had the arm.
        contract: YAML of the contract to convert by; empty = the source's, with statistics of this data.
        rate: ticks per second of a LeRobot data set [Hz]; 0 = the contract's.
        quality: of the JPEG, 1..100; 75 is the original's, 0 = PNG, lossless.
        codec: of CODECS, for videos. crf: its quality, lower is better.
    """

    to: str = FORMATS[0]
    include: tuple[str, ...] = ()
    actions: str = ACTIONS[0]
    interventions: str = INTERVENTIONS[0]
    contract: str = ""
    rate: float = 0.0
    quality: int = 95
    codec: str = CODECS[0]
    crf: int = 20

    def __post_init__(self) -> None:
        checks = [("to", self.to, FORMATS), ("actions", self.actions, ACTIONS), ("codec", self.codec, CODECS),
                  ("interventions", self.interventions, INTERVENTIONS)]  # fmt: skip
        checks += [("include", word, MORE) for word in self.include]
        for name, value, valid in checks:
            if value not in valid:
                raise DatasetError(f"{name}: {choices(value, valid)}")
        for name, number, low, high in (("quality", self.quality, 0, 100), ("crf", self.crf, 0, 63),
                                        ("rate", self.rate, 0.0, 100.0)):  # fmt: skip
            if not low <= number <= high:
                raise DatasetError(f"{name}: must be in {low:g}..{high:g}, got {number:g}")
        if self.rate and self.to != "lerobot":
            raise DatasetError("rate: is for LeRobot; ReconVLA samples have the contract's rate (--contract)")

    def key(self, contract: Contract, digest: str) -> str:
        """Names one episode's result: the same key, the same bytes."""
        own = sorted((name, value) for name, value in asdict(self).items() if name not in ("include", "contract"))
        text = repr(own) + to_yaml(contract) + digest
        return hashlib.sha256(text.encode()).hexdigest()[:16]
