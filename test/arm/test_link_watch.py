from __future__ import annotations

from reconvla_ros.arm.link_watch import LinkWatch

MS = 1_000_000


class Bench:
    """A link looked at every 50 ms; remembers when it asked to be opened anew [s]."""

    def __init__(self) -> None:
        self.watch, self.now = LinkWatch(), 0
        self.asked: list[float] = []

    def run(self, seconds: float, alive: bool = True, working: bool = True, problem: str = "") -> None:
        for _ in range(round(seconds / 0.05)):
            self.now += 50 * MS
            stamp = float(self.now) if alive else -1.0
            if self.watch.update(self.now, (stamp, stamp), working):
                self.asked.append(self.now / 1e9)
                self.watch.tried(self.now, problem)


def test_a_sound_link_is_left_alone() -> None:
    bench = Bench()
    bench.run(10.0)
    assert bench.asked == [] and not bench.watch.lost and bench.watch.losses == 0


def test_silence_is_a_loss_at_once_and_a_reason_to_open_anew_later() -> None:
    bench = Bench()
    bench.run(1.0)
    bench.run(0.5, alive=False)
    assert bench.watch.lost and bench.watch.losses == 1 and bench.asked == []
    assert bench.watch.words.startswith("no frame of the arm for 0.")
    bench.run(29.5, alive=False)
    assert bench.watch.losses == 1
    pauses = [round(b - a, 2) for a, b in zip(bench.asked, bench.asked[1:], strict=False)]
    assert 3.0 <= bench.asked[0] <= 3.2 and pauses[:5] == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert "opened anew" in bench.watch.words


def test_one_of_two_streams_missing_is_a_loss() -> None:
    watch = LinkWatch()
    for k in range(20):
        watch.update(k * 50 * MS, (float(k), 7.0), True)
    assert watch.lost


def test_failing_reads_or_sends_are_answered_soon() -> None:
    bench = Bench()
    bench.run(1.0)
    for seconds in (0.4, 1.0):
        bench.run(seconds, alive=False, working=False, problem="CAN interface can0 is down")
        assert bench.watch.lost and 1.2 <= bench.asked[0] <= 1.31
    assert len(bench.asked) >= 2 and bench.watch.words.endswith("can0 is down")


def test_frames_that_come_while_none_can_be_sent_do_not_make_it_sound() -> None:
    bench = Bench()
    bench.run(1.0)
    bench.run(5.0, working=False)
    assert bench.watch.lost and len(bench.asked) >= 3
    assert bench.watch.losses == 1


def test_a_short_failure_is_no_loss() -> None:
    bench = Bench()
    for _ in range(5):
        bench.run(0.5)
        bench.run(0.1, working=False)
    assert bench.watch.losses == 0 and bench.asked == []


def test_it_ends_when_frames_are_back_and_the_next_loss_is_another() -> None:
    bench = Bench()
    bench.run(1.0)
    bench.run(5.0, alive=False)
    bench.run(0.1)
    assert not bench.watch.lost and bench.watch.words == "" and bench.watch.attempts == 0
    bench.run(1.0, alive=False)
    assert bench.watch.losses == 2
