"""LeRobotDataset v3.0 as a source: ours, and others whose state and action are TCP poses.

Ours say where the TCP was sent (`target.ee_pose`) and where it was (`observation.ee_pose`). Of others, `observation.state` and
`action` must be named x y z roll pitch yaw gripper (as the ports of Bridge and others are): pose and step. A data set of
joints alone says nothing about the TCP without that arm's kinematics, and is refused.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reconvla_ros.dataset.bridge import SLOTS
from reconvla_ros.dataset.discrete import Steps, frames_of, moved
from reconvla_ros.dataset.frame import Frame, Info, Refused, Request, Rgb
from reconvla_ros.dataset.lerobot_format import CODEBASE
from reconvla_ros.dataset.video import pictures
from reconvla_ros.errors import DatasetError, choices
from reconvla_ros.policy.contract import Contract

OURS = ("observation.ee_pose", "target.ee_pose", "observation.state")
_POSE = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
_WRIST = ("wrist", "hand", "gripper")  # words in the key of a wrist camera


class LeRobotSource:
    """A data set folder.

    Args:
        root: the folder with meta/. names: only these episodes (`episode_000000`); all by default.

    Raises:
        DatasetError: not version 3, no pictures as video, columns that say nothing about the TCP, no such episode.
    """

    kind = "lerobot"

    def __init__(self, root: Path, names: tuple[str, ...] = ()) -> None:
        self._root = root
        try:
            self._info = json.loads((root / "meta" / "info.json").read_text(encoding="utf-8"))
            rows = [row for file in sorted((root / "meta" / "episodes").rglob("*.parquet"))
                    for row in _without_statistics(file)]  # fmt: skip
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DatasetError(f"{root} is no LeRobot data set: {error}") from error
        version = str(self._info.get("codebase_version", "none"))
        if not version.startswith("v3"):
            raise DatasetError(f"{root}: version {version}; {CODEBASE} is read (lerobot converts older ones)")
        self._features: dict[str, Any] = self._info["features"]
        self._ours = all(key in self._features for key in OURS)
        self._columns = {} if self._ours else self._find_columns()
        self._cameras = self._find_cameras()
        self._rows = {_name(int(row["episode_index"])): row for row in rows}
        for name in names:
            if name not in self._rows:
                raise DatasetError(f"episode {choices(name, list(self._rows)[:10])} is not in {root}")
        if names:
            self._rows = {name: self._rows[name] for name in names}

    def _find_columns(self) -> dict[str, list[int]]:
        """Where x y z roll pitch yaw gripper stand in state and action."""
        found = {}
        for key in ("observation.state", "action"):
            names = self._features.get(key, {}).get("names") or []
            names = next(iter(names.values())) if isinstance(names, dict) else names
            plain = [re.sub(r"^(eef|ee|tcp|state|action)[._]|\.pos$", "", str(name).lower()) for name in names]
            absent = [word for word in _POSE if word not in plain]
            if absent:
                raise DatasetError(
                    f"{self._root}: {key} names {', '.join(map(str, names)) or 'nothing'}; without {', '.join(absent)} it "
                    f"does not say where the TCP is (needed: {' '.join(_POSE)}, or our columns {', '.join(OURS)})"
                )
            found[key] = [plain.index(word) for word in _POSE]
        return found

    def _find_cameras(self) -> dict[str, str | None]:
        keys = [key for key, feature in self._features.items() if feature.get("dtype") == "video"]
        if not keys:
            raise DatasetError(f"{self._root}: no camera is kept as video")
        wrist = [key for key in keys if any(word in key.rsplit(".", 1)[-1].lower() for word in _WRIST)]
        base = [key for key in keys if key not in wrist] or keys
        return {"base": base[0], "wrist": wrist[0] if wrist and wrist[0] != base[0] else None}

    def infos(self) -> list[Info]:
        """Every episode."""
        return [
            Info(name, "; ".join(row["tasks"]), str(row.get("outcome") or "success"),
                 digest=f"{self._info['total_frames']}:{row['dataset_from_index']}:{row['dataset_to_index']}",
                 seconds=row["length"] / float(self._info["fps"]))
            for name, row in sorted(self._rows.items())
        ]  # fmt: skip

    def contract(self) -> Contract:
        """A PiPER's for our own data; else another arm's in its own frame."""
        rate = float(self._info["fps"])
        if self._ours:
            return dataclasses.replace(Contract(), rate=rate)
        return dataclasses.replace(
            Contract(), embodiment=str(self._info.get("robot_type") or "unknown"), frame="world", rate=rate,
            state_slots=SLOTS, state_mean=(0.0,) * len(SLOTS), state_std=(1.0,) * len(SLOTS),
        )  # fmt: skip

    def instruction(self, name: str) -> str:
        """What the episode shows."""
        return "; ".join(self._rows[name]["tasks"])

    def notes(self, name: str) -> dict[str, int]:
        """Nothing is left out within an episode."""
        return {}

    def frames(self, name: str, request: Request) -> Iterator[Frame | Refused]:
        """The frames of one episode; see Source."""
        if name not in self._rows:
            raise DatasetError(f"episode {choices(name, list(self._rows)[:10])}")
        fps = float(self._info["fps"])
        if request.rate != fps:
            raise DatasetError(f"rate: the data set has {fps:g} frames a second, {request.rate:g} Hz asked for")
        contract, row = self.contract(), self._rows[name]
        steps = self._steps(row, contract)
        middle = (contract.gripper_open + contract.gripper_closed) / 2.0
        yield from frames_of(steps, self._views(row), request.steps, middle)

    def _steps(self, row: dict[str, Any], contract: Contract) -> Steps:
        wanted = [*(OURS if self._ours else self._columns), "index", "timestamp"]
        wanted += [key for key in ("human", "stamp_ns") if key in self._features]
        path = self._root / self._path("data_path", row, "data")
        first, last = int(row["dataset_from_index"]), int(row["dataset_to_index"])
        try:
            rows = pq.read_table(path, columns=wanted, filters=[("index", ">=", first), ("index", "<", last)])
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"{path} cannot be read: {error}") from error
        if rows.num_rows != last - first:
            raise DatasetError(f"{path}: {rows.num_rows} rows of {last - first}")
        held = {key: np.array(rows[key].to_pylist()) for key in wanted}
        stamps = held.get("stamp_ns", np.round(held["timestamp"] * 1e9)).astype(np.int64).tolist()
        if len(set(stamps)) < len(stamps):  # a frame that stood in for a tick shows the same pictures
            stamps = np.round(held["timestamp"] * 1e9).astype(np.int64).tolist()
        human = held.get("human", np.zeros(len(stamps), bool)).astype(bool).tolist()
        if self._ours:
            pose, target, state = (held[key].astype(np.float64) for key in OURS)
            return Steps(stamps, pose[:, :3], _unit(pose[:, 3:7]), state[:, 6], target[:, :3], _unit(target[:, 3:7]),
                         target[:, 7], state[:, :6], human)  # fmt: skip
        state, action = (held[key].astype(np.float64)[:, order] for key, order in self._columns.items())
        quaternions, targets, turned = moved(state[:, :3], state[:, 3:6], action[:, :6])
        opened = contract.gripper_open
        return Steps(stamps, state[:, :3], quaternions, state[:, 6] * opened, targets, turned, action[:, 6] * opened,
                     None, human)  # fmt: skip

    def _path(self, key: str, row: dict[str, Any], prefix: str, **more: str) -> str:
        place = {part: int(row[f"{prefix}/{part}"]) for part in ("chunk_index", "file_index")}
        return str(self._info[key]).format(**place, **more)

    def _views(self, row: dict[str, Any]) -> Iterator[tuple[Rgb, Rgb | None]]:
        def view(key: str) -> Iterator[Rgb]:
            path = self._root / self._path("video_path", row, f"videos/{key}", video_key=key)
            return pictures(path, float(row[f"videos/{key}/from_timestamp"]), int(row["length"]))

        wrist = self._cameras["wrist"]
        base = view(str(self._cameras["base"]))
        if wrist is None:
            yield from ((pixels, None) for pixels in base)
        else:
            yield from zip(base, view(wrist), strict=True)


def _without_statistics(file: Path) -> list[dict[str, Any]]:
    names = [name for name in pq.read_schema(file).names if not name.startswith("stats/")]
    rows: list[dict[str, Any]] = pq.read_table(file, columns=names).to_pylist()
    return rows


def _name(number: int) -> str:
    return f"episode_{number:06d}"


def _unit(quaternions: np.ndarray) -> np.ndarray:
    """They were written as float32."""
    return quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)
