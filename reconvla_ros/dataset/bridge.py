"""BridgeData V2 as RLDS/TFDS writes it: TFRecord files, an episode a record (https://rail-berkeley.github.io/bridgedata/).

state (7): TCP xyz [m], Euler xyz [rad], gripper 0 closed .. 1 open. action (7): step of xyz [m], step of Euler xyz [rad],
gripper 0 closed, 1 open. 5 steps a second. image_0 looks over the shoulder, image_3 is the wrist's; slots may be empty.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reconvla_ros.dataset import tfrecord
from reconvla_ros.dataset.discrete import Steps, frames_of, moved
from reconvla_ros.dataset.frame import Frame, Info, Refused, Request, Rgb
from reconvla_ros.errors import DatasetError, choices
from reconvla_ros.policy.contract import Contract

RATE = 5.0  # [Hz]
BASE, WRIST = "steps/observation/image_0", "steps/observation/image_3"
_STATE, _ACTION, _TEXT = "steps/observation/state", "steps/action", "steps/language_instruction"
# A TFDS description says 7 figures each.
_WIDTH = 7
_EMPTY = 2.0  # grey levels: a picture whose deviation is smaller shows nothing
# The largest steps of the sample are 0.033 m and 0.25 rad; PiPER's units (0.02 m, 0.05 rad) would cut a fifth of the turns.
SCALE = (0.04, 0.25)
SLOTS = ("tcp_x", "tcp_y", "tcp_z", "tcp_roll", "tcp_pitch", "tcp_yaw", "gripper", *["zero"] * 7, "gripper_action")


class BridgeSource:
    """The episodes of a TFRecord file, or of all in a folder.

    Args:
        root: file or folder. names: only these; all by default.

    Raises:
        DatasetError: nothing there, no such episode.
    """

    kind = "bridge"

    def __init__(self, root: Path, names: tuple[str, ...] = ()) -> None:
        files = [root] if root.is_file() else sorted(root.glob("*.tfrecord*"))
        if not files:
            raise DatasetError(f"{root}: no *.tfrecord* file there")
        self._places: dict[str, tfrecord.Place] = {}
        self._problems: dict[str, str] = {}
        for file in files:
            stem = file.name.replace(".tfrecord", "").split("-of-")[0]
            places, problem = tfrecord.index(file)
            self._places |= {f"{stem}-{k:05d}": place for k, place in enumerate(places)}
            if problem:
                self._problems[f"{stem}-{len(places):05d}"] = problem
        for name in names:
            if name not in self._places:
                raise DatasetError(f"episode {choices(name, list(self._places)[:10])} is not in {root}")
        if names:
            self._places, self._problems = {name: self._places[name] for name in names}, {}

    def infos(self) -> list[Info]:
        """Every episode; what it is called is only known when it is read."""
        good = [Info(name, "", digest=_digest(place)) for name, place in self._places.items()]
        return sorted([*good, *(Info(n, "", "unlabeled", p) for n, p in self._problems.items())], key=lambda i: i.name)

    def contract(self) -> Contract:
        """A WidowX in the frame of the data; the state has no joints."""
        return dataclasses.replace(
            Contract(), embodiment="widowx_bridge", frame="world", rate=RATE, xyz_scale=SCALE[0], rotation_scale=SCALE[1],
            state_slots=SLOTS, state_mean=(0.0,) * len(SLOTS), state_std=(1.0,) * len(SLOTS),
        )  # fmt: skip

    def instruction(self, name: str) -> str:
        """What the episode shows; empty where the data does not say."""
        texts = self._read(name).get(_TEXT, ())
        return bytes(texts[0]).decode("utf-8", "replace").strip() if texts else ""

    def notes(self, name: str) -> dict[str, int]:
        """Nothing is left out within an episode."""
        return {}

    def frames(self, name: str, request: Request) -> Iterator[Frame | Refused]:
        """The steps of one episode; see Source."""
        contract = self.contract()
        if request.rate != RATE:
            raise DatasetError(f"rate: BridgeData has {RATE:g} steps a second, {request.rate:g} Hz asked for")
        found = self._read(name)
        state, action = (_rows(found, key, name) for key in (_STATE, _ACTION))
        quaternions, targets, turned = moved(state[:, :3], state[:, 3:6], action[:, :6])
        count = len(state)
        steps = Steps(
            [round(k * 1e9 / RATE) for k in range(count)], state[:, :3], quaternions,
            state[:, 6] * contract.gripper_open, targets, turned, action[:, 6] * contract.gripper_open, None,
            [True] * count,
        )  # fmt: skip
        middle = (contract.gripper_open + contract.gripper_closed) / 2.0
        yield from frames_of(steps, _views(found, count, name), request.steps, middle)

    def _read(self, name: str) -> dict[str, Sequence[Any]]:
        if name not in self._places:
            raise DatasetError(f"episode {choices(name, list(self._places)[:10])}")
        return tfrecord.read(self._places[name])


def _rows(found: dict[str, Sequence[Any]], key: str, name: str) -> np.ndarray:
    values = np.asarray(found.get(key, ()), dtype=np.float64)
    if not values.size or values.size % _WIDTH:
        raise DatasetError(f"episode {name}: {key} has {values.size} figures, expected {_WIDTH} a step")
    return values.reshape(-1, _WIDTH)


def _views(found: dict[str, Sequence[Any]], count: int, name: str) -> Iterator[tuple[Rgb, Rgb | None]]:
    if len(found.get(BASE, ())) != count:
        raise DatasetError(f"episode {name}: {BASE} has {len(found.get(BASE, ()))} pictures, {count} steps")
    wrists = found.get(WRIST, ())
    first = _decoded(wrists[0], name) if len(wrists) == count else None
    has_wrist = first is not None and first.std() >= _EMPTY
    for k in range(count):
        base = _decoded(found[BASE][k], name)
        if k == 0 and base.std() < _EMPTY:
            raise DatasetError(f"episode {name}: {BASE} is empty")
        yield base, _decoded(wrists[k], name) if has_wrist else None


def _decoded(data: bytes, name: str) -> Rgb:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return np.asarray(picture.convert("RGB"))
    except OSError as error:
        raise DatasetError(f"episode {name}: a picture cannot be read: {error}") from error


def _digest(place: tfrecord.Place) -> str:
    return hashlib.sha256(f"{place.path.name}:{place.begin}:{place.length}:{place.crc}".encode()).hexdigest()[:16]
