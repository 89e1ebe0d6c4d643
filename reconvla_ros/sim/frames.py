"""The CAN frames of the PiPER as a table, both directions; the only place where device units are known.

Standard ids, eight bytes, big-endian, two's complement. Values outside are SI and radians: each field of a layout says
what one count is worth. Sources: piper_sdk 0.6.2 (``protocol_v2``), the AgileX protocol sheet, pyAgxArm documents;
where they contradict, piper_sdk wins (0x473 speed in 0.001 rad/s, 0x47C acceleration in 0.01 rad/s^2).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import radians

MM = 1e-6  # 0.001 mm in [m]
DEG = radians(1e-3)  # 0.001 degree in [rad]
MILLI = 1e-3
FLAG = 1  # a count is a code or bits, kept as int

STATUS, POSE_XY, POSE_ZRX, POSE_RYRZ = 0x2A1, 0x2A2, 0x2A3, 0x2A4
JOINT_12, JOINT_34, JOINT_56, GRIPPER = 0x2A5, 0x2A6, 0x2A7, 0x2A8
MOTOR_FAST = tuple(range(0x251, 0x257))
MOTOR_SLOW = tuple(range(0x261, 0x267))
STOP, MODE = 0x150, 0x151
TARGET_XY, TARGET_ZRX, TARGET_RYRZ = 0x152, 0x153, 0x154
TARGET_12, TARGET_34, TARGET_56 = 0x155, 0x156, 0x157
ARC_POINT, TARGET_GRIPPER = 0x158, 0x159
MIT = tuple(range(0x15A, 0x160))
LEADER_HOME, LINKAGE, ENABLE = 0x191, 0x470, 0x471
QUERY_JOINT, LIMITS, SET_LIMITS, SET_JOINT, ACK = 0x472, 0x473, 0x474, 0x475, 0x476
QUERY, END_LIMITS, SET_END_LIMITS = 0x477, 0x478, 0x479
SET_COLLISION, COLLISION, ACCELERATION = 0x47A, 0x47B, 0x47C
SET_GRIPPER, GRIPPER_SETUP, FIRMWARE = 0x47D, 0x47E, 0x4AF

KEEP = 0x7FFF  # "leave this value" in the writing frames 0x474, 0x475 and 0x479
FAST_IDS = (STATUS, POSE_XY, POSE_ZRX, POSE_RYRZ, JOINT_12, JOINT_34, JOINT_56, GRIPPER, *MOTOR_FAST)  # 200 Hz
SLOW_IDS = MOTOR_SLOW  # 40 Hz
CYCLIC_IDS = (*FAST_IDS, *SLOW_IDS)
# What an arm sends and therefore skips when the bus hands its own frames back (0x4AF is query and reply in one id).
FEEDBACK_IDS = frozenset((*CYCLIC_IDS, LIMITS, ACK, END_LIMITS, COLLISION, ACCELERATION, GRIPPER_SETUP))


@dataclass(frozen=True)
class Field:
    """One value in a frame: its name, struct code and what one count is worth in SI (`FLAG` = a code, stays int)."""

    name: str
    code: str
    unit: float = FLAG


@dataclass(frozen=True)
class Layout:
    """How the eight bytes of one id are cut; `sender` is "arm" or "host"."""

    name: str
    sender: str
    fields: tuple[Field, ...]

    @property
    def packing(self) -> struct.Struct:
        """The struct of the fields, padded to eight bytes."""
        codes = ">" + "".join(f.code for f in self.fields)
        return struct.Struct(codes + "x" * (8 - struct.calcsize(codes)))


def _layout(name: str, sender: str, *fields: tuple[str, str] | tuple[str, str, float]) -> Layout:
    return Layout(name, sender, tuple(Field(*f) for f in fields))


def _pair(name: str, sender: str, a: tuple[str, float], b: tuple[str, float]) -> Layout:
    return _layout(name, sender, (a[0], "i", a[1]), (b[0], "i", b[1]))


_ENDS = tuple(
    (name, "H", MILLI) for name in ("linear_speed", "angular_speed", "linear_acceleration", "angular_acceleration")
)
_JOINT_LIMITS = (("joint", "B"), ("upper", "h", 100 * DEG), ("lower", "h", 100 * DEG), ("speed", "H", MILLI))
_LEVELS = tuple((f"joint{j}", "B") for j in range(1, 7))
_GRIPPER = (("teach_stroke", "B"), ("range", "B", MILLI), ("friction", "B"))

LAYOUTS: dict[int, Layout] = {
    STATUS: _layout(
        "status", "arm", ("ctrl_mode", "B"), ("arm_status", "B"), ("move_mode", "B"), ("teach_status", "B"),
        ("moving", "B"), ("trajectory", "B"), ("limit_bits", "B"), ("comm_bits", "B"),
    ),
    POSE_XY: _pair("pose_xy", "arm", ("x", MM), ("y", MM)),
    POSE_ZRX: _pair("pose_zrx", "arm", ("z", MM), ("rx", DEG)),
    POSE_RYRZ: _pair("pose_ryrz", "arm", ("ry", DEG), ("rz", DEG)),
    JOINT_12: _pair("joint_12", "arm", ("joint1", DEG), ("joint2", DEG)),
    JOINT_34: _pair("joint_34", "arm", ("joint3", DEG), ("joint4", DEG)),
    JOINT_56: _pair("joint_56", "arm", ("joint5", DEG), ("joint6", DEG)),
    GRIPPER: _layout("gripper", "arm", ("opening", "i", MM), ("effort", "h", MILLI), ("bits", "B")),
    **{i: _layout("motor_fast", "arm", ("velocity", "h", MILLI), ("current", "h", MILLI), ("position", "i", MILLI))
       for i in MOTOR_FAST},
    **{i: _layout("motor_slow", "arm", ("voltage", "H", 0.1), ("driver_temperature", "h", 1.0),
                  ("motor_temperature", "b", 1.0), ("bits", "B"), ("bus_current", "H", MILLI)) for i in MOTOR_SLOW},
    STOP: _layout("stop", "host", ("stop", "B"), ("track", "B"), ("teach", "B")),
    MODE: _layout("mode", "host", ("ctrl_mode", "B"), ("move_mode", "B"), ("speed", "B"), ("follow", "B"),
                  ("dwell", "B"), ("mounting", "B")),
    TARGET_XY: _pair("target_xy", "host", ("x", MM), ("y", MM)),
    TARGET_ZRX: _pair("target_zrx", "host", ("z", MM), ("rx", DEG)),
    TARGET_RYRZ: _pair("target_ryrz", "host", ("ry", DEG), ("rz", DEG)),
    TARGET_12: _pair("target_12", "host", ("joint1", DEG), ("joint2", DEG)),
    TARGET_34: _pair("target_34", "host", ("joint3", DEG), ("joint4", DEG)),
    TARGET_56: _pair("target_56", "host", ("joint5", DEG), ("joint6", DEG)),
    ARC_POINT: _layout("arc_point", "host", ("point", "B")),
    TARGET_GRIPPER: _layout("target_gripper", "host", ("opening", "i", MM), ("effort", "H", MILLI), ("code", "B"),
                            ("zero", "B")),
    LEADER_HOME: _layout("leader_home", "host", ("home", "B"), ("leader", "B"), ("both", "B")),
    LINKAGE: _layout("linkage", "host", ("role", "B"), ("feedback_offset", "B"), ("control_offset", "B"),
                     ("target_offset", "B")),
    ENABLE: _layout("enable", "host", ("motor", "B"), ("code", "B")),
    QUERY_JOINT: _layout("query_joint", "host", ("joint", "B"), ("what", "B")),
    LIMITS: _layout("limits", "arm", *_JOINT_LIMITS),
    SET_LIMITS: _layout("set_limits", "host", *_JOINT_LIMITS),
    SET_JOINT: _layout("set_joint", "host", ("joint", "B"), ("zero", "B"), ("valid", "B"),
                       ("acceleration", "H", 0.01), ("clear", "B")),
    ACK: _layout("ack", "arm", ("command", "B"), ("zeroed", "B"), ("point", "B"), ("package", "B"), ("name", "H"),
                 ("crc", "H")),
    QUERY: _layout("query", "host", ("what", "B"), ("reset", "B"), ("feedback_48x", "B"), ("valid", "B"),
                   ("load", "B")),
    END_LIMITS: _layout("end_limits", "arm", *_ENDS),
    SET_END_LIMITS: _layout("set_end_limits", "host", *_ENDS),
    SET_COLLISION: _layout("set_collision", "host", *_LEVELS),
    COLLISION: _layout("collision", "arm", *_LEVELS),
    ACCELERATION: _layout("acceleration", "arm", ("joint", "B"), ("acceleration", "H", 0.01)),
    SET_GRIPPER: _layout("set_gripper", "host", *_GRIPPER),
    GRIPPER_SETUP: _layout("gripper_setup", "arm", *_GRIPPER),
}  # fmt: skip
_PACKING = {can_id: layout.packing for can_id, layout in LAYOUTS.items()}


def encode(can_id: int, values: Mapping[str, float]) -> bytes:
    """The eight bytes of `can_id`; fields left out are 0. `values` are SI, rounded to the nearest count.

    Raises:
        ValueError: an id or field that the table does not have, or a value that its field cannot hold.
    """
    layout = LAYOUTS.get(can_id)
    if layout is None:
        raise ValueError(f"CAN id 0x{can_id:X} has no layout")
    unknown = set(values) - {f.name for f in layout.fields}
    if unknown:
        raise ValueError(f"{layout.name}: no field {sorted(unknown)} (valid: {[f.name for f in layout.fields]})")
    counts = [round(values.get(f.name, 0) / f.unit) for f in layout.fields]
    try:
        return _PACKING[can_id].pack(*counts)
    except struct.error as error:
        raise ValueError(f"{layout.name}: {dict(values)} does not fit the frame: {error}") from error


def decode(can_id: int, data: bytes | bytearray) -> dict[str, float]:
    """The SI values of a frame; codes and bits stay int. Short frames read as if padded with zeros.

    Raises:
        ValueError: an id that the table does not have.
    """
    layout = LAYOUTS.get(can_id)
    if layout is None:
        raise ValueError(f"CAN id 0x{can_id:X} has no layout")
    counts = _PACKING[can_id].unpack(bytes(data[:8]).ljust(8, b"\0"))
    return {f.name: n if isinstance(f.unit, int) else n * f.unit for f, n in zip(layout.fields, counts, strict=True)}


def counts(can_id: int, data: bytes | bytearray) -> dict[str, int]:
    """Like `decode`, but raw counts; for frames where a count such as `KEEP` is a code.

    Raises:
        ValueError: an id that the table does not have.
    """
    values = decode(can_id, data)
    return {f.name: round(values[f.name] / f.unit) for f in LAYOUTS[can_id].fields}


_FAST = struct.Struct(">8B" + "6i" + "6i" + "ihBx" + "hhi" * 6)
_SLOW = struct.Struct(">" + "HhbBH" * 6)


def pack_fast(
    status: Sequence[int],
    pose: Sequence[int],
    joints: Sequence[int],
    gripper: tuple[int, int, int],
    motors: Sequence[int],
) -> bytes:
    """The 14 frames of one 200 Hz cycle in one go, 8 bytes each in the order of `FAST_IDS`; all in counts.

    Args:
        status: the eight bytes of 0x2A1. pose: x y z [0.001 mm] rx ry rz [0.001 deg]. joints: (6,) [0.001 deg].
        gripper: opening [0.001 mm], effort [0.001 N m], bits.
        motors: (18,) velocity [0.001 rad/s], current [0.001 A], position [0.001 rad] of each motor.
    """
    return _FAST.pack(*status, *pose, *joints, *gripper, *motors)


def pack_slow(motors: Sequence[int]) -> bytes:
    """The six frames of one 40 Hz cycle, 8 bytes each in the order of `SLOW_IDS`.

    Args:
        motors: (30,) voltage [0.1 V], driver and motor temperature [C], bits, bus current [0.001 A] of each motor.
    """
    return _SLOW.pack(*motors)


def firmware_reply(hardware: str, kind: str, software: str, date: str) -> list[bytes]:
    """The 11 frames that answer 0x4AF: 88 characters, hardware at 0, kind at 32, software at 60, date at 68."""
    text = bytearray(88)
    for start, end, part in ((0, 32, hardware), (32, 60, kind), (60, 68, software), (68, 88, date)):
        raw = part.encode("ascii")
        if len(raw) > end - start:
            raise ValueError(f"firmware text {part!r}: at most {end - start} characters")
        text[start : start + len(raw)] = raw
    return [bytes(text[i : i + 8]) for i in range(0, 88, 8)]


def firmware_version(text: bytes) -> str | None:
    """The software version in a joined 0x4AF reply, the way piper_sdk finds it ("S-V" and five more characters)."""
    start = text.find(b"S-V")
    return text[start : start + 8].decode("ascii", "replace") if start >= 0 else None
