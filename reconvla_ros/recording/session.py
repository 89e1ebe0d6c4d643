"""The writer thread: messages are put from the middleware's side without waiting, and written on the other."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from reconvla_ros.errors import RecordingError
from reconvla_ros.recording.bag import BagSummary, BagWriter

SETTLE_PERIOD = 0.4  # [s] between writes to the disk itself; with the flush period, what a power cut may cost


class Taken(NamedTuple):
    """One serialised message on its way to the disk; times in ns, sequence 0 = unknown."""

    topic: str
    data: bytes
    log_ns: int
    publish_ns: int
    sequence: int = 0


class RecordingSession:
    """Owns an open BagWriter and the thread that feeds it.

    Args:
        bag: open, topics declared; this object closes it.
        queue_bytes: most that may wait for the disk [B]; a message beyond it is dropped and counted.
        flush_period: how often what was written is handed to the operating system [s].
    """

    def __init__(self, bag: BagWriter, queue_bytes: int = 256_000_000, flush_period: float = 0.5) -> None:
        self._bag = bag
        self._queue_bytes = queue_bytes
        self._flush_period = flush_period
        self._waiting: deque[Taken] = deque()
        self._waiting_bytes = 0
        self._wake = threading.Condition()
        self._closing = False
        self._error: str = ""
        self._dropped: dict[str, int] = {}
        self._marks: deque[tuple[float, dict[str, int]]] = deque(maxlen=64)
        self._thread = threading.Thread(target=self._run, name="bag-writer", daemon=True)
        self._thread.start()
        self._closed = threading.Event()
        self._settler = threading.Thread(target=self._settle, name="bag-settler", daemon=True)
        self._settler.start()

    def put(self, message: Taken) -> bool:
        """Queue one message; False when it was dropped (queue full, disk gone, closing). Never waits for the disk."""
        size = len(message.data)
        with self._wake:
            if self._closing or self._error or self._waiting_bytes + size > self._queue_bytes:
                self._dropped[message.topic] = self._dropped.get(message.topic, 0) + 1
                return False
            self._waiting.append(message)
            self._waiting_bytes += size
            self._wake.notify()
        return True

    @property
    def dropped(self) -> dict[str, int]:
        """Messages dropped on our side of the middleware, per topic."""
        with self._wake:
            return dict(self._dropped)

    @property
    def error(self) -> str:
        """Why writing stopped; empty while all is well."""
        return self._error

    def summary(self) -> BagSummary:
        """What is in the bag now."""
        return self._bag.summary()

    def rates(self, now: float | None = None) -> Mapping[str, float]:
        """Messages per second and topic, over about the last second before this call [Hz]; call it regularly."""
        now = time.monotonic() if now is None else now
        counts = self._bag.counts
        while len(self._marks) > 1 and now - self._marks[1][0] >= 1.0:
            self._marks.popleft()
        then, before = self._marks[0] if self._marks else (now, counts)
        self._marks.append((now, counts))
        span = now - then
        return {name: (count - before.get(name, 0)) / span if span > 0 else 0.0 for name, count in counts.items()}

    def close(self) -> BagSummary:
        """Write what waits, close the bag, end the thread; safe to call twice.

        Raises:
            RecordingError: the disk refused; the message says where the bag is cut.
        """
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        self._closed.set()
        self._settler.join()
        if self._error:
            with contextlib.suppress(RecordingError):
                self._bag.close()
            raise RecordingError(self._error)
        return self._bag.close()

    def _settle(self) -> None:
        while not self._closed.wait(SETTLE_PERIOD):
            self._bag.settle()

    def _run(self) -> None:
        flush_at = time.monotonic() + self._flush_period
        dirty = False
        while True:
            batch, closing = self._next_batch(max(0.0, flush_at - time.monotonic()))
            try:
                for message in batch:
                    self._bag.write(*message)
                dirty = dirty or bool(batch)
                if dirty and (closing or time.monotonic() >= flush_at):
                    self._bag.flush()
                    dirty = False
            except Exception as error:  # a thread that dies in silence would look like a recording
                known = isinstance(error, RecordingError)
                self._error = str(error) if known else f"writing failed: {type(error).__name__}: {error}"
                return
            finally:
                with self._wake:
                    self._waiting_bytes -= sum(len(message.data) for message in batch)
            if closing and not batch:
                return
            if time.monotonic() >= flush_at:
                flush_at = time.monotonic() + self._flush_period

    def _next_batch(self, timeout: float) -> tuple[list[Taken], bool]:
        """Everything that waits, after at most `timeout` [s]; and whether the session is closing."""
        with self._wake:
            if not self._waiting and not self._closing:
                self._wake.wait(timeout)
            batch = list(self._waiting)
            self._waiting.clear()
            return batch, self._closing
