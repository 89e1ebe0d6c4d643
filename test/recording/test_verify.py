"""Sound episodes are good; every fault is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("rosbags")
import made_episode as made

from reconvla_ros.recording.repair import bag_file
from reconvla_ros.recording.verify import Verdict, verify

RATES = {"camera_base": {"rate": 10}, "camera_wrist": {"rate": 10}}


def judge(root: Path, **named: object) -> Verdict:
    _, name = made.write(root, **named)  # type: ignore[arg-type]
    return verify(root / name)


def bad(verdict: Verdict) -> dict[str, str]:
    return {check.name: check.detail for check in verdict.checks if not check.ok}


@pytest.mark.parametrize("namespace", ["", "/left/arm"])
def test_a_sound_episode_is_good(tmp_path: Path, namespace: str) -> None:
    verdict = judge(tmp_path, namespace=namespace, parameters=RATES)
    assert bad(verdict) == {}
    assert verdict.flawless
    assert verdict.contents is not None
    assert verdict.contents.decoded == len(made.rows())
    assert len(verdict.contents.joints) == 100
    assert verdict.as_json()["ok"]


def test_missing_streams_are_named(tmp_path: Path) -> None:
    rows = [row for row in made.rows() if not row[1].startswith("camera_wrist/color")]
    verdict = judge(tmp_path, messages=rows)
    assert not verdict.ok
    assert bad(verdict)["missing"] == "camera_wrist/color/image_raw"


def test_gaps_are_flaws_with_figures(tmp_path: Path) -> None:
    rows = [r for r in made.rows() if not (r[1] == "joint_states" and 500e6 < r[0] - made.T0 < 700e6)]
    verdict = judge(tmp_path, messages=rows)
    assert verdict.ok
    assert not verdict.flawless
    assert bad(verdict) == {"gap": "joint_states 1 (worst 0.22 s)"}


def test_stamps_that_go_back_and_joints_that_are_no_figures(tmp_path: Path) -> None:
    rows = made.rows()
    at = rows[-1][0] + 1
    rows += [(at, "joint_states", made.joints(made.T0)), (at + 1, "joint_states", made.joints(at, float("nan")))]
    verdict = judge(tmp_path, messages=rows)
    assert not verdict.ok
    assert {"backwards", "nan"} <= set(bad(verdict))
    assert bad(verdict)["nan"] == "joint_states 1"


def test_messages_that_do_not_decode_are_counted(tmp_path: Path) -> None:
    rows = made.rows()
    rows[7] = (rows[7][0], "joint_states", made.joints(rows[7][0])[:50])
    rows[8] = (rows[8][0], "camera_base/color/image_raw", made.image(rows[8][0])[:-20])
    verdict = judge(tmp_path, messages=rows)
    assert not verdict.ok
    assert bad(verdict)["decodes"].startswith(
        "joint_states 1, camera_base/color/image_raw 1; e.g. joint_states message"
    )


def test_a_flipped_bit_is_a_checksum_that_does_not_fit(tmp_path: Path) -> None:
    _, name = made.write(tmp_path)
    file = bag_file(tmp_path / name)
    data = bytearray(file.read_bytes())
    data[data.index(b"base_link")] ^= 1
    file.write_bytes(data)
    verdict = verify(tmp_path / name)
    assert "crc validation failed" in bad(verdict)["readable"]


def test_a_cut_bag_names_the_remedy(tmp_path: Path) -> None:
    _, name = made.write(tmp_path)
    file = bag_file(tmp_path / name)
    file.write_bytes(file.read_bytes()[:-3000])
    assert "reconvla episodes recover" in bad(verify(tmp_path / name))["readable"]


def test_a_sidecar_that_says_something_else_is_caught(tmp_path: Path) -> None:
    _, name = made.write(tmp_path, dropped={"/tf": 3}, contract_digest="abc", note="odd")
    path = tmp_path / name / "episode.json"
    data = json.loads(path.read_text())
    data["counts"]["/joint_states"] = 99
    path.write_text(json.dumps(data))
    found = bad(verify(tmp_path / name))
    assert found == {
        "counts": "/joint_states: sidecar 99, bag 100", "contract": "sidecar abc, bag none", "lost": "3 messages never came",
        "note": "odd",
    }  # fmt: skip
    path.write_text("{")
    assert "sidecar" in bad(verify(tmp_path / name))
    (tmp_path / name / "metadata.yaml").unlink()
    assert "FileNotFoundError" in bad(verify(tmp_path / name))["metadata"]
