"""ReconVLA training samples: the original's JSON and stitched images, and what docs/reference/samples.md adds.

The JSON's text follows the original's converter (numbers as `str(float)`, one space between), checked against its items
in the golden vectors.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from reconvla_ros.dataset.disk import write_text, writing
from reconvla_ros.dataset.frame import Frame, Rgb
from reconvla_ros.dataset.gaze import Gaze
from reconvla_ros.dataset.options import Options
from reconvla_ros.errors import DatasetError
from reconvla_ros.model.images import stitch
from reconvla_ros.model.prompt import IMAGE
from reconvla_ros.model.tokens import ActionCodec
from reconvla_ros.policy.actions import from_targets, state_vector
from reconvla_ros.policy.contract import Contract, to_yaml
from reconvla_ros.types import ArmState, Float

SAMPLES, STATISTICS, CONTRACT = "samples.json", "statistics.yaml", "contract.yaml"
IMAGES, TARGETS = "images", "targets"
STILL = 1e-3
"""A slot of the state whose deviation is smaller hardly moves; it gets 1.0, so that noise is not blown up."""
DIGITS = 8  # of the numbers in the JSON, as many as the original's data has
_BLACK = np.zeros((8, 8, 3), np.uint8)
_SUBSAMPLED = 90  # JPEG quality from which on colour keeps its full resolution
Sample = dict[str, Any]


def conversation(instruction: str, state: Sequence[float], actions: Sequence[float]) -> list[dict[str, str]]:
    """The two turns of one sample; `state` (slots,) not normalised, `actions` flat."""
    human = f"{instruction}\n{IMAGE}\n{instruction}\n" + " ".join(str(float(v)) for v in state)
    return [{"from": "human", "value": human}, {"from": "gpt", "value": " ".join(str(float(v)) for v in actions)}]


def figures(frame: Frame, contract: Contract) -> tuple[Float, Float]:
    """State (slots,) in SI units and actions (T, 7) in the contract's units, not clipped.

    Raises:
        DatasetError: the contract wants joints that the data has not got.
    """
    wants = [slot for slot in contract.state_slots if slot.startswith("joint")]
    if frame.joints is None and wants:
        raise DatasetError(f"contract: state_slots {', '.join(wants)}: this data has no joints")
    joints = np.zeros(6) if frame.joints is None else frame.joints
    arm = ArmState(frame.stamp_ns, joints, np.zeros(6), np.zeros(6), frame.gripper)
    grip = float(contract.gripper_sign if frame.open_before else -contract.gripper_sign)
    state = state_vector(arm, frame.tcp, grip, contract)
    actions = from_targets(frame.positions, frame.quaternions, frame.opens, frame.tcp, contract)
    return _rounded(state), _rounded(actions)


def _rounded(values: Float) -> Float:
    return np.round(values, DIGITS) + 0.0  # + 0.0: no minus before a zero


def save(path: Path, pixels: Rgb, quality: int) -> None:
    """Write a picture: JPEG of `quality`, or PNG when that is 0.

    Raises:
        DiskError: the disk refuses.
    """
    with writing(path):
        if quality == 0:
            Image.fromarray(pixels).save(path, "PNG", compress_level=1)
        else:
            extra = {"subsampling": 0} if quality >= _SUBSAMPLED else {}
            Image.fromarray(pixels).save(path, "JPEG", quality=quality, **extra)


class SampleWriter:
    """Writes the samples of one episode below `out`; pictures at once, the rest is returned by `close`.

    Args:
        out: folder of the data set. name: of the episode. gaze: its regions, if there are any.
    """

    def __init__(
        self, out: Path, name: str, instruction: str, contract: Contract, options: Options, gaze: Gaze | None
    ) -> None:
        self._out, self._name, self._instruction = out, name, instruction
        self._contract, self._options, self._gaze = contract, options, gaze
        self._suffix = "png" if options.quality == 0 else "jpg"
        self._samples: list[Sample] = []
        (out / IMAGES / name).mkdir(parents=True)

    def add(self, frame: Frame) -> None:
        """One frame.

        Raises:
            DatasetError: it does not fit the contract. DiskError: it cannot be written.
        """
        state, actions = figures(frame, self._contract)
        ident = f"{self._name}/{frame.tick:06d}"
        wrist = _BLACK if frame.wrist is None else frame.wrist
        image = f"{IMAGES}/{ident}.{self._suffix}"
        save(self._out / image, stitch(frame.base, wrist, self._contract.heights), self._options.quality)
        sample: Sample = {"id": ident, "image": image}
        box = self._gaze.at(frame.stamp_ns) if self._gaze is not None else None
        if self._gaze is not None and box is not None:
            target = f"{TARGETS}/{ident}.{self._suffix}"
            (self._out / TARGETS / self._name).mkdir(parents=True, exist_ok=True)
            crop = self._gaze.crop(frame.base, box)
            save(self._out / target, stitch(crop, wrist, self._contract.heights), self._options.quality)
            sample["image_target"] = target
        sample |= {
            "embody": True,
            "conversations": conversation(self._instruction, state.tolist(), actions.ravel().tolist()),
            "episode": self._name, "frame": frame.tick, "stamp_ns": frame.stamp_ns, "instruction": self._instruction,
            "state": state.tolist(), "actions": actions.tolist(), "valid_steps": frame.valid, "human": frame.human,
            "gaze": None if box is None else list(box), "views": "base" if frame.wrist is None else "both",
        }  # fmt: skip
        self._samples.append(sample)

    def close(self) -> list[Sample]:
        """The samples, without their token ids: those need the statistics of all episodes."""
        return self._samples


def with_statistics(contract: Contract, states: Float) -> Contract:
    """The contract with mean and deviation of `states` (N, slots)."""
    mean, std = states.mean(axis=0), states.std(axis=0)
    std = np.where(std < STILL, 1.0, std)
    return dataclasses.replace(
        contract,
        state_mean=tuple(_rounded(mean).tolist()),
        state_std=tuple(_rounded(std).tolist()),
    )


def finish(out: Path, episodes: Sequence[Sequence[Sample]], contract: Contract, own_statistics: bool) -> dict[str, Any]:
    """Put the episodes' samples together: samples.json, contract.yaml, statistics.yaml.

    Returns:
        figures for the report: samples, share of action values that are clipped, by axis; share that stands still.

    Raises:
        DiskError: the disk refuses.
    """
    samples = [sample for episode in episodes for sample in episode]
    if own_statistics:
        contract = with_statistics(contract, np.array([sample["state"] for sample in samples]))
    codec = ActionCodec(contract.vocab_base, contract.bins)
    for sample in samples:
        ids = codec.encode_state(sample["state"], contract.state_mean, contract.state_std)
        sample["state_ids"] = ids.tolist()
        sample["action_ids"] = codec.encode(np.ravel(sample["actions"])).tolist()
    statistics = {"robot_obs": [{"mean": list(contract.state_mean), "std": list(contract.state_std)}]}
    lines = ",\n".join(json.dumps(sample, ensure_ascii=False) for sample in samples)
    write_text(out / SAMPLES, f"[\n{lines}\n]\n")
    write_text(out / CONTRACT, to_yaml(contract))
    write_text(out / STATISTICS, yaml.safe_dump(statistics, default_flow_style=None))
    actions = np.array([sample["actions"] for sample in samples])
    return {"samples": len(samples), **_shares(actions), "contract": contract.digest}


def _shares(actions: Float) -> Mapping[str, Any]:
    axes = ("x", "y", "z", "roll", "pitch", "yaw")
    clipped = (np.abs(actions[..., :6]) > 1.0).mean(axis=(0, 1))
    still = (np.abs(actions[..., :6]) < 1.0 / 255.0).all(axis=(1, 2)).mean()  # within the bin around zero
    return {"clipped": dict(zip(axes, np.round(clipped, 4).tolist(), strict=True)), "still": round(float(still), 4)}
