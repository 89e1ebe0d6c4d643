"""Definitions as MCAP wants them, from message files made here and from the installed ones where there are any."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconvla_ros.errors import RecordingError
from reconvla_ros.recording.schema import message_schema, nested_types, prefixes, split_type


def install(prefix: Path, package: str, name: str, text: str, type_hash: str = "") -> None:
    folder = prefix / "share" / package / "msg"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.msg").write_text(text)
    if type_hash:
        entry = {"type_name": f"{package}/msg/{name}", "hash_string": type_hash}
        (folder / f"{name}.json").write_text(json.dumps({"type_hashes": [entry]}))


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    install(tmp_path, "a_msgs", "Outer", "# a/b c\nInner[<=3] inners\nb_msgs/Leaf leaf\nfloat64[3] x\n", "RIHS01_ab")
    install(tmp_path, "a_msgs", "Inner", 'uint8 ONE=1\nb_msgs/msg/Leaf leaf\nstring<=10 name "x"')
    install(tmp_path, "b_msgs", "Leaf", "int32 value # Inner not_a_field\n")
    return tmp_path


def test_all_nested_types_once_in_order(prefix: Path) -> None:
    schema = message_schema("a_msgs/msg/Outer", (prefix,))
    line = "=" * 80
    assert schema.text == (
        "# a/b c\nInner[<=3] inners\nb_msgs/Leaf leaf\nfloat64[3] x\n"
        f'{line}\nMSG: a_msgs/Inner\nuint8 ONE=1\nb_msgs/msg/Leaf leaf\nstring<=10 name "x"\n'
        f"{line}\nMSG: b_msgs/Leaf\nint32 value # Inner not_a_field\n"
    )
    assert (schema.name, schema.type_hash) == ("a_msgs/msg/Outer", "RIHS01_ab")


def test_short_name_means_the_same(prefix: Path) -> None:
    assert message_schema("a_msgs/Outer", (prefix,)).name == "a_msgs/msg/Outer"
    assert message_schema("b_msgs/msg/Leaf", (prefix,)).type_hash == ""


def test_constants_comments_and_builtins_are_not_types() -> None:
    text = (
        'uint8 A=1\nstring S="Foo bar"\nwstring<=4[] w\nbyte b\nchar c\n\n# Foo foo\nFoo[2] foo\nFoo again\nx_msgs/Y y'
    )
    assert nested_types("p", text) == [("p", "Foo"), ("x_msgs", "Y")]


def test_missing_type_names_the_places(prefix: Path) -> None:
    (prefix / "share/b_msgs/msg/Leaf.msg").unlink()
    with pytest.raises(RecordingError, match=r"no definition of b_msgs/msg/Leaf.*is in none of.*source the workspace"):
        message_schema("a_msgs/msg/Inner", (prefix,))


@pytest.mark.parametrize("name", ["Image", "sensor_msgs/srv/Image", "a/b/c/d", "a//B", ""])
def test_wrong_type_name(name: str) -> None:
    with pytest.raises(RecordingError, match="expected package/msg/Type"):
        split_type(name)


@pytest.mark.parametrize("name", ["sensor_msgs/msg/Image", "nav_msgs/msg/Path", "diagnostic_msgs/msg/DiagnosticArray"])
def test_installed_types_are_understood_by_an_independent_parser(name: str) -> None:
    if not any((p / "share/sensor_msgs").is_dir() for p in prefixes()):
        pytest.skip("no ROS 2 messages installed here")
    rosbags = pytest.importorskip("rosbags.typesys")
    schema = message_schema(name)
    parsed = rosbags.get_types_from_msg(schema.text, name)
    assert name in parsed
    assert "std_msgs/msg/Header" in parsed
    if schema.type_hash:
        store = rosbags.get_typestore(rosbags.Stores.EMPTY)
        store.register(parsed)
        assert store.hash_rihs01(name) == schema.type_hash
