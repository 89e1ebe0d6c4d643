"""Frames of a URDF for given joint values: what robot_state_publisher does, for machines without it. No ROS here."""

from __future__ import annotations

import math
import os
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reconvla_ros.arm.rotations import matrix_from_quaternion, quaternion_from_matrix
from reconvla_ros.errors import ConfigError
from reconvla_ros.types import Float, Pose


def description_file() -> Path:
    """urdf/piper.urdf as installed, else that of the checkout.

    Raises:
        ConfigError: neither is there.
    """
    prefixes = filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep))
    folders = [Path(p) / "share" / "reconvla_ros" for p in prefixes] + [Path(__file__).resolve().parents[2]]
    for folder in folders:
        if (folder / "urdf" / "piper.urdf").is_file():
            return folder / "urdf" / "piper.urdf"
    raise ConfigError(f"urdf/piper.urdf is not installed (looked in {', '.join(map(str, folders))})")


# The zeros of joints 2 and 3 that differ before firmware S-V1.6-3: rpy of their origins [rad], newer and older.
_OLD_ZEROS = (
    ("1.57079633 -0.13578662 3.14159265", "1.57079633 -0.10088003 3.14159265"),
    ("0 0 -1.79384941", "0 0 -1.75894282"),
)


def for_variant(text: str, variant: int) -> str:
    """The description for `dh_is_offset` = 1 (as the file is) or 0, firmware before S-V1.6-3.

    Raises:
        ConfigError: the file does not state the zeros that are to be exchanged.
    """
    if variant:
        return text
    for new, old in _OLD_ZEROS:
        if text.count(f'rpy="{new}"') != 1:
            raise ConfigError(f'URDF: no single origin rpy="{new}" to exchange for the zeros of older firmware')
        text = text.replace(f'rpy="{new}"', f'rpy="{old}"')
    return text


@dataclass(frozen=True, eq=False)
class Frame:
    """One link in its parent."""

    parent: str
    child: str
    pose: Pose


@dataclass(frozen=True, eq=False)
class _Joint:
    name: str
    kind: str
    parent: str
    child: str
    position: Float
    rotation: Float
    axis: Float
    source: str  # the joint whose value moves this one: itself, or the one it mimics
    multiplier: float
    offset: float


def _numbers(text: str | None) -> Float:
    return np.array([float(v) for v in (text or "0 0 0").split()])


def _about(axis: Float, angle: float) -> Float:
    half = math.sin(angle / 2.0) * axis / np.linalg.norm(axis)
    return matrix_from_quaternion(np.array([*half, math.cos(angle / 2.0)]))


def _rotation(rpy: Float) -> Float:
    """Extrinsic x-y-z angles [rad] -> (3, 3)."""
    roll, pitch, yaw = (_about(axis, float(angle)) for axis, angle in zip(np.eye(3), rpy, strict=True))
    return yaw @ pitch @ roll


class RobotTree:
    """The joints of one URDF.

    Args:
        text: the file.

    Raises:
        ConfigError: it is not a URDF, or a joint has no parent or child.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._joints = [_parse(entry) for entry in ET.fromstring(text).findall("joint")]
        except (ET.ParseError, AttributeError, KeyError, ValueError) as error:
            raise ConfigError(f"URDF cannot be read: {type(error).__name__}: {error}") from error

    def fixed(self) -> list[Frame]:
        """Frames that never move."""
        return [_frame(joint, 0.0) for joint in self._joints if joint.kind == "fixed"]

    def moving(self, values: Mapping[str, float]) -> list[Frame]:
        """Frames that follow `values` (joint name -> [rad] or [m]); a joint without value is left out."""
        return [
            _frame(joint, joint.multiplier * values[joint.source] + joint.offset)
            for joint in self._joints
            if joint.kind != "fixed" and joint.source in values
        ]


def _parse(entry: ET.Element) -> _Joint:
    parent, child, origin = entry.find("parent"), entry.find("child"), entry.find("origin")
    axis, mimic = entry.find("axis"), entry.find("mimic")
    if parent is None or child is None:
        raise ValueError(f"joint {entry.get('name')} has no parent or no child")
    where = {} if origin is None else origin.attrib
    follows = {} if mimic is None else mimic.attrib
    return _Joint(
        name=entry.attrib["name"],
        kind=entry.attrib["type"],
        parent=parent.attrib["link"],
        child=child.attrib["link"],
        position=_numbers(where.get("xyz")),
        rotation=_rotation(_numbers(where.get("rpy"))),
        axis=np.array([1.0, 0.0, 0.0]) if axis is None else _numbers(axis.get("xyz")),
        source=follows.get("joint", entry.attrib["name"]),
        multiplier=float(follows.get("multiplier", 1.0)),
        offset=float(follows.get("offset", 0.0)),
    )


def _frame(joint: _Joint, value: float) -> Frame:
    position, rotation = joint.position, joint.rotation
    if joint.kind == "prismatic":
        position = position + rotation @ (joint.axis * value)
    elif joint.kind in ("revolute", "continuous"):
        rotation = rotation @ _about(joint.axis, value)
    return Frame(joint.parent, joint.child, Pose(position, quaternion_from_matrix(rotation)))
