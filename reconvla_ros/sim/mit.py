"""The MIT frames 0x15A..0x15F in the three forms that firmware has had. Pure.

| firmware | form |
|---|---|
| before S-V1.7-3 | 8-bit torque, check nibble; joints 1, 2, 4, 6 turn the other way |
| up to S-V1.8-2 | 8-bit torque, check nibble; joints 1 to 3 execute four times the sent torque |
| up to S-V1.8-7 | 8-bit torque, check nibble |
| from S-V1.8-8 | 12-bit torque of -16..16 N m, no check nibble, mode code 6 instead of 4 |

The first two differences hold together before S-V1.7-3. Source: AgileX's documents and piper_control.
"""

from __future__ import annotations

from dataclasses import dataclass

FLIPPED = (1, 2, 4, 6)  # joints


@dataclass(frozen=True)
class MitTarget:
    """One 0x15A..0x15F frame: position [rad], velocity [rad/s], kp [N m/rad], kd [N m s/rad], torque [N m]."""

    position: float
    velocity: float
    kp: float
    kd: float
    torque: float


_MIT = ((-12.5, 12.5, 16), (-45.0, 45.0, 12), (0.0, 500.0, 12), (-5.0, 5.0, 12), (-8.0, 8.0, 8))
_WIDE = (*_MIT[:4], (-16.0, 16.0, 12))


@dataclass(frozen=True)
class MitForm:
    """How one firmware takes MIT frames: `code` of the mode in 0x151 and 0x2A1, sign and torque factor, torque bits."""

    code: int = 4
    flipped: bool = False
    quarter: bool = False
    wide: bool = False

    @property
    def effort_scale(self) -> float:
        """What joints 1 to 3 report of their torque."""
        return 0.25 if self.quarter else 1.0

    def read(self, joint: int, data: bytes) -> MitTarget:
        """What the motor of `joint` (1..6) does with a frame.

        Raises:
            ValueError: the check nibble is wrong.
        """
        target = _unpack(int.from_bytes(data, "big"), _WIDE) if self.wide else decode_mit(data)
        sign = -1.0 if self.flipped and joint in FLIPPED else 1.0
        factor = sign * (4.0 if self.quarter and joint <= 3 else 1.0)
        return MitTarget(sign * target.position, sign * target.velocity, target.kp, target.kd, factor * target.torque)


def form_of(version: str) -> MitForm:
    """The form of firmware `version`, for example "S-V1.8-5"."""
    return MitForm(
        code=6 if version >= "S-V1.8-8" else 4,
        flipped=version < "S-V1.7-3",
        quarter=version <= "S-V1.8-2",
        wide=version >= "S-V1.8-8",
    )


def encode_mit(target: MitTarget) -> bytes:
    """The eight-bit torque form with its check nibble (firmware before S-V1.8-8).

    Raises:
        ValueError: a value outside its range.
    """
    word = 0
    values = (target.position, target.velocity, target.kp, target.kd, target.torque)
    for value, (low, high, bits) in zip(values, _MIT, strict=True):
        if not low <= value <= high:
            raise ValueError(f"MIT value {value} is outside {low}..{high}")
        word = (word << bits) | round((value - low) * ((1 << bits) - 1) / (high - low))
    body = (word << 4).to_bytes(8, "big")
    return body[:7] + bytes([body[7] | _check_nibble(body)])


def _check_nibble(body: bytes) -> int:
    check = 0
    for byte in body[:7]:
        check ^= byte
    return check & 0xF


def decode_mit(data: bytes) -> MitTarget:
    """Reverse of `encode_mit`.

    Raises:
        ValueError: the check nibble is wrong.
    """
    if data[7] & 0xF != _check_nibble(data):
        raise ValueError(f"MIT frame {data.hex()}: check nibble {data[7] & 0xF} != {_check_nibble(data)}")
    return _unpack(int.from_bytes(data, "big") >> 4, _MIT)


def _unpack(word: int, ranges: tuple[tuple[float, float, int], ...]) -> MitTarget:
    values = []
    for low, high, bits in reversed(ranges):
        values.append(low + (word & ((1 << bits) - 1)) * (high - low) / ((1 << bits) - 1))
        word >>= bits
    return MitTarget(*reversed(values))
