"""TFRecord files and the tf.train.Example in them, without TensorFlow; why: docs/decisions/0013-data-sets.md.

A record: length (u64 LE), masked CRC-32C of it, data, masked CRC-32C of the data
(https://www.tensorflow.org/tutorials/load_data/tfrecord). The messages are those of tensorflow/core/example/*.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from reconvla_ros.errors import DatasetError

_HEAD = struct.Struct("<QI")
_TAIL = struct.Struct("<I")
_MASK = 0xA282EAD8


@dataclass(frozen=True)
class Place:
    """One record: file, first byte of its data, length of it, and the checksum that stands behind it."""

    path: Path
    begin: int
    length: int
    crc: int


def masked(data: bytes) -> int:
    """The checksum as TFRecord writes it: CRC-32C, turned by 15 bits and shifted."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF


def index(path: Path) -> tuple[list[Place], str]:
    """Where the records of a file lie, and what is wrong with its end; empty when nothing is.

    Raises:
        DatasetError: it cannot be read.
    """
    places: list[Place] = []
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            at = 0
            while at < size:
                head = stream.read(_HEAD.size)
                if len(head) < _HEAD.size or masked(head[:8]) != _HEAD.unpack(head)[1]:
                    return places, f"record {len(places)} at byte {at}: broken header"
                length = _HEAD.unpack(head)[0]
                begin = at + _HEAD.size
                at = begin + length + _TAIL.size
                if at > size:
                    return places, f"record {len(places)}: {length} bytes announced, the file is cut"
                stream.seek(begin + length)
                places.append(Place(path, begin, length, _TAIL.unpack(stream.read(_TAIL.size))[0]))
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error
    return places, ""


def read(place: Place) -> dict[str, Sequence[Any]]:
    """The features of one record by name: bytes, floats or integers.

    Raises:
        DatasetError: the checksum differs, or it is no Example.
    """
    try:
        with place.path.open("rb") as stream:
            stream.seek(place.begin)
            data = stream.read(place.length)
    except OSError as error:
        raise DatasetError(f"{place.path} cannot be read: {error.strerror or error}") from error
    if masked(data) != place.crc:
        raise DatasetError(f"{place.path}: checksum of the record at byte {place.begin} differs; the file is damaged")
    try:
        example = _example().FromString(data)
    except DecodeError as error:
        raise DatasetError(f"{place.path}: record at byte {place.begin} is no tf.train.Example: {error}") from error
    found = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        found[name] = getattr(feature, kind).value if kind else ()
    return found


def write(path: Path, examples: Sequence[dict[str, Sequence[Any]]]) -> None:
    """Write a TFRecord file: bytes, floats or integers by name; for tests and for handing data on."""
    with path.open("wb") as stream:
        for features in examples:
            example = _example()()
            for name, values in features.items():
                kind = {bytes: "bytes_list", float: "float_list"}.get(type(values[0]), "int64_list")
                getattr(example.features.feature[name], kind).value.extend(values)
            data = example.SerializeToString(deterministic=True)
            length = struct.pack("<Q", len(data))
            stream.write(length + _TAIL.pack(masked(length)) + data + _TAIL.pack(masked(data)))


@cache
def _example() -> Any:
    """The message class of tf.train.Example, made from its field numbers."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="reconvla/example.proto", package="reconvla", syntax="proto3")

    def add(message: Any, name: str, number: int, kind: int, repeated: bool = False, of: str = "") -> Any:
        label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
        return message.field.add(name=name, number=number, type=kind, label=label, type_name=of or None)

    lists = {"bytes_list": field.TYPE_BYTES, "float_list": field.TYPE_FLOAT, "int64_list": field.TYPE_INT64}
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, kind) in enumerate(lists.items(), start=1):
        add(file.message_type.add(name=name), "value", 1, kind, repeated=True)
        add(feature, name, number, field.TYPE_MESSAGE, of=f".reconvla.{name}").oneof_index = 0
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    add(entry, "key", 1, field.TYPE_STRING)
    add(entry, "value", 2, field.TYPE_MESSAGE, of=".reconvla.Feature")
    add(features, "feature", 1, field.TYPE_MESSAGE, repeated=True, of=".reconvla.Features.FeatureEntry")
    add(file.message_type.add(name="Example"), "features", 1, field.TYPE_MESSAGE, of=".reconvla.Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("reconvla.Example"))
