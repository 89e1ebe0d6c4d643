"""A bag is read back by `mcap`, by `mcap_ros2` and by `rosbags`, none of which is ours."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from reconvla_ros.errors import RecordingError
from reconvla_ros.recording.bag import BagWriter
from reconvla_ros.recording.metadata import TopicQos
from reconvla_ros.recording.schema import MessageSchema

mcap_reader = pytest.importorskip("mcap.reader")

LINE = "=" * 80
TIME = f"{LINE}\nMSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"
HEADER = f"{LINE}\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n"
IMAGE = MessageSchema(
    "sensor_msgs/msg/Image",
    "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\nuint32 step\n"
    "uint8[] data\n" + HEADER + TIME,
    "RIHS01_" + "0" * 64,
)
STRING = MessageSchema("std_msgs/msg/String", "string data\n")
T0 = 1_700_000_000_000_000_000


def cdr_string(text: str) -> bytes:
    data = text.encode() + b"\0"
    return b"\0\1\0\0" + struct.pack("<I", len(data)) + data


def cdr_image(value: int, height: int = 4, width: int = 6) -> bytes:
    """Little-endian CDR of a sensor_msgs/Image, rgb8, frame 'c'."""
    body = struct.pack("<iI", 12, 34) + struct.pack("<I2s", 2, b"c\0") + b"\0\0"
    body += struct.pack("<II", height, width) + struct.pack("<I5s", 5, b"rgb8\0") + b"\0"
    body += b"\0\0" + struct.pack("<I", width * 3) + struct.pack("<I", height * width * 3)
    return b"\0\1\0\0" + body + bytes([value]) * (height * width * 3)


def write(folder: Path, n: int = 20, crc: bool = True) -> Path:
    with BagWriter(folder, crc=crc, chunk_size=2000) as bag:
        bag.add_topic("/camera_base/color/image_raw", IMAGE, [TopicQos(depth=5)])
        bag.add_topic("/task/state", STRING, [TopicQos(durability="transient_local", depth=1)])
        bag.add_topic("/silent", STRING)
        bag.write("/task/state", cdr_string("IDLE"), T0 + 5, T0 - 7_000_000_000, 3)
        for i in range(n):
            bag.write("/camera_base/color/image_raw", cdr_image(i), T0 + i * 33_000_000, T0 + i * 33_000_000 - 1000, i)
    return folder


def test_mcap_reads_every_message_with_times_and_definitions(tmp_path: Path) -> None:
    folder = write(tmp_path / "e1")
    with (folder / "e1_0.mcap").open("rb") as stream:
        reader = mcap_reader.make_reader(stream, validate_crcs=True)
        summary = reader.get_summary()
        found = [(c.topic, m.log_time, m.publish_time, m.sequence, m.data) for _, c, m in reader.iter_messages()]
        assert reader.get_header().profile == "ros2"
    images = [f for f in found if f[0] == "/camera_base/color/image_raw"]
    assert [f[4] for f in images] == [cdr_image(i) for i in range(20)]
    assert images[3][1:4] == (T0 + 99_000_000, T0 + 99_000_000 - 1000, 3)
    assert next(f for f in found if f[0] == "/task/state")[1:4] == (T0 + 5, T0 - 7_000_000_000, 3)
    assert summary.statistics.message_count == 21
    assert summary.statistics.chunk_count > 1
    schemas = {s.name: s for s in summary.schemas.values()}
    assert schemas["sensor_msgs/msg/Image"].encoding == "ros2msg"
    assert schemas["sensor_msgs/msg/Image"].data.decode() == IMAGE.text
    channels = {c.topic: c for c in summary.channels.values()}
    qos = yaml.safe_load(channels["/camera_base/color/image_raw"].metadata["offered_qos_profiles"])
    assert (qos[0]["reliability"], qos[0]["durability"], qos[0]["depth"]) == (1, 2, 5)
    assert set(channels) == {"/camera_base/color/image_raw", "/task/state", "/silent"}


def test_mcap_ros2_decodes_with_the_definition_in_the_file(tmp_path: Path) -> None:
    decoder = pytest.importorskip("mcap_ros2.decoder")
    folder = write(tmp_path / "e1")
    with (folder / "e1_0.mcap").open("rb") as stream:
        reader = mcap_reader.make_reader(stream, decoder_factories=[decoder.DecoderFactory()])
        images = [m for _, c, _, m in reader.iter_decoded_messages(topics=["/camera_base/color/image_raw"])]
    assert (images[7].height, images[7].width, images[7].encoding, images[7].header.frame_id) == (4, 6, "rgb8", "c")
    assert bytes(images[7].data) == bytes([7]) * 72


@pytest.mark.parametrize("crc", [True, False])
def test_rosbags_opens_the_folder(tmp_path: Path, crc: bool) -> None:
    rosbag2 = pytest.importorskip("rosbags.rosbag2")
    typesys = pytest.importorskip("rosbags.typesys")
    folder = write(tmp_path / "e1", crc=crc)
    store = typesys.get_typestore(typesys.Stores.EMPTY)
    with rosbag2.Reader(folder) as reader:
        counts = {c.topic: c.msgcount for c in reader.connections}
        assert counts == {"/camera_base/color/image_raw": 20, "/task/state": 1, "/silent": 0}
        assert reader.message_count == 21
        assert reader.start_time == T0
        image = next(c for c in reader.connections if c.topic == "/camera_base/color/image_raw")
        assert image.digest == IMAGE.type_hash
        assert image.ext.offered_qos_profiles[0].depth == 5
        store.register(typesys.get_types_from_msg(image.msgdef.data, image.msgtype))
        data = [store.deserialize_cdr(raw, image.msgtype) for _, _, raw in reader.messages(connections=[image])]
    assert [int(m.data[0]) for m in data] == list(range(20))
    assert (data[0].header.stamp.sec, data[0].header.stamp.nanosec) == (12, 34)


def test_metadata_is_what_rosbag2_writes(tmp_path: Path) -> None:
    folder = write(tmp_path / "e1")
    info = yaml.safe_load((folder / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert (info["version"], info["storage_identifier"]) == (8, "mcap")
    assert info["relative_file_paths"] == ["e1_0.mcap"]
    assert info["duration"]["nanoseconds"] == 19 * 33_000_000
    assert info["message_count"] == 21
    assert isinstance(info["topics_with_message_count"][0]["topic_metadata"]["offered_qos_profiles"], str)
    assert not list(folder.glob(".*"))


def test_an_empty_bag_is_still_a_bag(tmp_path: Path) -> None:
    rosbag2 = pytest.importorskip("rosbags.rosbag2")
    with BagWriter(tmp_path / "e") as bag:
        bag.add_topic("/a", STRING)
    with rosbag2.Reader(tmp_path / "e") as reader:
        assert reader.message_count == 0


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "e1")
    with pytest.raises(RecordingError, match="exists already"):
        BagWriter(tmp_path / "e1")


def test_topic_rules(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "e") as bag:
        bag.add_topic("/a", STRING)
        bag.add_topic("/a", STRING)
        with pytest.raises(
            RecordingError, match="recorded as std_msgs/msg/String, cannot become sensor_msgs/msg/Image"
        ):
            bag.add_topic("/a", IMAGE)
        with pytest.raises(RecordingError, match=r"topic '/b' \(.*valid: /a\) was not declared"):
            bag.write("/b", b"", 0, 0)
        with pytest.raises(RecordingError, match=r"qos\.durability: 'latched'"):
            bag.add_topic("/c", STRING, [TopicQos(durability="latched")])


def test_a_full_disk_is_named_and_what_was_written_stays(tmp_path: Path) -> None:
    """A file size limit stands for the full disk; the process that meets it is a child."""
    script = f"""
import resource, signal
from pathlib import Path
from reconvla_ros.errors import RecordingError
from reconvla_ros.recording.bag import BagWriter
from reconvla_ros.recording.schema import MessageSchema
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
bag = BagWriter(Path({str(tmp_path / "full")!r}), chunk_size=10_000)
bag.add_topic("/a", MessageSchema("std_msgs/msg/String", "string data\\n"))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
refused = []
for i in range(300):
    try:
        bag.write("/a", b"x" * 1000, i, i)
    except RecordingError as error:
        refused.append(str(error))
try:
    bag.close()
except RecordingError as error:
    refused.append(str(error))
assert len(refused) > 100 and all("cannot be written" in r for r in refused), refused[:3]
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "full" / "metadata.yaml").exists()
    assert len(list(read_cut(tmp_path / "full" / "full_0.mcap"))) >= 80


def test_everything_flushed_survives_a_kill(tmp_path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from reconvla_ros.recording.bag import BagWriter
from reconvla_ros.recording.schema import MessageSchema
bag = BagWriter(Path({str(tmp_path / "cut")!r}))
bag.add_topic("/a", MessageSchema("std_msgs/msg/String", "string data\\n"))
for i in range(50):
    bag.write("/a", b"x" * 1000, i, i)
bag.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    assert len(list(read_cut(tmp_path / "cut" / "cut_0.mcap"))) == 50


def read_cut(path: Path) -> list[int]:
    """Log times of the messages a plain front-to-back reader finds before the cut."""
    from mcap.exceptions import McapError
    from mcap.records import Message
    from mcap.stream_reader import StreamReader

    found = []
    with path.open("rb") as stream:
        try:
            for record in StreamReader(stream).records:
                if isinstance(record, Message):
                    found.append(record.log_time)
        except McapError:
            pass  # the cut
    return found
