"""When a bus counts as lost, and when to open it again. Pure; time is an argument."""

from __future__ import annotations

from dataclasses import dataclass

LOST_AFTER = 0.3  # [s] without a newer 0x2A1 or 0x2A5: 60 frames of each are missing
_FAILED_AFTER = 0.2  # [s] of failing reads or sends
_SILENT_AFTER = 2.0  # [s] of mere silence before the port is opened anew: it may be sound and the arm switched off
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 8.0  # [s] between two attempts, doubled each time


@dataclass
class LinkWatch:
    """Judges one link. One thread updates, others read.

    Attributes:
        lost: whether the arm is out of reach now: nothing may be sent.
        losses: how often it was lost; whoever sees a new number must forget where the arm was sent.
        attempts: openings since it was lost.
        words: for a person; empty while all is well.
    """

    lost: bool = False
    losses: int = 0
    attempts: int = 0
    words: str = ""

    def __post_init__(self) -> None:
        self._stamps: tuple[float, ...] = ()
        self._heard: list[int] = []  # when each stamp was last seen to change [ns]
        self._failing_since: int | None = None
        self._next_try = 0
        self._problem = ""

    def update(self, now_ns: int, stamps: tuple[float, ...], working: bool) -> bool:
        """One look at monotonic `now_ns`: the newest stamps of the arm's frames, and whether reads and sends succeed.

        Returns:
            Whether the port should be opened anew now; report the outcome with `tried`.
        """
        if len(self._heard) != len(stamps):
            self._stamps, self._heard = stamps, [now_ns] * len(stamps)
        for i, stamp in enumerate(stamps):
            if stamp != self._stamps[i]:
                self._heard[i] = now_ns
        self._stamps = stamps
        silent = (now_ns - min(self._heard)) / 1e9
        if working:
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = now_ns
        failing = 0.0 if self._failing_since is None else (now_ns - self._failing_since) / 1e9
        if silent <= LOST_AFTER and failing <= _FAILED_AFTER:
            if self.lost and working:
                self.lost, self.attempts, self.words, self._problem = False, 0, "", ""
            return False
        if not self.lost:
            self.lost, self.losses, self._next_try = True, self.losses + 1, now_ns
        self.words = self._say(silent, failing)
        return now_ns >= self._next_try and (failing > _FAILED_AFTER or silent > _SILENT_AFTER)

    def tried(self, now_ns: int, problem: str) -> None:
        """The port was opened anew, or could not be for `problem`."""
        self.attempts += 1
        self._problem, self._failing_since = problem, None
        self._next_try = now_ns + int(1e9 * min(_FIRST_PAUSE * 2 ** (self.attempts - 1), _LONGEST_PAUSE))

    def _say(self, silent: float, failing: float) -> str:
        what = "frames cannot be sent or read" if failing > _FAILED_AFTER else f"no frame of the arm for {silent:.1f} s"
        tries = f"; opened anew {self.attempts} times" if self.attempts else ""
        return what + tries + (f": {self._problem}" if self._problem else "")
