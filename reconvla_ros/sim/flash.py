"""The parameters an arm keeps in flash, and the frames that ask for them and change them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from reconvla_ros.sim import frames
from reconvla_ros.tables import JOINT_LOWER, JOINT_MAX_ACCELERATION, JOINT_MAX_VELOCITY, JOINT_UPPER

Reply = tuple[int, bytes]

# End speed and acceleration: the example of the AgileX documents. [m/s], [rad/s], [m/s^2], [rad/s^2]
END_DEFAULTS = {
    "linear_speed": 0.5,
    "angular_speed": 0.13,
    "linear_acceleration": 0.8,
    "angular_acceleration": 0.2,
}


@dataclass
class Flash:
    """What survives a power cut: joint limits [rad], [rad/s], [rad/s^2], end limits, collision levels, gripper.

    `answer` takes a query or a writing frame and gives the frames sent in return.
    """

    version: str
    gripper_range: int = 70  # [mm] 70 or 100; 0 = never set: the gripper ignores commands
    lower: list[float] = field(default_factory=lambda: list(JOINT_LOWER))
    upper: list[float] = field(default_factory=lambda: list(JOINT_UPPER))
    speed: list[float] = field(default_factory=lambda: [JOINT_MAX_VELOCITY] * 6)
    acceleration: list[float] = field(default_factory=lambda: [JOINT_MAX_ACCELERATION] * 6)
    end: dict[str, float] = field(default_factory=lambda: dict(END_DEFAULTS))
    collision: list[int] = field(default_factory=lambda: [0] * 6)
    teach_stroke: int = 100
    friction: int = 1

    def answer(self, can_id: int, data: bytes) -> list[Reply]:
        """Replies to `data`; an empty list for frames that are none of this table's business or make no sense."""
        handler = _HANDLERS.get(can_id)
        return handler(self, data) if handler else []

    def _query_joint(self, data: bytes) -> list[Reply]:
        ask = frames.counts(frames.QUERY_JOINT, data)
        joint = ask["joint"]
        if not 1 <= joint <= 6:
            return []
        if ask["what"] == 1:
            return [self._limits(joint)]
        if ask["what"] == 2:
            value = {"joint": joint, "acceleration": self.acceleration[joint - 1]}
            return [(frames.ACCELERATION, frames.encode(frames.ACCELERATION, value))]
        return []

    def _limits(self, joint: int) -> Reply:
        j = joint - 1
        value = {"joint": joint, "upper": self.upper[j], "lower": self.lower[j], "speed": self.speed[j]}
        return frames.LIMITS, frames.encode(frames.LIMITS, value)

    def _set_limits(self, data: bytes) -> list[Reply]:
        raw, value = frames.counts(frames.SET_LIMITS, data), frames.decode(frames.SET_LIMITS, data)
        if not 1 <= raw["joint"] <= 6:
            return []
        for name, store in (("upper", self.upper), ("lower", self.lower), ("speed", self.speed)):
            if raw[name] != frames.KEEP:
                store[raw["joint"] - 1] = value[name]
        return [acknowledge(frames.SET_LIMITS)]

    def _set_joint(self, data: bytes) -> list[Reply]:
        raw, value = frames.counts(frames.SET_JOINT, data), frames.decode(frames.SET_JOINT, data)
        chosen = range(6) if raw["joint"] == 7 else range(raw["joint"] - 1, raw["joint"])
        if not 1 <= raw["joint"] <= 7 or raw["zero"] == 0xAE:
            return []  # setting a new zero is not modelled: the frame is not acknowledged either
        if raw["valid"] == 0xAE and raw["acceleration"] != frames.KEEP:
            for j in chosen:
                self.acceleration[j] = value["acceleration"]
        return [acknowledge(frames.SET_JOINT)]

    def _query(self, data: bytes) -> list[Reply]:
        ask = frames.counts(frames.QUERY, data)
        if ask["reset"] == 1:
            self.end = dict(END_DEFAULTS)
        if ask["reset"] == 2:
            self.lower, self.upper = list(JOINT_LOWER), list(JOINT_UPPER)
            self.speed, self.acceleration = [JOINT_MAX_VELOCITY] * 6, [JOINT_MAX_ACCELERATION] * 6
        if ask["what"] == 1:
            return [(frames.END_LIMITS, frames.encode(frames.END_LIMITS, self.end))]
        if ask["what"] == 2:
            levels = {f"joint{j + 1}": level for j, level in enumerate(self.collision)}
            return [(frames.COLLISION, frames.encode(frames.COLLISION, levels))]
        if ask["what"] == 4:
            setup = {"teach_stroke": self.teach_stroke, "range": self.gripper_range / 1000, "friction": self.friction}
            return [(frames.GRIPPER_SETUP, frames.encode(frames.GRIPPER_SETUP, setup))]
        return [acknowledge(frames.QUERY)]

    def _set_end(self, data: bytes) -> list[Reply]:
        raw, value = frames.counts(frames.SET_END_LIMITS, data), frames.decode(frames.SET_END_LIMITS, data)
        self.end.update({name: value[name] for name in self.end if raw[name] != frames.KEEP})
        return [acknowledge(frames.SET_END_LIMITS)]

    def _set_collision(self, data: bytes) -> list[Reply]:
        levels = list(frames.counts(frames.SET_COLLISION, data).values())
        if max(levels) > 8:
            return []
        self.collision = levels
        return [acknowledge(frames.SET_COLLISION)]

    def _set_gripper(self, data: bytes) -> list[Reply]:
        raw = frames.counts(frames.SET_GRIPPER, data)
        if raw["range"] not in (0, 70, 100):
            return []
        self.gripper_range, self.teach_stroke, self.friction = raw["range"], raw["teach_stroke"], raw["friction"]
        return [acknowledge(frames.SET_GRIPPER)]

    def _firmware(self, data: bytes) -> list[Reply]:
        if data[:1] != b"\x01":
            return []
        parts = frames.firmware_reply("H-V1.2-1", "AGX-PIPER-SIM", self.version, "2025-01-01")
        return [(frames.FIRMWARE, part) for part in parts]


def acknowledge(command: int) -> Reply:
    """The 0x476 that follows a writing frame: byte 0 is the low byte of its id."""
    return frames.ACK, frames.encode(frames.ACK, {"command": command & 0xFF})


_HANDLERS: dict[int, Callable[[Flash, bytes], list[Reply]]] = {
    frames.QUERY_JOINT: Flash._query_joint,
    frames.SET_LIMITS: Flash._set_limits,
    frames.SET_JOINT: Flash._set_joint,
    frames.QUERY: Flash._query,
    frames.SET_END_LIMITS: Flash._set_end,
    frames.SET_COLLISION: Flash._set_collision,
    frames.SET_GRIPPER: Flash._set_gripper,
    frames.FIRMWARE: Flash._firmware,
}
