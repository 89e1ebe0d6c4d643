"""BridgeData's record files: a small one made here, and the real sample where it lies beside the checkout."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import numpy as np
import pytest
from bridge_records import episode, jpeg
from source_contract import SourceContract, frames

from reconvla_ros.dataset import tfrecord
from reconvla_ros.dataset.bridge import BridgeSource
from reconvla_ros.dataset.convert import convert
from reconvla_ros.dataset.frame import Frame, Request
from reconvla_ros.dataset.options import Options, Place
from reconvla_ros.errors import DatasetError

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "bridge_sample"
FILE = "bridge-train.tfrecord-00000-of-00001"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tfrecord.write(tmp_path / FILE, [episode(), episode(wrist=True), episode(text=b"")])
    return tmp_path


class TestContract(SourceContract):
    @pytest.fixture
    def source(self, folder: Path) -> BridgeSource:
        return BridgeSource(folder)


@pytest.mark.skipif(not REAL.is_dir(), reason="no sample of BridgeData beside the checkout")
class TestRealSample(SourceContract):
    @pytest.fixture
    def source(self) -> BridgeSource:
        return BridgeSource(REAL)

    def test_all_of_it_is_read(self, source: BridgeSource) -> None:
        names = [info.name for info in source.infos()]
        assert len(names) == 25
        texts = {source.instruction(name) for name in names}
        assert texts == {"put carrot on plate", "flip pot upright which is in sink",
                         "put cup from counter or drying rack into sink", "turn lever vertical to front"}  # fmt: skip
        found = [f for f in frames(source, names[4]) if isinstance(f, Frame)]
        assert len(found) == 10
        assert found[0].base.shape == (64, 64, 3)
        # The recorded path goes where the recorded actions point: over the sample they agree in the mean.
        asked = np.array([f.positions[0] - f.tcp.position for f in found[1:-1]])
        went = np.array([b.tcp.position - a.tcp.position for a, b in itertools.pairwise(found[1:])])
        assert np.sum(asked * went) > 0


def test_figures_pictures_and_words_are_those_of_the_record(folder: Path) -> None:
    source = BridgeSource(folder)
    assert [i.name for i in source.infos()] == [f"bridge-train-00000-0000{k}" for k in range(3)]
    found = [f for f in frames(source, "bridge-train-00000-00000") if isinstance(f, Frame)]
    assert source.instruction("bridge-train-00000-00000") == "put carrot on plate"
    assert [f.stamp_ns for f in found[:2]] == [0, 200_000_000]
    assert found[0].wrist is None
    np.testing.assert_allclose(found[0].positions[:, 0], [0.31, 0.32, 0.33, 0.34, 0.35], atol=1e-7)
    assert found[0].opens.tolist() == [True, True, True, False, False]
    assert [f.open_before for f in found] == [True, True, True, True, False, False, False]
    assert found[0].quaternions[0][2] == pytest.approx(np.sin(0.05), abs=1e-7)
    wrist = frames(source, "bridge-train-00000-00001")[0]
    assert isinstance(wrist, Frame)
    assert wrist.wrist is not None


def test_it_becomes_samples_that_say_what_is_missing(folder: Path, tmp_path: Path) -> None:
    import json

    from reconvla_ros.policy.contract import load_contract

    report = convert(Place("bridge", folder), tmp_path / "out", Options()).as_json()
    assert report["skipped"] == {"bridge-train-00000-00002": "no instruction"}
    samples = json.loads((tmp_path / "out/samples.json").read_text())
    assert [s["views"] for s in samples] == ["base"] * 7 + ["both"] * 7
    contract = load_contract(tmp_path / "out")
    assert (contract.embodiment, contract.rate, contract.frame) == ("widowx_bridge", 5.0, "world")
    np.testing.assert_allclose(samples[0]["actions"][0][:6], [0.25, 0, 0, 0, 0, 0.4], atol=1e-6)


def test_a_flipped_bit_is_noticed(folder: Path) -> None:
    data = bytearray((folder / FILE).read_bytes())
    data[500] ^= 1
    (folder / FILE).write_bytes(data)
    source = BridgeSource(folder)
    with pytest.raises(DatasetError, match="checksum of the record at byte 12 differs"):
        frames(source, "bridge-train-00000-00000")
    assert frames(source, "bridge-train-00000-00001")


def test_a_file_that_is_cut_gives_what_is_whole(folder: Path) -> None:
    data = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(data[:-10])
    problems = [i.problem for i in BridgeSource(folder).infos()]
    assert problems[:2] == ["", ""]
    assert "the file is cut" in problems[2]
    (folder / FILE).write_bytes(data[:-10] + struct.pack("<Q", 5))
    assert BridgeSource(folder).infos()[2].problem


def test_the_checksum_is_the_published_one() -> None:
    """RFC 3720, B.4: CRC-32C of 32 zero bytes is 0x8a9136aa; then turned and shifted."""
    crc = 0x8A9136AA
    assert tfrecord.masked(bytes(32)) == (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def test_what_does_not_fit_is_refused(folder: Path, tmp_path: Path) -> None:
    broken = episode() | {"steps/action": [0.0] * 10}
    short = episode() | {"steps/observation/image_0": [jpeg(1)] * 3}
    tfrecord.write(folder / FILE, [broken, short])
    source = BridgeSource(folder)
    with pytest.raises(DatasetError, match="steps/action has 10 figures"):
        frames(source, "bridge-train-00000-00000")
    with pytest.raises(DatasetError, match="has 3 pictures, 7 steps"):
        frames(source, "bridge-train-00000-00001")
    with pytest.raises(DatasetError, match="BridgeData has 5 steps a second, 10 Hz asked for"):
        list(source.frames("bridge-train-00000-00000", Request(10.0)))
    with pytest.raises(DatasetError, match=r"no \*\.tfrecord\* file there"):
        BridgeSource(tmp_path / "nothing")
