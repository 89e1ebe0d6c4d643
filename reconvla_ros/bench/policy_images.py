"""B7 and B8 of `reconvla bench policy`: what a picture costs on its way in, beside the original and beside a copy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reconvla_ros.bench.policy_bench import Progress, Settings
from reconvla_ros.bench.policy_timing import Bound, Side, compare, gather, judge, take_turns
from reconvla_ros.errors import SetupError
from reconvla_ros.model.images import AS_SERVED, CANVAS, SIDE, pixels

HEIGHT, WIDTH = 480, 640
PREPROCESS_BOUND = Bound(">=", 1.5)
MESSAGE_BOUND = Bound(">=", 0.4)
_REPEATS = {"preprocess": 5, "message": 30}  # calls in one measurement

Rgb = NDArray[np.uint8]


def preprocess(settings: Settings, progress: Progress) -> dict[str, Any]:
    """B7: two camera images to the tower's pixels, the original's way / ours; kept only when not a bit differs."""
    pairs = [tuple(scene(settings.seed + 2 * i + view) for view in (0, 1)) for i in range(3)]
    identical = all(np.array_equal(as_upstream(*pair), pixels(*pair, AS_SERVED)) for pair in pairs)

    def side(work: Callable[[Rgb, Rgb], object]) -> Side:
        return repeated(lambda index: work(*pairs[index % len(pairs)]), _REPEATS["preprocess"])

    ours, other = side(lambda base, wrist: pixels(base, wrist, AS_SERVED)), side(as_upstream)
    found = take_turns({"ours": ours, "other": other}, settings.rounds)
    figure = compare(found["ours"], found["other"], PREPROCESS_BOUND) | {"identical": identical}
    return figure if identical else {**figure, "kept": False, "notes": ["the pixels differ from the original's"]}


def message(settings: Settings, progress: Progress) -> dict[str, Any]:
    """B8: one memcpy of an image / building its message and reading it back; and the same for its bytes on the wire.

    Raises:
        SetupError: no ROS here.
    """
    try:
        from reconvla_ros.nodes.convert import from_image, to_image
        from reconvla_ros.nodes.serialized import image_bytes, raw_to_rgb
    except ImportError as error:
        raise SetupError(
            f"B8 builds ROS messages, and {error.name} is not here; remedy: run it by ./reconvla"
        ) from error
    image = scene(settings.seed)
    target = np.empty_like(image)
    sides = {
        "memcpy": lambda index: np.copyto(target, image),
        "message": lambda index: from_image(to_image(image, "rgb8", index, "camera_optical_frame")),
        "wire": lambda index: raw_to_rgb(image_bytes(image, "rgb8", max(index, 0), "camera_optical_frame")),
    }
    for name in ("message", "wire"):
        if not np.array_equal(sides[name](0), image):
            return judge({"ratio": 0.0, "notes": [f"{name}: the image that was read back differs"]}, MESSAGE_BOUND)
    found = take_turns({name: repeated(work, _REPEATS["message"]) for name, work in sides.items()}, settings.rounds)
    parts = {name: compare(found[name], found["memcpy"], MESSAGE_BOUND) for name in ("message", "wire")}
    return gather("message", parts)


def scene(seed: int) -> Rgb:
    """A picture (480, 640, 3) with slopes, edges and a little noise, as a camera gives."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    slope = np.dstack([rows * 160 // HEIGHT, columns * 160 // WIDTH, (rows + columns) * 160 // (HEIGHT + WIDTH)])
    boxes = rng.integers(0, 60, (HEIGHT // 40, WIDTH // 40, 3)).repeat(40, 0).repeat(40, 1)
    return np.clip(slope + boxes + rng.normal(0, 4, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)


def as_upstream(base: Rgb, wrist: Rgb) -> NDArray[np.float32]:
    """What the original's server does with two images: Pillow's LANCZOS and paste, then the processor of SigLIP.

    The processor (transformers 4.43) goes through Pillow's BICUBIC, a scaling in float64 and a normalisation in float32.
    """
    canvas = Image.new("RGB", (CANVAS, CANVAS))
    row = 0
    for view, height in zip((base, wrist), AS_SERVED, strict=True):
        canvas.paste(Image.fromarray(view).resize((CANVAS, height), Image.Resampling.LANCZOS), (0, row))
        row += height
    small = np.array(Image.fromarray(np.array(canvas)).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    scaled = (small * (1 / 255)).astype(np.float32)
    half = np.full(3, 0.5, np.float32)
    return np.ascontiguousarray(((scaled - half) / half).transpose(2, 0, 1)[None])


def repeated(work: Callable[[int], object], count: int) -> Side:
    """A side that does `work` so many times and tells the seconds of one."""

    def side(index: int) -> float:
        begin = time.perf_counter()
        for repeat in range(count):
            work(index * count + repeat)
        return (time.perf_counter() - begin) / count

    return side
