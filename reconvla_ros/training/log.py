"""What a run says: lines with the time left, a CSV, TensorBoard and a picture of the curve."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

COLUMNS = (
    *("step", "seconds", "loss", "action", "gaze", "correct", "lr", "norm", "samples_per_s", "memory_gb"),
    *("val_action", "val_gaze", "val_correct"),
)
"""Of metrics.csv; `correct` is the share of tokens that greedy decoding would choose, `norm` the gradient's before clipping."""
FILE = "metrics.csv"
EVERY = 5.0
"""Seconds between two lines."""


def duration(seconds: float) -> str:
    """``1:02:03`` or ``02:03``."""
    whole = max(round(seconds), 0)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60:02d}:{rest % 60:02d}"


class Log:
    """Rows of a run; one process writes it.

    Args:
        folder: of the run.
        first: first step that will be logged; rows of later steps, which a run that was cut short left, are dropped.
        total: steps in all.
        say: gets a line now and then.
    """

    def __init__(self, folder: Path, first: int, total: int, say: Callable[[str], None]) -> None:
        self.file, self.total, self.say = folder / FILE, total, say
        self._begin = self._spoke = time.monotonic()
        self._first = first
        rows = [r for r in read(self.file) if int(r["step"]) < first] if self.file.is_file() else []
        self._before = float(rows[-1]["seconds"]) if rows else 0.0
        with self.file.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        self._board = _board(folder, first, say)

    @property
    def seconds(self) -> float:
        """Time in this and earlier parts of the run [s]."""
        return self._before + time.monotonic() - self._begin

    def row(self, step: int, **values: float) -> None:
        """Write one step; `values` are some of `COLUMNS`."""
        row: dict[str, Any] = {"step": step, "seconds": round(self.seconds, 2)}
        row |= {name: float(f"{value:.6g}") for name, value in values.items()}
        with self.file.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, COLUMNS).writerow(row)
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
        done = step + 1
        if time.monotonic() - self._spoke < EVERY and done < self.total and "val_action" not in values:
            return
        self._spoke = time.monotonic()
        left = (time.monotonic() - self._begin) / (done - self._first) * (self.total - done)
        self.say(self._line(done, values, left))

    def _line(self, done: int, values: dict[str, float], left: float) -> str:
        words = [f"step {done}/{self.total}", f"loss {values['loss']:.4f} (action {values['action']:.4f}"]
        words[-1] += f", gaze {values['gaze']:.4f})" if "gaze" in values else ")"
        words += [
            f"{values['correct']:.0%} right",
            f"{values['samples_per_s']:.2f} samples/s",
            f"{values['memory_gb']:.2f} GB",
        ]
        if "val_action" in values:
            gaze = f", gaze {values['val_gaze']:.4f}" if "val_gaze" in values else ""
            words.append(f"held out: action {values['val_action']:.4f}{gaze}, {values['val_correct']:.0%} right")
        return ", ".join(words) + f", {duration(left)} left"

    def close(self) -> None:
        """Flush, and draw the curve where matplotlib is installed."""
        if self._board is not None:
            self._board.close()
        plot(self.file, self.file.with_name("curve.png"))


def _board(folder: Path, first: int, say: Callable[[str], None]) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        say(f"TensorBoard is not installed: figures go to {FILE} alone")
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=first)  # type: ignore[no-untyped-call]


def read(file: Path) -> list[dict[str, str]]:
    """Rows of a metrics.csv; a value that was not measured is empty."""
    with file.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def plot(file: Path, picture: Path) -> bool:
    """Draw losses over steps; false without matplotlib or without rows."""
    rows = read(file)
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    if not rows:
        return False
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, part in zip(axes, ("action", "gaze"), strict=True):
        for name, style in ((part, "-"), (f"val_{part}", "o-")):
            points = [(int(r["step"]) + 1, float(r[name])) for r in rows if r[name]]
            if points:
                axis.plot(*zip(*points, strict=True), style, label="held out" if name.startswith("val") else "training")
        axis.set(title=f"{part} loss", xlabel="step", yscale="log")
        axis.grid(alpha=0.3, which="both")
        if axis.lines:
            axis.legend()
    figure.savefig(picture, dpi=120)
    return True
