"""What may be used together, and what each refusal says."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from reconvla_ros.errors import ObservationError, ShapeError
from reconvla_ros.observation.assemble import AssemblyLimits, ObservationAssembler
from reconvla_ros.types import ArmState, Pose

MS = 1_000_000
NOW = 1_700_000_000_000_000_000


def image(value: int = 0) -> np.ndarray:
    return np.full((4, 6, 3), value, np.uint8)


def state(stamp_ns: int, first: float = 0.0) -> ArmState:
    return ArmState(stamp_ns, np.array([first, 0, 0, 0, 0, 0]), np.zeros(6), np.zeros(6), 0.05)


def pose(x: float = 0.3) -> Pose:
    return Pose(np.array([x, 0.0, 0.2]), np.array([0.0, 0.0, 0.0, 1.0]))


def full(now: int = NOW, base_age: int = 40, wrist_age: int = 30) -> ObservationAssembler:
    """Ages in ms; state and TCP every 5 ms with the age as the value."""
    assembler = ObservationAssembler()
    assembler.add_image("base", now - base_age * MS, image(1))
    assembler.add_image("wrist", now - wrist_age * MS, image(2))
    for age in range(600, -1, -5):
        assembler.add_state(state(now - age * MS, age / 1000))
        assembler.add_tcp(now - age * MS, pose(age / 1000))
    return assembler


def test_state_and_tcp_are_those_of_the_older_image() -> None:
    got = full(base_age=42, wrist_age=30).assemble(NOW, "put fruit in bowl", "t1")
    assert got.stamp_ns == NOW - 42 * MS
    assert got.state.position[0] == 0.04
    assert got.tcp.position[0] == 0.04
    assert (got.base[0, 0, 0], got.wrist[0, 0, 0]) == (1, 2)
    assert (got.instruction, got.task_id) == ("put fruit in bowl", "t1")


def test_nothing_came() -> None:
    with pytest.raises(ObservationError, match="camera base missing"):
        ObservationAssembler().assemble(NOW, "x", "t")


@pytest.mark.parametrize("gone", ["base", "wrist", "joint state", "TCP pose"])
def test_each_missing_stream_is_named(gone: str) -> None:
    assembler = ObservationAssembler()
    if gone != "base":
        assembler.add_image("base", NOW, image())
    if gone != "wrist":
        assembler.add_image("wrist", NOW, image())
    if gone != "joint state":
        assembler.add_state(state(NOW))
    if gone != "TCP pose":
        assembler.add_tcp(NOW, pose())
    with pytest.raises(ObservationError, match=f"{gone} missing"):
        assembler.assemble(NOW, "x", "t")


def test_an_image_exactly_at_the_bound_passes_and_one_beyond_is_stale() -> None:
    assert full(base_age=500, wrist_age=500).assemble(NOW, "x", "t").stamp_ns == NOW - 500 * MS
    with pytest.raises(ObservationError, match=r"camera wrist stale: newest image is 0\.501 s old, allowed 0\.5 s"):
        full(base_age=480, wrist_age=501).assemble(NOW, "x", "t")


def test_skew_beyond_the_bound_is_refused_with_its_value() -> None:
    assert full(base_age=80, wrist_age=30).assemble(NOW, "x", "t")
    with pytest.raises(ObservationError, match=r"skewed: base and wrist are at best 0\.051 s apart, allowed 0\.05 s"):
        full(base_age=81, wrist_age=30).assemble(NOW, "x", "t")


def test_an_older_frame_pairs_when_the_newest_ones_do_not() -> None:
    """A wrist camera whose images take 70 ms longer must not block: the ring holds older base frames."""
    assembler = full(base_age=100, wrist_age=95)
    assembler.add_image("base", NOW - 30 * MS, image(9))
    got = assembler.assemble(NOW, "x", "t")
    assert got.stamp_ns == NOW - 100 * MS
    assert got.base[0, 0, 0] == 1


def test_the_freshest_pair_wins() -> None:
    assembler = full(base_age=100, wrist_age=95)
    assembler.add_image("base", NOW - 30 * MS, image(9))
    assembler.add_image("wrist", NOW - 20 * MS, image(8))
    got = assembler.assemble(NOW, "x", "t")
    assert (got.base[0, 0, 0], got.wrist[0, 0, 0]) == (9, 8)


def test_a_future_image_is_refused() -> None:
    with pytest.raises(ObservationError, match=r"camera base refused: its stamp lies 0\.100 s in the future"):
        full(base_age=-100).assemble(NOW, "x", "t")


def test_one_future_image_does_not_block_those_that_follow() -> None:
    assembler = full(base_age=-3_600_000)
    assembler.add_image("base", NOW - 30 * MS, image(7))
    assert assembler.assemble(NOW, "x", "t").base[0, 0, 0] == 7


@pytest.mark.parametrize(("add", "name"), [("state", "joint state"), ("tcp", "TCP pose")])
def test_future_and_stale_state_is_refused(add: str, name: str) -> None:
    for offset, word in ((1000 * MS, "refused: its stamp lies 1.000 s in the future"), (-200 * MS, "stale")):
        assembler = ObservationAssembler()
        for camera in ("base", "wrist"):
            assembler.add_image(camera, NOW, image())
        assembler.add_state(state(NOW + (offset if add == "state" else 0)))
        assembler.add_tcp(NOW + (offset if add == "tcp" else 0), pose())
        with pytest.raises(ObservationError, match=f"{name} {word}"):
            assembler.assemble(NOW, "x", "t")


def test_only_the_frames_that_are_used_are_decoded_and_only_once() -> None:
    decoded: list[int] = []

    def lazy(age: int):  # type: ignore[no-untyped-def]
        def make() -> np.ndarray:
            decoded.append(age)
            return image()

        return make

    assembler = full()
    for age in (28, 20, 10):
        assembler.add_image("base", NOW - age * MS, lazy(age))
    assembler.assemble(NOW, "x", "t")
    assembler.assemble(NOW, "x", "t")
    assert decoded == [28]  # the closest in time to the wrist image, which is 30 ms old


def test_unknown_camera_names_the_choices() -> None:
    with pytest.raises(ObservationError, match=r"did you mean 'wrist'\? valid: base, wrist"):
        ObservationAssembler().add_image("wrst", NOW, image())


def test_empty_instruction_is_refused() -> None:
    with pytest.raises(ShapeError, match="instruction"):
        full().assemble(NOW, " ", "t")


def test_clear_forgets() -> None:
    assembler = full()
    assembler.clear()
    with pytest.raises(ObservationError, match="missing"):
        assembler.assemble(NOW, "x", "t")


def test_limits_can_be_set() -> None:
    assembler = ObservationAssembler(AssemblyLimits(image_stale=0.01))
    assembler.add_image("base", NOW - 11 * MS, image())
    with pytest.raises(ObservationError, match=r"stale.*allowed 0\.01 s"):
        assembler.assemble(NOW, "x", "t")


def test_many_threads_add_while_one_assembles() -> None:
    assembler = full()
    stop = threading.Event()
    errors: list[BaseException] = []

    def feed(name: str) -> None:
        try:
            while not stop.is_set():
                assembler.add_image(name, NOW - 30 * MS, image())
                assembler.add_state(state(NOW - 30 * MS))
                assembler.add_tcp(NOW - 30 * MS, pose())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=feed, args=(name,)) for name in ("base", "wrist")]
    for thread in threads:
        thread.start()
    for _ in range(200):
        assembler.assemble(NOW, "x", "t")
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors
