"""LeRobotDataset v3.0 as data: features, paths, statistics, tables.

Facts: huggingface/lerobot docs/source/lerobot-dataset-v3.mdx and porting_datasets_v3.mdx, and what lerobot 0.4.4 writes and
reads (docs/how-to/datasets.md says what was tried). Nothing of its code is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from reconvla_ros.types import GRIPPER_NAME, JOINT_NAMES

CODEBASE = "v3.0"
CHUNK = 1000  # files a folder
DATA_MB, VIDEO_MB = 100, 200
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
CAMERAS = {"base": "observation.images.base", "wrist": "observation.images.wrist"}
ROBOT = "piper"
QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
_JOINTS = (*JOINT_NAMES, GRIPPER_NAME)
_EE = ("x", "y", "z", "qx", "qy", "qz", "qw")


@dataclass(frozen=True)
class Column:
    """A column of figures: type as LeRobot names it, and the names of its entries (None for a single one)."""

    dtype: str
    names: tuple[str, ...] | None = None

    @property
    def arrow(self) -> pa.DataType:
        """Its type in parquet."""
        one = {"float32": pa.float32(), "int64": pa.int64(), "bool": pa.bool_()}[self.dtype]
        return one if self.names is None else pa.list_(one, len(self.names))

    @property
    def feature(self) -> dict[str, Any]:
        """Its entry in info.json."""
        size = 1 if self.names is None else len(self.names)
        return {"dtype": self.dtype, "shape": [size], "names": None if self.names is None else list(self.names)}


# What a frame says. `action` is in the space of `observation.state`: what went to the bus, not what was asked for
# (lerobot#4679); the other forms stand beside it, under names that no policy takes for its action.
COLUMNS: dict[str, Column] = {
    "observation.state": Column("float32", _JOINTS),
    "observation.ee_pose": Column("float32", _EE),
    "action": Column("float32", _JOINTS),
    "target.ee_pose": Column("float32", (*_EE, GRIPPER_NAME)),
    "requested.ee_pose": Column("float32", (*_EE, GRIPPER_NAME)),
    "filtered.ee_pose": Column("float32", (*_EE, GRIPPER_NAME)),
    "applied.joints": Column("float32", _JOINTS),
    "human": Column("bool"),
    "stamp_ns": Column("int64"),
    "timestamp": Column("float32"),
    "frame_index": Column("int64"),
    "episode_index": Column("int64"),
    "index": Column("int64"),
    "task_index": Column("int64"),
}
SCHEMA = pa.schema([(name, column.arrow) for name, column in COLUMNS.items()])


def table(columns: Mapping[str, Any]) -> pa.Table:
    """Columns of figures, (n,) or (n, k), as a table of SCHEMA; one row a frame."""
    arrays = []
    for name, column in COLUMNS.items():
        values = np.asarray(columns[name], dtype=np.dtype(column.dtype))
        if column.names is None:
            arrays.append(pa.array(values))
        else:
            arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), len(column.names)))
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def video_feature(height: int, width: int, fps: int, codec: str) -> dict[str, Any]:
    """The entry of a camera in info.json."""
    return {
        "dtype": "video",
        "shape": [height, width, 3],
        "names": ["height", "width", "channels"],
        "info": {
            "video.height": height, "video.width": width, "video.codec": codec, "video.pix_fmt": "yuv420p",
            "video.is_depth_map": False, "video.fps": fps, "video.channels": 3, "has_audio": False,
        },
    }  # fmt: skip


def info(features: Mapping[str, Any], fps: int, episodes: int, frames: int, tasks: int) -> dict[str, Any]:
    """What meta/info.json holds."""
    return {
        "codebase_version": CODEBASE,
        "robot_type": ROBOT,
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": CHUNK,
        "data_files_size_in_mb": DATA_MB,
        "video_files_size_in_mb": VIDEO_MB,
        "fps": fps,
        "splits": {"train": f"0:{episodes}"},
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH,
        "features": dict(features),
    }


def tasks_table(tasks: Sequence[str]) -> pa.Table:
    """meta/tasks.parquet: the index of a pandas frame is the task's text."""
    made = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())})
    text = {"metadata": None, "numpy_type": "object", "pandas_type": "unicode"}
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [{"name": None, "field_name": None, **text, "metadata": {"encoding": "UTF-8"}}],
        "columns": [
            {"name": "task_index", "field_name": "task_index", "metadata": None, "numpy_type": "int64",
             "pandas_type": "int64"},
            {"name": "task", "field_name": "task", **text},
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.2.0",
    }  # fmt: skip
    return made.replace_schema_metadata({"pandas": json.dumps(pandas)})


def column_statistics(values: np.ndarray, dtype: str) -> dict[str, list[Any]]:
    """Figures of one column (n,) or (n, k); entries that are not finite are left out, a column of none reads 0."""
    rows = values.reshape(len(values), -1)
    finite = rows.astype(np.float64)
    empty = ~np.isfinite(finite).any(axis=0)
    finite[:, empty] = 0.0
    found = {"min": np.nanmin(finite, axis=0), "max": np.nanmax(finite, axis=0)}
    kind = {"int64": np.int64, "bool": np.bool_}.get(dtype, np.float64)
    result = {name: value.astype(kind).tolist() for name, value in found.items()}
    result |= {"mean": np.nanmean(finite, axis=0).tolist(), "std": np.nanstd(finite, axis=0).tolist()}
    result["count"] = [len(rows)]
    return result | {name: np.nanquantile(finite, q, axis=0).tolist() for name, q in QUANTILES.items()}


def picture_statistics(histogram: np.ndarray, count: int) -> dict[str, list[Any]]:
    """Figures of a camera from its histogram (3, 256): each a channel of [0, 1], shaped (3, 1, 1)."""
    levels = np.arange(256) / 255.0
    total = histogram.sum(axis=1)
    mean = (histogram @ levels) / total
    std = np.sqrt(np.maximum((histogram @ levels**2) / total - mean**2, 0.0))
    shares = np.cumsum(histogram, axis=1) / total[:, None]
    held = histogram > 0
    found = {"min": levels[held.argmax(axis=1)], "max": levels[255 - held[:, ::-1].argmax(axis=1)], "mean": mean,
             "std": std}  # fmt: skip
    found |= {name: levels[(shares >= q).argmax(axis=1)] for name, q in QUANTILES.items()}
    return {name: value.reshape(3, 1, 1).tolist() for name, value in found.items()} | {"count": [count]}
