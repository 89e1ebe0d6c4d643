"""What the numbers of a checkpoint mean: a small YAML beside the weights, written by fine-tuning, checked at load."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reconvla_ros.config import Param, build, param, read_yaml
from reconvla_ros.errors import ConfigError, ContractError, choices
from reconvla_ros.model.config import ModelConfig
from reconvla_ros.model.images import AS_SERVED, AS_TRAINED, CANVAS
from reconvla_ros.model.tokenizer import QwenTokenizer
from reconvla_ros.tables import GRIPPER_RANGES

FILE_NAME = "contract.yaml"
SHIPPED = Path(__file__).resolve().parent / "contracts"
"""Contracts of public checkpoints that have none of their own; one is used only where it is named."""
EMBODIMENT = "piper"
"""The arm of this package. Numbers of another one never move it."""
STITCHES = {"contract": None, "as_trained": AS_TRAINED, "as_served": AS_SERVED}
"""Choices for the stitch heights: those of the contract, or one of the original's two."""
KINDS = ("random", "trained", "unknown")
SLOTS = (
    *("tcp_x", "tcp_y", "tcp_z", "tcp_roll", "tcp_pitch", "tcp_yaw", "gripper"),
    *(f"joint{i}" for i in range(1, 8)),
    *("zero", "gripper_action"),
)
"""What a proprioceptive slot may hold; joint7 of a six-joint arm reads as its mean."""
PIPER_STATE = (*SLOTS[:13], "zero", "gripper_action")
# Centre and spread of the first-motion workspace of a PiPER and of its joint ranges; fine-tuning writes its own.
PIPER_MEAN = (0.30, 0.0, 0.25, 0.0, 1.5, 0.0, 0.035, 0.0, 1.57, -1.48, 0.0, 0.0, 0.0, 0.0, 0.0)
PIPER_STD = (0.10, 0.15, 0.10, 1.0, 0.5, 1.0, 0.025, 0.6, 0.6, 0.6, 0.6, 0.6, 0.8, 1.0, 1.0)
AXES = 7  # xyz, Euler xyz, gripper


@dataclass(frozen=True)
class Contract:
    """The contract; every default is that of a PiPER (design of the action: relative, `base_link`, 10 Hz, 5 x 7)."""

    version: int = param(1, "format of this file", low=1, high=1)
    embodiment: str = param("piper", "arm the numbers are of; another than 'piper' runs in sim or dry-run only")
    checkpoint_kind: str = param("unknown", "what the weights are", options=KINDS)
    chunk_steps: int = param(5, "steps of one answer", low=1, high=50)
    action_form: str = param("relative", "what xyz and Euler are relative to", options=("relative", "absolute"))
    frame: str = param(
        "base_link",
        "frame of positions, rotations and their steps; world: of a dataset's",
        options=("base_link", "world"),
    )
    rotation_form: str = param("extrinsic_xyz", "Euler convention, of actions and state", options=("extrinsic_xyz",))
    xyz_scale: float = param(0.02, "a relative xyz of 1", unit="m", low=1e-4, high=0.2)
    rotation_scale: float = param(0.05, "a relative Euler angle of 1", unit="rad", low=1e-4, high=1.0)
    absolute_low: tuple[float, ...] = param((-1.0,) * 6, "absolute actions: xyz, Euler at -1", unit="m, rad", length=6)
    absolute_high: tuple[float, ...] = param((1.0,) * 6, "absolute actions: xyz, Euler at +1", unit="m, rad", length=6)
    gripper_sign: int = param(1, "+1: a positive gripper action opens, -1: it closes", low=-1, high=1)
    gripper_open: float = param(GRIPPER_RANGES[0], "total opening of 'open'", unit="m", low=0.0, high=GRIPPER_RANGES[1])
    gripper_closed: float = param(0.0, "total opening of 'close'", unit="m", low=0.0, high=GRIPPER_RANGES[1])
    rate: float = param(10.0, "steps per second", unit="Hz", low=0.5, high=100.0)
    state_slots: tuple[str, ...] = param(PIPER_STATE, "what the slots of the proprioceptive state hold, of SLOTS")
    state_mean: tuple[float, ...] = param(PIPER_MEAN, "means of the training data, SI units")
    state_std: tuple[float, ...] = param(PIPER_STD, "standard deviations of the training data, SI units")
    stitch_base: int = param(173, "height of the base view, on top", unit="px", low=1, high=CANVAS - 1)
    stitch_wrist: int = param(161, "height of the wrist view, below", unit="px", low=1, high=CANVAS - 1)
    prompt: str = param("double", "instruction before and after the image, or after only", options=("double", "single"))
    bins: int = param(256, "bins of an action over [-1, 1]", low=2, high=4096)
    vocab_base: int = param(151643, "size of the base vocabulary; action ids lie right below it", low=2)
    splice_id: int = param(35560, "first id of ' ASSISTANT:', in front of which the state goes", low=0)
    vision_heads: int = param(0, "attention heads of the tower, 0 = its own folder says it", low=0, high=64)

    def __post_init__(self) -> None:
        slots = len(self.state_slots)
        for name in self.state_slots:
            if name not in SLOTS:
                raise ContractError(f"contract: state_slots {choices(name, SLOTS)}")
        for name in ("state_mean", "state_std"):
            if len(getattr(self, name)) != slots:
                raise ContractError(
                    f"contract: {name} must have {slots} entries, as state_slots, got {len(getattr(self, name))}"
                )
        if min(self.state_std, default=1.0) <= 0.0:
            raise ContractError(f"contract: state_std must be positive, got {min(self.state_std)}")
        if self.stitch_base + self.stitch_wrist != CANVAS:
            raise ContractError(
                f"contract: stitch_base + stitch_wrist must be {CANVAS} px, got "
                f"{self.stitch_base} + {self.stitch_wrist}"
            )
        if self.embodiment == EMBODIMENT and self.frame != "base_link":
            raise ContractError(f"contract: frame: {self.frame!r} is another arm's; a {EMBODIMENT} has 'base_link'")
        if self.gripper_sign == 0:
            raise ContractError("contract: gripper_sign must be 1 or -1, got 0")
        if self.gripper_open <= self.gripper_closed:
            raise ContractError(
                f"contract: gripper_open {self.gripper_open} m must exceed gripper_closed {self.gripper_closed} m"
            )
        if any(low >= high for low, high in zip(self.absolute_low, self.absolute_high, strict=True)):
            raise ContractError("contract: every absolute_low must be below its absolute_high")

    @property
    def tokens(self) -> int:
        """Action tokens of one answer."""
        return self.chunk_steps * AXES

    @property
    def heights(self) -> tuple[int, int]:
        """Stitch heights of base and wrist view [px]."""
        return self.stitch_base, self.stitch_wrist

    @property
    def digest(self) -> str:
        """First 12 characters of the SHA-256 of the contract's canonical text."""
        return hashlib.sha256(to_yaml(self).encode()).hexdigest()[:12]

    def check_tokenizer(self, tokenizer: QwenTokenizer) -> None:
        """Compare the token ids with the tokenizer of the checkpoint.

        Raises:
            ContractError: names the key, what the contract and what the tokenizer says.
        """
        for key, got in (("vocab_base", tokenizer.base_size), ("splice_id", tokenizer.splice_id)):
            if getattr(self, key) != got:
                raise ContractError(
                    f"contract contradicts the model: {key} is {getattr(self, key)}, the tokenizer says {got}"
                )
        if self.bins >= self.vocab_base:
            raise ContractError(
                f"contract contradicts the model: {self.bins} bins do not fit below id {self.vocab_base}"
            )
        if self.splice_id >= self.vocab_base - self.bins:
            raise ContractError(
                f"contract contradicts the model: splice_id {self.splice_id} lies among the action ids "
                f"{self.vocab_base - self.bins}..{self.vocab_base - 1} of {self.bins} bins"
            )

    def check_model(self, config: ModelConfig) -> None:
        """Compare what the contract says about the network with the network.

        Raises:
            ContractError: names the key, what the contract and what the model says.
        """
        if self.vision_heads not in (0, config.vision.heads):
            raise ContractError(
                f"contract contradicts the model: vision_heads is {self.vision_heads}, the tower has {config.vision.heads}"
            )
        if self.vocab_base > config.language.vocab_rows:
            raise ContractError(
                f"contract contradicts the model: vocab_base is {self.vocab_base}, the tables have "
                f"{config.language.vocab_rows} rows"
            )

    def stitched(self, choice: str) -> Contract:
        """The same contract with the stitch heights of one of `STITCHES`.

        Raises:
            ContractError: no such choice.
        """
        if choice not in STITCHES:
            raise ContractError(f"stitch: {choices(choice, STITCHES)}")
        heights = STITCHES[choice]
        if heights is None:
            return self
        return dataclasses.replace(self, stitch_base=heights[0], stitch_wrist=heights[1])


def to_yaml(contract: Contract) -> str:
    """The contract as commented YAML; reading it back gives the same contract."""
    lines = ["# What the numbers of this checkpoint mean. SI units and radians."]
    for field in dataclasses.fields(contract):
        info: Param = field.metadata["param"]
        value = getattr(contract, field.name)
        plain: Any = list(value) if isinstance(value, tuple) else value
        text = yaml.safe_dump(plain, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
        extra = f" [{info.unit}]" if info.unit else ""
        extra += f", one of: {', '.join(info.options)}" if info.options else ""
        lines += [f"# {info.description}{extra}", f"{field.name}: {text}"]
    return "\n".join(lines) + "\n"


def template() -> str:
    """A contract with the defaults of a PiPER, to start from."""
    return to_yaml(Contract())


def from_mapping(values: Mapping[str, Any], where: str = FILE_NAME) -> Contract:
    """Check `values`, the parsed YAML.

    Raises:
        ContractError: an unknown key, a wrong type, a bound broken, keys that contradict each other.
    """
    try:
        return build(Contract, values, where)
    except ConfigError as error:
        raise ContractError(str(error)) from error


def shipped() -> tuple[str, ...]:
    """Names of the contracts that come with the package."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.yaml")))


def _read(path: Path) -> Contract:
    try:
        values = read_yaml(path)
    except ConfigError as error:
        raise ContractError(f"contract: {error}") from error
    return from_mapping(values, str(path))


def choose_contract(choice: str) -> Contract:
    """A contract by the name of a shipped one, or by the path of a file.

    Raises:
        ContractError: neither is there, or the file is broken.
    """
    if choice in shipped():
        return _read(SHIPPED / f"{choice}.yaml")
    path = Path(choice).expanduser()
    if not path.is_file():
        raise ContractError(f"contract: {choices(choice, shipped())}, or the path of a file; {path} does not exist")
    return _read(path)


def load_contract(folder: Path, choice: str = "") -> Contract:
    """The contract beside the weights in `folder`; for a checkpoint without one, the one that `choice` names.

    Raises:
        ContractError: it is missing (the message holds a template), broken, or `choice` contradicts it.
    """
    path = folder / FILE_NAME
    chosen = choose_contract(choice) if choice else None
    if path.is_file():
        own = _read(path)
        if chosen is not None and chosen != own:
            keys = [f.name for f in dataclasses.fields(own) if getattr(own, f.name) != getattr(chosen, f.name)]
            raise ContractError(
                f"contract: {choice!r} was chosen, but {path} says otherwise about {', '.join(keys)}; the one beside the "
                "weights holds, leave the parameter empty or correct the file"
            )
        return own
    if chosen is not None:
        return chosen
    raise ContractError(
        f"contract: {path} does not exist; without it nobody knows what the model's numbers mean and nothing may "
        f"move. Choose one of those that come along by the parameter 'contract' ({', '.join(shipped())}), or write it "
        f"from this template, for the data the checkpoint was trained on:\n{template()}"
    )
