"""The text definition of a message type with everything nested in it, the way MCAP's `ros2msg` schemas want it.

Read from the installed ``share/<package>/msg/<Type>.msg`` files, so that a bag explains itself to a reader that has
none of our packages. Format: https://mcap.dev/spec/registry#ros2msg
"""

from __future__ import annotations

import functools
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from reconvla_ros.errors import RecordingError

BUILTIN = frozenset(
    {"bool", "byte", "char", "float32", "float64", "string", "wstring"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)
# What rosidl calls a field: a type, perhaps bounded, perhaps an array, then a name; a constant has '=' after its name.
_FIELD = re.compile(r"^\s*(?P<type>[A-Za-z][\w/]*)(?:<=\d+)?(?:\[[^\]]*\])?\s+[A-Za-z]\w*")
_SEPARATOR = "=" * 80


@dataclass(frozen=True)
class MessageSchema:
    """One message type.

    Attributes:
        name: as ROS 2 writes it, e.g. sensor_msgs/msg/Image.
        text: definition with all nested definitions appended.
        type_hash: RIHS01 hash of the type; empty where the installed package does not carry it (before Iron).
    """

    name: str
    text: str
    type_hash: str = ""


def prefixes() -> tuple[Path, ...]:
    """Where ROS packages are installed: the sourced workspaces, then the environment of this Python."""
    sourced = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    return tuple(dict.fromkeys([*sourced, Path(sys.prefix)]))


def split_type(name: str) -> tuple[str, str]:
    """`sensor_msgs/msg/Image` or `sensor_msgs/Image` -> (sensor_msgs, Image).

    Raises:
        RecordingError: another form.
    """
    parts = name.split("/")
    if len(parts) not in (2, 3) or not all(parts) or (len(parts) == 3 and parts[1] != "msg"):
        raise RecordingError(f"message type {name!r}: expected package/msg/Type")
    return parts[0], parts[-1]


def _find(package: str, type_name: str, where: tuple[Path, ...]) -> Path:
    for prefix in where:
        path = prefix / "share" / package / "msg" / f"{type_name}.msg"
        if path.is_file():
            return path
    looked = ", ".join(str(p) for p in where) or "nowhere (AMENT_PREFIX_PATH is empty)"
    raise RecordingError(
        f"no definition of {package}/msg/{type_name}: share/{package}/msg/{type_name}.msg is in none of: {looked};"
        " source the workspace that builds it"
    )


def nested_types(package: str, text: str) -> list[tuple[str, str]]:
    """(package, Type) of every field of `text` that is not a builtin, in order, once each."""
    found: dict[tuple[str, str], None] = {}
    for line in text.splitlines():
        match = _FIELD.match(line.split("#", 1)[0])
        if match is None or match["type"] in BUILTIN:
            continue
        owner, _, name = match["type"].rpartition("/")
        found[(owner.split("/")[0] or package, name)] = None
    return list(found)


def _type_hash(definition: Path, name: str) -> str:
    """RIHS01 from the JSON the generator puts beside the definition; empty when it is not there or not readable."""
    try:
        data = json.loads(definition.with_suffix(".json").read_text(encoding="utf-8"))
        hashes = {entry["type_name"]: entry["hash_string"] for entry in data["type_hashes"]}
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return str(hashes.get(name, ""))


@functools.lru_cache(maxsize=256)
def message_schema(name: str, where: tuple[Path, ...] | None = None) -> MessageSchema:
    """The schema of message type `name`, with all nested types.

    Args:
        name: e.g. sensor_msgs/msg/Image.
        where: install prefixes to look in; `prefixes()` by default.

    Raises:
        RecordingError: the type or one nested in it is not installed (names it and the places looked at).
    """
    places = prefixes() if where is None else where
    root = split_type(name)
    root_path = _find(*root, places)
    texts: dict[tuple[str, str], str] = {}
    waiting = [root]
    while waiting:
        package, type_name = waiting.pop(0)
        if (package, type_name) in texts:
            continue
        text = _find(package, type_name, places).read_text(encoding="utf-8").rstrip("\n") + "\n"
        texts[(package, type_name)] = text
        waiting += nested_types(package, text)
    parts = [texts.pop(root)]
    parts += [f"{_SEPARATOR}\nMSG: {package}/{type_name}\n{text}" for (package, type_name), text in texts.items()]
    full_name = f"{root[0]}/msg/{root[1]}"
    return MessageSchema(full_name, "".join(parts), _type_hash(root_path, full_name))
