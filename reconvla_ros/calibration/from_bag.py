"""Views from a recorded bag: moments at which the arm stood still, as different from each other as there are."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mcap.exceptions import McapError
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

from reconvla_ros.arm.firmware import dh_variant
from reconvla_ros.calibration.detect import Grey, grey_of
from reconvla_ros.calibration.views import PARENTS, Moment, Picture, Views, facts
from reconvla_ros.errors import CalibrationError, ObservationError
from reconvla_ros.observation.transforms import color_from_bytes
from reconvla_ros.types import JOINT_NAMES, CameraIntrinsics, Float

STILL = 0.15  # [s] before and after a picture during which the arm stands
STILL_WITHIN = 0.003  # [rad] and this is standing
APART = 0.05  # [rad] in some joint between two standstills that are told apart
MOST = 60  # pictures per camera, evenly over the standstills


def read(bag: Path, place: str = "table") -> Views:
    """Views of a bag (a folder with one MCAP file, or that file); topics are found in any namespace.

    Raises:
        CalibrationError: it cannot be read, lacks joints, pictures or camera_info, or the arm never stood still.
    """
    file = _file(bag)
    stamps, joints, firmware = list[int](), list[Float](), ""
    pinholes: dict[str, CameraIntrinsics] = {}
    for name, message in _messages(file, ("joint_states", "arm/status", *(f"{c}/color/camera_info" for c in PARENTS))):
        if name == "joint_states":
            values = dict(zip(message.name, message.position, strict=False))
            if all(joint in values for joint in JOINT_NAMES):
                stamps.append(_time(message.header.stamp))
                joints.append(np.array([values[joint] for joint in JOINT_NAMES], dtype=np.float64))
        elif name == "arm/status":
            firmware = message.firmware or firmware
        else:
            pinholes[name.split("/")[0]] = pinhole(message)
    if not stamps:
        raise CalibrationError(f"bag {file}: no joint_states with {JOINT_NAMES[0]}..{JOINT_NAMES[-1]}")
    stands = _standstills(np.array(stamps), np.array(joints))
    if not stands:
        raise CalibrationError(
            f"bag {file}: the arm never stood still for {2 * STILL:g} s; stop at each view for a moment"
        )
    pictures: dict[int, dict[str, Picture]] = {}
    for name, message in _messages(file, tuple(f"{c}/color/image_raw" for c in PARENTS)):
        stamp, camera = _time(message.header.stamp), name.split("/")[0]
        index = bisect_left([end for _, end, _ in stands], stamp)
        if index < len(stands) and stands[index][0] <= stamp and camera not in pictures.get(index, {}):
            pictures.setdefault(index, {})[camera] = Picture(grey(message), stamp)
    if not pictures:
        raise CalibrationError(f"bag {file}: no color/image_raw of {' or '.join(PARENTS)} while the arm stood still")
    cameras = {c: facts(c, pinholes.get(c)) for c in sorted({c for p in pictures.values() for c in p})}
    return Views(cameras, _moments(stands, pictures, place), dh_variant(firmware))


def _moments(stands: list[tuple[int, int, Float]], pictures: dict[int, dict[str, Picture]], place: str) -> list[Moment]:
    chosen = sorted(pictures)
    if len(chosen) > MOST:
        chosen = [chosen[int(k)] for k in np.linspace(0, len(chosen) - 1, MOST)]
    made = list[Moment]()
    for index in chosen:
        # The arm stands: its joints are those of the picture, whenever they were read within the standstill.
        stamp = next(iter(pictures[index].values())).stamp_ns
        near = {c: p for c, p in pictures[index].items() if abs(p.stamp_ns - stamp) < STILL * 1e9}
        same = {c: Picture(p.grey, stamp) for c, p in near.items()}
        made.append(Moment(str(len(made)), stands[index][2], stamp, same, place))
    return made


def _standstills(stamps: Any, joints: Float) -> list[tuple[int, int, Float]]:
    """(first stamp, last stamp, mean joints (6,)) of each, the swing after arriving left out; each pose once."""
    found: list[tuple[int, int, Float]] = []
    begin = 0
    for k in range(1, len(stamps) + 1):
        gap = k == len(stamps) or stamps[k] - stamps[k - 1] > 50_000_000
        if not gap and float(np.max(np.abs(joints[k] - joints[begin]))) <= STILL_WITHIN:
            continue
        first, last = stamps[begin] + STILL * 1e9, stamps[k - 1] - STILL * 1e9
        mean = joints[begin:k].mean(axis=0)
        if last > first and all(float(np.max(np.abs(mean - m))) > APART for _, _, m in found):
            found.append((int(first), int(last), mean))
        begin = k
    return found


def _file(bag: Path) -> Path:
    if bag.is_file():
        return bag
    found = sorted(bag.glob("*.mcap")) if bag.is_dir() else []
    if len(found) != 1:
        what = "does not exist" if not bag.exists() else f"holds {len(found)} .mcap files, one is needed"
        raise CalibrationError(f"bag {bag} {what}")
    return found[0]


def _messages(file: Path, names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """(name without namespace, decoded message) of some topics, in order."""
    factory, decoders = DecoderFactory(), dict[int, Callable[[bytes], Any]]()
    try:
        with file.open("rb") as stream:
            reader = make_reader(stream)
            held = [c.topic for c in (reader.get_summary().channels.values() if reader.get_summary() else ())]
            wanted = {t: n for t in held for n in names if f"/{t}".endswith(f"/{n}")}
            for schema, channel, message in reader.iter_messages(topics=list(wanted)) if wanted else ():
                if schema is None:
                    continue
                if channel.id not in decoders:
                    decode = factory.decoder_for(channel.message_encoding, schema)
                    if decode is None:
                        raise CalibrationError(f"bag {file}: {channel.topic} is {channel.message_encoding}, not cdr")
                    decoders[channel.id] = decode
                yield wanted[channel.topic], decoders[channel.id](message.data)
    except (McapError, OSError, EOFError, ValueError, KeyError) as error:
        raise CalibrationError(f"bag {file} cannot be read: {type(error).__name__}: {error}".rstrip(": ")) from error


def _time(stamp: Any) -> int:
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def grey(message: Any) -> Grey:
    """A sensor_msgs/Image, live or decoded -> grey levels (H, W).

    Raises:
        CalibrationError: an encoding that is no picture.
    """
    m = message
    try:
        return grey_of(color_from_bytes(bytes(m.data), m.height, m.width, m.step, m.encoding))
    except ObservationError as error:
        raise CalibrationError(str(error)) from error


def pinhole(message: Any) -> CameraIntrinsics:
    """A sensor_msgs/CameraInfo, live or decoded.

    Raises:
        CalibrationError: no intrinsics in it (an uncalibrated driver sends zeros), or a distortion that is not plumb_bob.
    """
    m, k = message, list(message.k)
    camera = m.header.frame_id.removesuffix("_color_optical_frame")
    if not k[0] > 0.0 or not k[4] > 0.0:
        raise CalibrationError(f"{camera}: no intrinsics: camera_info holds fx {k[0]:g}, fy {k[4]:g}")
    bends = [float(v) for v in m.d]
    if len(bends) > 5 or (any(bends) and m.distortion_model not in ("plumb_bob", "")):
        raise CalibrationError(
            f"{camera}: distortion {m.distortion_model!r} with {len(bends)} numbers; plumb_bob is known"
        )
    return CameraIntrinsics(m.width, m.height, k[0], k[4], k[2], k[5], np.array(bends + [0.0] * (5 - len(bends))))
