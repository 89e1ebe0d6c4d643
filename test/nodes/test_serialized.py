"""Images as bytes: the same as the middleware's own, in both directions, and nothing cut off gets through."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image

from reconvla_ros.errors import ObservationError
from reconvla_ros.nodes import convert, serialized
from reconvla_ros.observation.transforms import COLOR_ENCODINGS, ENCODINGS

RNG = np.random.default_rng(3)
STAMP = 1_700_000_000_123_456_789
# Names of every length modulo four, so that every alignment of what follows is met.
FRAMES = ("", "x", "ab", "abc", "abcd", "camera_wrist_color_optical_frame", "kamera_höhe")


def picture(encoding: str, height: int = 5, width: int = 7) -> np.ndarray:
    kind, channels, _ = ENCODINGS[encoding]
    shape = (height, width) if channels == 1 else (height, width, channels)
    return RNG.integers(0, 250, shape).astype(kind)


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_bytes_are_those_of_the_message(encoding: str, frame: str) -> None:
    pixels = picture(encoding)
    made = serialized.image_bytes(pixels, encoding, STAMP, frame)
    assert made == bytes(serialize_message(convert.to_image(pixels, encoding, STAMP, frame)))
    message = deserialize_message(made, Image)
    assert message.header.frame_id == frame
    assert serialized.stamp_of(made) == convert.from_time(message.header.stamp) == STAMP
    np.testing.assert_array_equal(convert.from_image(message), pixels)


def test_a_view_that_is_not_contiguous_is_sent_right() -> None:
    pixels = picture("rgb8", 6, 10)[::-1, ::2]
    np.testing.assert_array_equal(serialized.raw_to_rgb(serialized.image_bytes(pixels, "rgb8", 0, "f")), pixels)


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("encoding", COLOR_ENCODINGS)
def test_the_pixels_read_in_place_are_those_of_the_message(encoding: str, frame: str) -> None:
    message = convert.to_image(picture(encoding), encoding, STAMP, frame)
    np.testing.assert_array_equal(serialized.raw_to_rgb(serialize_message(message)), convert.to_rgb(message))


def test_padded_rows() -> None:
    message = Image(height=2, width=1, encoding="bgr8", step=5, data=[1, 2, 3, 88, 88, 4, 5, 6, 99, 99])
    np.testing.assert_array_equal(serialized.raw_to_rgb(serialize_message(message)), [[[3, 2, 1]], [[6, 5, 4]]])


def test_packed_rgb_is_read_without_a_copy() -> None:
    data = serialized.image_bytes(picture("rgb8"), "rgb8", STAMP, "f")
    pixels = serialized.raw_to_rgb(data)
    assert np.shares_memory(pixels, np.frombuffer(data, np.uint8))
    assert not pixels.flags.writeable


def test_a_sender_of_the_other_byte_order_is_understood() -> None:
    pixels = picture("rgb8", 1, 2)
    fields = struct.pack(">iI", STAMP // 10**9, STAMP % 10**9) + struct.pack(">I", 2) + b"f\0" + bytes(2)
    fields += struct.pack(">III", 1, 2, 5) + b"rgb8\0" + b"\1" + bytes(2) + struct.pack(">II", 6, 6) + pixels.tobytes()
    data = b"\0\0\0\0" + fields
    assert deserialize_message(data, Image).step == 6  # the middleware reads it so
    assert serialized.stamp_of(data) == STAMP
    image = serialized.image_of(data)
    assert image is not None and image.big_endian and (image.height, image.width, image.step) == (1, 2, 6)
    np.testing.assert_array_equal(serialized.raw_to_rgb(data), pixels)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (Image(height=1, width=1, encoding="16UC1", step=2, data=[0, 0]), "colour encoding '16UC1'"),
        (Image(height=1, width=1, encoding="bayer_rggb8", step=1, data=[0]), "colour encoding 'bayer_rggb8'"),
        (Image(height=1, width=1, encoding="", step=3, data=[0, 0, 0]), "colour encoding ''"),
        (Image(height=1, width=1, encoding="Ωß", step=3, data=[0, 0, 0]), "colour encoding 'Ωß'"),
        (Image(height=2, width=2, encoding="rgb8", step=6, data=[0] * 6), "6 bytes do not hold 2 rows"),
        (Image(height=1, width=2, encoding="rgb8", step=5, data=[0] * 6), "at step 5"),
        (Image(height=0, width=0, encoding="rgb8"), "0 bytes do not hold 0 rows"),
        (Image(height=2**32 - 1, width=2**32 - 1, encoding="rgb8", step=2**32 - 1, data=[1]), "1 bytes do not hold"),
    ],
    ids=lambda value: value.encoding if isinstance(value, Image) else "",
)
def test_what_is_no_colour_image_is_refused_as_before(message: Image, said: str) -> None:
    data = serialize_message(message)
    with pytest.raises(ObservationError, match=said):
        serialized.raw_to_rgb(data)
    with pytest.raises(ObservationError, match=said):
        convert.to_rgb(message)


def test_every_cut_is_noticed() -> None:
    """A message of n bytes, cut at any place: refused by name, never read beyond its end."""
    whole = serialized.image_bytes(picture("rgb8", 2, 2), "rgb8", STAMP, "optical")
    for length in range(12, len(whole)):
        with pytest.raises(ObservationError, match=f"image message of {length} bytes is cut off"):
            serialized.raw_to_rgb(whole[:length])
    for length in range(12):
        with pytest.raises(ObservationError, match=f"message of {length} bytes is cut off"):
            serialized.stamp_of(whole[:length])


def test_a_length_that_lies_is_noticed() -> None:
    whole = bytearray(serialized.image_bytes(picture("rgb8", 2, 2), "rgb8", STAMP, "abc"))
    struct.pack_into("<I", whole, 12, 2**32 - 1)
    with pytest.raises(ObservationError, match="4294967295 bytes announced at 16"):
        serialized.raw_to_rgb(bytes(whole))


def test_another_representation_goes_to_the_middleware(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not plain CDR (an XCDR2 sender) is not guessed at."""
    data = b"\0\7" + serialized.image_bytes(picture("rgb8"), "rgb8", STAMP, "f")[2:]
    assert serialized.image_of(data) is None
    asked: list[bytes] = []

    def deserialize(data: bytes, kind: type) -> Image:
        asked.append(data)
        return Image(height=1, width=1, encoding="rgb8", step=3, data=[1, 2, 3])

    monkeypatch.setattr(serialized, "deserialize_message", deserialize)
    assert serialized.raw_to_rgb(data).tolist() == [[[1, 2, 3]]]
    assert asked == [data]


def test_thinned_tells_of_a_message_without_a_stamp() -> None:
    """It ended the node."""
    told: list[str] = []
    used: list[bytes] = []
    callback = serialized.thinned(used.append, 0, told.append)
    callback(b"\0\1\0\0")
    whole = serialized.image_bytes(picture("rgb8"), "rgb8", STAMP, "f")
    callback(whole)
    callback(whole)
    assert told == ["message of 4 bytes is cut off: a header begins with 12"]
    assert used == [whole, whole]
