"""Camera views as MP4 and back, through PyAV (FFmpeg's libraries).

One encoder thread and no B-frames: the bytes depend on the pictures only, not on the processors of the machine, and pieces
can be put one behind the other without encoding them again. A key frame every second picture, for random access.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from reconvla_ros.dataset.disk import writing
from reconvla_ros.dataset.frame import Rgb
from reconvla_ros.errors import DatasetError

_ENCODERS = {"h264": "libx264", "av1": "libsvtav1"}
_PRESETS = {"h264": {"preset": "veryfast", "bf": "0"}, "av1": {"preset": "10", "svtav1-params": "lp=1:pred-struct=1"}}
KEY_EVERY = 2
PIXELS = "yuv420p"


class VideoWriter:
    """Encodes pictures of one size, `fps` a second, to an MP4.

    Raises:
        DatasetError: pictures of another size, an odd size. DiskError: the disk refuses.
    """

    def __init__(self, path: Path, fps: int, codec: str, crf: int) -> None:
        self._path, self._fps, self._codec, self._crf = path, fps, codec, crf
        self._container: Any = None
        self._stream: Any = None
        self.frames = 0

    def add(self, pixels: Rgb) -> None:
        """One picture (H, W, 3) RGB."""
        height, width = pixels.shape[:2]
        if height % 2 or width % 2:
            raise DatasetError(f"video {self._path.name}: {PIXELS} needs even sides, got {width} x {height}")
        with writing(self._path, FFmpegError):
            if self._container is None:
                self._open(width, height)
            if (self._stream.width, self._stream.height) != (width, height):
                raise DatasetError(
                    f"video {self._path.name}: pictures must keep their size {self._stream.width} x "
                    f"{self._stream.height}, got {width} x {height}"
                )
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts = self.frames
            frame.time_base = Fraction(1, self._fps)
            self._container.mux(self._stream.encode(frame))
        self.frames += 1

    def _open(self, width: int, height: int) -> None:
        self._container = av.open(str(self._path), "w", format="mp4")
        stream = self._container.add_stream(_ENCODERS[self._codec], rate=self._fps)
        stream.width, stream.height, stream.pix_fmt = width, height, PIXELS
        stream.options = {**_PRESETS[self._codec], "crf": str(self._crf), "g": str(KEY_EVERY)}
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, self._fps)
        self._stream = stream

    def close(self) -> None:
        """Write what the encoder still holds, and the end of the file."""
        if self._container is None:
            return
        with writing(self._path, FFmpegError):
            self._container.mux(self._stream.encode())
            self._container.close()
        self._container = None


def join(parts: Sequence[tuple[Path, int]], out: Path, fps: int) -> None:
    """Put videos one behind the other without encoding them again.

    Args:
        parts: file and number of pictures of each, all made by `VideoWriter` in the same way.

    Raises:
        DiskError: one cannot be read, the disk refuses.
    """
    with (
        writing(out, FFmpegError),
        av.open(str(out), "w", format="mp4", options={"movflags": "+faststart"}) as target,
    ):
        stream: Any = None
        before = 0
        for path, frames in parts:
            with av.open(str(path)) as source:
                video = source.streams.video[0]
                if stream is None:
                    stream = target.add_stream_from_template(video)
                shift = round(Fraction(before, fps) / video.time_base)
                for packet in source.demux(video):
                    if packet.dts is None:  # the flush at the end
                        continue
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = stream
                    target.mux(packet)
            before += frames


def pictures(path: Path, begin: float, count: int) -> Iterator[Rgb]:
    """`count` pictures (H, W, 3) RGB from time `begin` [s] on.

    Raises:
        DatasetError: it cannot be read, or ends before.
    """
    given = 0
    try:
        with av.open(str(path)) as source:
            video = source.streams.video[0]
            half = 0.5 / float(video.average_rate or 1)
            source.seek(max(0, int((begin - half) / video.time_base)), stream=video, backward=True)
            for frame in source.decode(video):
                if frame.time is None or frame.time < begin - half:
                    continue
                if given == count:
                    break
                yield frame.to_ndarray(format="rgb24")
                given += 1
    except (FFmpegError, OSError, IndexError) as error:
        raise DatasetError(f"video {path} cannot be read: {error}") from error
    if given < count:
        raise DatasetError(f"video {path}: {count} pictures wanted from {begin:g} s on, it has {given}")
