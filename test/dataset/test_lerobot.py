"""LeRobot v3: judged by pyarrow and OpenCV's video reader, which share nothing with the writer; and read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import made_episode as made
import numpy as np
import pyarrow.parquet as pq
import pytest
from source_contract import SourceContract, frames

from reconvla_ros.dataset.bag import BagSource
from reconvla_ros.dataset.convert import convert
from reconvla_ros.dataset.frame import Frame
from reconvla_ros.dataset.lerobot_format import column_statistics, picture_statistics
from reconvla_ros.dataset.lerobot_source import LeRobotSource
from reconvla_ros.dataset.options import Options, Place
from reconvla_ros.errors import DatasetError

MS = 1_000_000
SCALARS = {
    "timestamp": "float",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes, the second with a hole of 0.8 s in a camera: three LeRobot episodes."""
    root = tmp_path_factory.mktemp("lerobot")
    made.write(root / "episodes", made.rows(2.0))
    holed = [r for r in made.rows(4.0) if not ("wrist/color" in r[1] and 1_500 <= (r[0] - made.T0) // MS < 2_500)]
    made.write(root / "episodes", holed)
    convert(Place("bag", root / "episodes"), root / "out", Options("lerobot"))
    return root / "out"


def info(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "meta" / "info.json").read_text()))


def episodes(folder: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pylist())


def rows_of(folder: Path) -> Any:
    return pq.read_table(folder / "data/chunk-000/file-000.parquet")


def test_info_says_what_there_is(folder: Path) -> None:
    about, rows, held = info(folder), rows_of(folder), episodes(folder)
    assert about["codebase_version"] == "v3.0"
    assert about["fps"] == 10
    assert about["total_episodes"] == len(held) == 3
    assert about["total_frames"] == rows.num_rows == sum(e["length"] for e in held)
    assert about["splits"] == {"train": "0:3"}
    kinds = {name: feature["dtype"] for name, feature in about["features"].items()}
    assert {k for k, v in kinds.items() if v == "video"} == {"observation.images.base", "observation.images.wrist"}
    assert set(rows.column_names) == {k for k, v in kinds.items() if v != "video"}
    for name, feature in about["features"].items():
        if feature["dtype"] != "video":
            kind = str(rows.schema.field(name).type)
            one = {"float32": "float", "int64": "int64", "bool": "bool"}[feature["dtype"]]
            size = feature["shape"][0]
            assert kind == (one if feature["names"] is None else f"fixed_size_list<element: {one}>[{size}]"), name
    assert {name: str(rows.schema.field(name).type) for name in SCALARS} == SCALARS


def test_rows_count_frames_and_episodes(folder: Path) -> None:
    rows, at = rows_of(folder).to_pydict(), 0
    assert rows["index"] == list(range(len(rows["index"])))
    for number, episode in enumerate(episodes(folder)):
        assert (episode["dataset_from_index"], episode["dataset_to_index"]) == (at, at + episode["length"])
        span = slice(at, at + episode["length"])
        assert rows["frame_index"][span] == list(range(episode["length"]))
        assert set(rows["episode_index"][span]) == {number}
        np.testing.assert_allclose(rows["timestamp"][span], np.arange(episode["length"]) / 10, atol=1e-6)
        assert episode["tasks"] == ["put fruit in bowl"]
        at += episode["length"]
    tasks = pq.read_table(folder / "meta/tasks.parquet")
    assert tasks.to_pydict() == {"task_index": [0], "task": ["put fruit in bowl"]}
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]


def test_videos_show_each_frame_where_the_table_says(folder: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    stamps = rows_of(folder)["stamp_ns"].to_pylist()
    for camera in ("observation.images.base", "observation.images.wrist"):
        video = cv2.VideoCapture(str(folder / f"videos/{camera}/chunk-000/file-000.mp4"))
        assert video.get(cv2.CAP_PROP_FPS) == 10
        pictures = []
        while (got := video.read())[0]:
            pictures.append(got[1])
        assert len(pictures) == len(stamps)
        assert pictures[0].shape == (6, 8, 3)
        for episode in episodes(folder):
            begin = round(episode[f"videos/{camera}/from_timestamp"] * 10)
            assert episode[f"videos/{camera}/to_timestamp"] * 10 == pytest.approx(begin + episode["length"])
            for k in range(episode["length"]):
                wanted = 40 + (stamps[episode["dataset_from_index"] + k] - made.T0) // (100 * MS)
                assert abs(float(pictures[begin + k].mean()) - wanted) < 3


def test_an_episode_is_cut_at_a_hole_and_nothing_is_filled_in(folder: Path) -> None:
    stamps = np.array(rows_of(folder)["stamp_ns"].to_pylist())
    for episode in episodes(folder):
        span = stamps[episode["dataset_from_index"] : episode["dataset_to_index"]]
        assert (np.diff(span) <= 100 * MS).all()
    assert [e["source_episode"] for e in episodes(folder)].count(episodes(folder)[1]["source_episode"]) == 2


def test_statistics_are_those_of_the_rows(folder: Path) -> None:
    stats, rows = json.loads((folder / "meta" / "stats.json").read_text()), rows_of(folder)
    state = np.array(rows["observation.ee_pose"].to_pylist())
    np.testing.assert_allclose(stats["observation.ee_pose"]["mean"], state.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(stats["observation.ee_pose"]["std"], state.std(axis=0), atol=1e-6)
    np.testing.assert_allclose(stats["observation.ee_pose"]["q90"], np.quantile(state, 0.9, axis=0), atol=1e-6)
    assert np.shape(stats["observation.images.base"]["mean"]) == (3, 1, 1)
    assert 40 / 255 < stats["observation.images.base"]["mean"][0][0][0] < 80 / 255
    for name, feature in info(folder)["features"].items():
        assert set(stats[name]) == {"min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"}
        assert stats[name]["count"] == [rows.num_rows], feature
    assert "NaN" not in (folder / "meta" / "stats.json").read_text()


def test_actions_are_what_went_to_the_bus_or_where_the_arm_held(folder: Path) -> None:
    rows = rows_of(folder).to_pydict()
    action, applied = np.array(rows["action"]), np.array(rows["applied.joints"])
    assert np.isfinite(action).all()
    assert np.isnan(applied).any()  # before the first command nothing was sent
    sent = np.isfinite(applied)
    np.testing.assert_array_equal(action[sent], applied[sent])


def test_columns_that_are_empty_or_partly_so_keep_finite_statistics() -> None:
    values = np.array([[1.0, np.nan], [3.0, np.nan]])
    found = column_statistics(values, "float32")
    assert found["mean"] == [2.0, 0.0]
    assert found["max"] == [3.0, 0.0]
    histogram = np.zeros((3, 256), np.int64)
    histogram[:, 51], histogram[:, 102] = 1, 3
    pictures = picture_statistics(histogram, 4)
    assert pictures["min"][0][0][0] == pytest.approx(0.2)
    assert pictures["mean"][2][0][0] == pytest.approx(0.35)
    assert pictures["q10"][0][0][0] == pytest.approx(0.2)
    assert pictures["q50"][0][0][0] == pytest.approx(0.4)


class TestContract(SourceContract):
    @pytest.fixture
    def source(self, folder: Path) -> LeRobotSource:
        return LeRobotSource(folder)


def test_what_was_written_is_read_back(folder: Path) -> None:
    bag = BagSource(folder.parent / "episodes")
    name = bag.infos()[0].name
    ours = [f for f in frames(bag, name) if isinstance(f, Frame)]
    back = [f for f in frames(LeRobotSource(folder), "episode_000000") if isinstance(f, Frame)]
    assert len(ours) == len(back) > 10
    for a, b in zip(ours, back, strict=True):
        assert a.stamp_ns == b.stamp_ns
        np.testing.assert_allclose(a.tcp.position, b.tcp.position, atol=1e-6)
        np.testing.assert_allclose(a.positions[: b.valid], b.positions[: b.valid], atol=1e-6)
        assert abs(int(a.base.mean()) - int(b.base.mean())) < 3


def test_others_data_is_read_by_the_names_of_its_columns(folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder, tmp_path / "x")
    about = info(folder)
    del about["features"]["target.ee_pose"]
    for key in ("observation.state", "action"):
        about["features"][key]["names"] = ["gripper", "x", "y", "z", "roll", "pitch", "yaw"]
    about["robot_type"] = "widowx"
    (tmp_path / "x/meta/info.json").write_text(json.dumps(about))
    source = LeRobotSource(tmp_path / "x")
    contract = source.contract()
    assert (contract.embodiment, contract.frame, contract.rate) == ("widowx", "world", 10.0)
    assert "joint1" not in contract.state_slots
    rows = rows_of(folder).to_pydict()
    state, action = np.array(rows["observation.state"][3]), np.array(rows["action"][3])
    frame = [f for f in frames(source, "episode_000000") if isinstance(f, Frame)][3]
    np.testing.assert_allclose(frame.tcp.position, state[1:4], atol=1e-6)
    np.testing.assert_allclose(frame.positions[0], state[1:4] + action[1:4], atol=1e-6)
    assert frame.gripper == pytest.approx(state[0] * contract.gripper_open)
    assert frame.joints is None


def test_joints_alone_do_not_say_where_the_tcp_is(folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder, tmp_path / "x")
    about = info(folder)
    del about["features"]["target.ee_pose"]
    (tmp_path / "x/meta/info.json").write_text(json.dumps(about))
    with pytest.raises(DatasetError, match=r"without x, y, z, .* does not say where the TCP is"):
        LeRobotSource(tmp_path / "x")
    about["codebase_version"] = "v2.1"
    (tmp_path / "x/meta/info.json").write_text(json.dumps(about))
    with pytest.raises(DatasetError, match=r"version v2\.1"):
        LeRobotSource(tmp_path / "x")
    with pytest.raises(DatasetError, match="is no LeRobot data set"):
        LeRobotSource(tmp_path)
