"""B9 of `reconvla bench policy`: one image from the camera's process to the policy's, beside zenoh and beside a bare ring.

Each side has a receiver in a process of its own; one process sends to all of them, in turns, frame by frame. Measured is from
before the image is sent until its pixels can be read in the receiver, on the clock both processes share.

``python -m reconvla_ros.bench.policy_hop send ROUNDS FRAMES`` prints the latencies as JSON; ``... receive SIDE ADDRESS`` is a
receiver.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker, shared_memory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reconvla_ros.bench.policy_bench import Progress, Settings
from reconvla_ros.bench.policy_images import HEIGHT, WIDTH, scene
from reconvla_ros.bench.policy_timing import Bound, compare, gather, milliseconds
from reconvla_ros.errors import SetupError

SIDES = ("ours", "zenoh", "ring")
ZENOH_BOUND = Bound(">=", 1.0)
FRAMES = 40  # of each side in a round
_WARM_UPS = 10  # frames of each side before the first round
_PAUSE = 0.006  # [s] between two frames; the receivers rest, as they do between a camera's frames
_PATIENCE = 20.0  # [s] for a receiver to come up, and for a frame to arrive
_TOPIC, _KEY, _FRAME = "camera_base/color/image_raw", "camera_base/color", "camera_base_color_optical_frame"
_OTHERS = 7  # what else the policy's node listens to; it costs time whenever the executor wakes
# Not from the folder we stand in: the sources there would hide the installed package with its messages.
_SELF = (sys.executable, "-m", "reconvla_ros.bench.policy_hop")
_SLOTS, _SIZE, _WORD = 4, HEIGHT * WIDTH * 3, struct.Struct("<qq")

Rgb = NDArray[np.uint8]
Send = Callable[[Rgb], None]


def measure(settings: Settings, progress: Progress) -> dict[str, Any]:
    """B9: latency of zenoh / ours, and of the ring / ours.

    Raises:
        SetupError: ROS or zenoh is not here, or a frame did not arrive.
    """
    for module, remedy in (("rclpy", "run it by ./reconvla"), ("reconvla_ros.msg", "run it by ./reconvla"),
                           ("zenoh", "pip install eclipse-zenoh==1.10.2")):  # fmt: skip
        if importlib.util.find_spec(module) is None:
            raise SetupError(f"B9 sends images over ROS and over zenoh, and {module} is not here; remedy: {remedy}")
    words = [*_SELF, "send", str(settings.rounds), str(FRAMES)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=os.sep)
    if done.returncode:
        raise SetupError(f"B9: the sender ended with status {done.returncode}: {(done.stderr or '').strip()[-500:]}")
    return judge(json.loads(done.stdout.splitlines()[-1]))


def judge(found: dict[str, list[list[float]]]) -> dict[str, Any]:
    """Seconds of every frame, by side and round -> the figures; a round counts by its median."""
    medians = {side: [float(np.median(frames)) for frames in rounds] for side, rounds in found.items()}
    tails = {f"{side}_p99_ms": milliseconds([s for frames in found[side] for s in frames], 99.0) for side in SIDES}
    zenoh = compare(medians["ours"], medians["zenoh"], ZENOH_BOUND) | tails
    ring = compare(medians["ours"], medians["ring"]) | tails
    notes = [
        f"p99: ours {tails['ours_p99_ms']:.3f} ms, zenoh {tails['zenoh_p99_ms']:.3f}, ring {tails['ring_p99_ms']:.3f}"
    ]
    return gather("zenoh", {"zenoh": zenoh, "ring": ring}) | {"notes": notes}


class Receiver:
    """A receiving process: told of frames by `send`, it answers with a line a frame. Use as a context manager."""

    def __init__(self, side: str, address: str) -> None:
        self.side = side
        words = [*_SELF, "receive", side, address]
        self._child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, cwd=os.sep)
        assert self._child.stdin is not None and self._child.stdout is not None
        self.inlet, self._outlet = self._child.stdin, self._child.stdout

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.wait()

    def line(self) -> str:
        """What it says next.

        Raises:
            SetupError: nothing within the patience.
        """
        if not select.select([self._outlet], [], [], _PATIENCE)[0]:
            raise SetupError(f"B9: nothing came over {self.side} within {_PATIENCE:g} s")
        return self._outlet.readline().decode()

    def heard(self, seconds: float) -> bool:
        """Whether it says something within so long; what it says is taken."""
        return bool(select.select([self._outlet], [], [], seconds)[0] and self._outlet.readline())

    def latency(self, mark: int) -> float:
        """Seconds that the frame took whose first byte is `mark`."""
        words = self.line().split()
        if len(words) != 2 or int(words[1]) != mark:
            raise SetupError(f"B9: {self.side} was sent the frame {mark} and answered {words}")
        return int(words[0]) / 1e9


def send_all(rounds: int, frames: int) -> dict[str, list[list[float]]]:
    """Seconds of every frame, by side and round."""
    image = scene(0)
    found: dict[str, list[list[float]]] = {side: [[] for _ in range(rounds)] for side in SIDES}
    with contextlib.ExitStack() as stack:
        ways = [stack.enter_context(_SENDERS[side]()) for side in SIDES]
        for count in range(-_WARM_UPS, rounds * frames):
            turn = count % len(ways)
            for receiver, send in ways[turn:] + ways[:turn]:
                image[0, 0, 0] = count % 256
                send(image)
                took = receiver.latency(count % 256)
                if count >= 0:
                    found[receiver.side][count // frames].append(took)
                time.sleep(_PAUSE)
    return found


def _got(pixels: Rgb, stamp_ns: int) -> None:
    """In a receiver: these pixels can be read now."""
    mark, now = int(pixels[0, 0, 0]), time.monotonic_ns()
    if pixels.shape != (HEIGHT, WIDTH, 3):
        raise SetupError(f"B9: an image of shape {pixels.shape} arrived")
    sys.stdout.write(f"{now - stamp_ns} {mark}\n")
    sys.stdout.flush()


@contextlib.contextmanager
def _to_ours() -> Iterator[tuple[Receiver, Send]]:
    """As camera_node publishes."""
    import rclpy
    from sensor_msgs.msg import Image

    from reconvla_ros.nodes import process, qos
    from reconvla_ros.nodes.serialized import image_bytes

    process.keep_memory()
    rclpy.init()
    publisher = rclpy.create_node("bench_camera").create_publisher(Image, _TOPIC, qos.IMAGE)
    with Receiver("ours", "") as receiver:
        receiver.line()
        end = time.monotonic() + _PATIENCE
        while not publisher.get_subscription_count():
            if time.monotonic() > end:
                raise SetupError(f"B9: the receiver did not subscribe within {_PATIENCE:g} s")
            time.sleep(0.02)

        def send(image: Rgb) -> None:
            publisher.publish(image_bytes(image, "rgb8", time.monotonic_ns(), _FRAME))

        # The sender knows the subscription; the receiver, which asks for nothing it missed, may not know the sender yet.
        send(scene(0))
        while not receiver.heard(0.5):
            if time.monotonic() > end:
                raise SetupError(f"B9: no image reached the receiver within {_PATIENCE:g} s")
            send(scene(0))
        while receiver.heard(0.5):
            pass
        yield receiver, send


def _from_ours(address: str) -> None:
    """As policy_node receives: every subscription raw, the newest wanted, the pixels read in place."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from sensor_msgs.msg import Image

    from reconvla_ros.nodes import process, qos
    from reconvla_ros.nodes.serialized import raw_to_rgb, stamp_of

    process.keep_memory()
    rclpy.init()
    node, executor = rclpy.create_node("bench_policy"), SingleThreadedExecutor()
    node.create_subscription(Image, _TOPIC, lambda data: _got(raw_to_rgb(data), stamp_of(data)), qos.NEWEST, raw=True)
    for index in range(_OTHERS):
        node.create_subscription(Image, f"other_{index}", lambda data: None, qos.NEWEST, raw=True)
    executor.add_node(node)
    print("ready", flush=True)
    while True:
        executor.spin_once(timeout_sec=0.2)


def _session(listen: str = "", connect: str = "") -> Any:
    import zenoh

    config = zenoh.Config()
    config.insert_json5("scouting/multicast/enabled", "false")
    config.insert_json5("transport/shared_memory/enabled", "false")
    config.insert_json5("listen/endpoints", json.dumps([listen] if listen else []))
    config.insert_json5("connect/endpoints", json.dumps([connect] if connect else []))
    return zenoh.open(config)


@contextlib.contextmanager
def _to_zenoh() -> Iterator[tuple[Receiver, Send]]:
    """zenoh over TCP on the loopback; its congestion control may not drop."""
    import zenoh

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp/127.0.0.1:{probe.getsockname()[1]}"
    session = _session(listen=address)
    publisher = session.declare_publisher(_KEY, congestion_control=zenoh.CongestionControl.BLOCK)
    with Receiver("zenoh", address) as receiver:
        receiver.line()
        end = time.monotonic() + _PATIENCE
        while not publisher.matching_status.matching:
            if time.monotonic() > end:
                raise SetupError(f"B9: zenoh did not connect within {_PATIENCE:g} s")
            time.sleep(0.02)

        def send(image: Rgb) -> None:
            stamp = time.monotonic_ns()
            publisher.put(image.tobytes(), attachment=_WORD.pack(0, stamp))

        yield receiver, send
    session.close()


def _from_zenoh(address: str) -> None:
    def on_sample(sample: Any) -> None:
        _, stamp = _WORD.unpack(sample.attachment.to_bytes())
        _got(np.frombuffer(sample.payload.to_bytes(), np.uint8).reshape(HEIGHT, WIDTH, 3), stamp)

    session = _session(connect=address)
    subscriber = session.declare_subscriber(_KEY, on_sample)
    print("ready", flush=True)
    sys.stdin.read()
    subscriber.undeclare()


@contextlib.contextmanager
def _to_ring() -> Iterator[tuple[Receiver, Send]]:
    """The floor: one copy into shared memory, one word down a pipe."""
    memory = shared_memory.SharedMemory(create=True, size=_SLOTS * _SIZE)
    slots: Rgb = np.ndarray((_SLOTS, HEIGHT, WIDTH, 3), np.uint8, memory.buf)
    try:
        with Receiver("ring", memory.name) as receiver:
            receiver.line()
            count = 0

            def send(image: Rgb) -> None:
                nonlocal count
                stamp = time.monotonic_ns()
                count += 1
                np.copyto(slots[count % _SLOTS], image)
                receiver.inlet.write(_WORD.pack(count % _SLOTS, stamp))

            yield receiver, send
    finally:
        memory.unlink()  # its map goes with the process: the array still points into it


def _from_ring(address: str) -> None:
    memory = shared_memory.SharedMemory(address)
    resource_tracker.unregister(f"/{address.lstrip('/')}", "shared_memory")  # it is the sender's to remove
    slots: Rgb = np.ndarray((_SLOTS, HEIGHT, WIDTH, 3), np.uint8, memory.buf)
    print("ready", flush=True)
    while word := os.read(0, _WORD.size):
        slot, stamp = _WORD.unpack(word)
        _got(slots[slot], stamp)


_SENDERS = {"ours": _to_ours, "zenoh": _to_zenoh, "ring": _to_ring}
_RECEIVERS = {"ours": _from_ours, "zenoh": _from_zenoh, "ring": _from_ring}


if __name__ == "__main__":
    if sys.argv[1] == "send":
        print(json.dumps(send_all(int(sys.argv[2]), int(sys.argv[3]))), flush=True)
        os._exit(0)  # without the middleware's farewell, which waits for nobody here
    _RECEIVERS[sys.argv[2]](sys.argv[3])
