"""An episode as one picture: both cameras over time, joints, gripper, what the filter did, who had the arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reconvla_ros.errors import RecordingError, SetupError
from reconvla_ros.recording.episode import Episode
from reconvla_ros.recording.reading import Contents
from reconvla_ros.types import JOINT_NAMES

COLUMNS = 6  # pictures per camera
_COLORS = {"clamped": "tab:orange", "refused": "tab:red"}
_HOLDERS = {"policy": "tab:blue", "teleop": "tab:green", "replay": "tab:purple", "home": "tab:gray"}
Pictures = Mapping[str, Sequence[tuple[float, np.ndarray]]]


def draw(path: Path, episode: Episode, contents: Contents, pictures: Pictures, flags: Sequence[str]) -> None:
    """Write the picture.

    Args:
        path: PNG, PDF or SVG by its ending. pictures: per camera ([s], (H, W, 3) RGB). flags: in words.

    Raises:
        SetupError: matplotlib is not installed.
        RecordingError: the file cannot be written, or there is nothing to show.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SetupError("episodes show needs matplotlib; remedy: pip install matplotlib") from error
    rows = [(camera, row) for camera, row in sorted(pictures.items()) if row]
    if not rows and not contents.joints:
        raise RecordingError(f"episode {episode.name}: neither pictures nor joint states in the bag; nothing to show")
    figure = Figure(figsize=(15, 2.0 * len(rows) + 7.5), layout="constrained")
    grid = figure.add_gridspec(len(rows) + 3, COLUMNS, height_ratios=[*[2.0] * len(rows), 2.6, 1.6, 1.6])
    for row, (camera, shown) in enumerate(rows):
        for column, (seconds, pixels) in enumerate(shown[:COLUMNS]):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(pixels, interpolation="antialiased")
            axes.set_title(f"{camera}  {seconds:.1f} s", fontsize=8)
            axes.axis("off")
    first = len(rows)
    joints = figure.add_subplot(grid[first, :])
    gripper = figure.add_subplot(grid[first + 1, :], sharex=joints)
    actions = figure.add_subplot(grid[first + 2, :], sharex=joints)
    _joints(joints, contents)
    _gripper(gripper, contents)
    _actions(actions, contents)
    joints.set_xlim(0.0, max(0.1, (contents.end - contents.begin) / 1e9))
    actions.set_xlabel("time since the first message [s]")
    figure.suptitle(
        f"{episode.name}\n{episode.instruction!r}: {episode.outcome}"
        + (f", {episode.operator}" if episode.operator else "")
        + f", {episode.duration:.1f} s\n"
        + ("flags: " + "; ".join(flags) if flags else "no flags"),
        fontsize=10,
        color="black" if not flags else "tab:red",
    )
    try:
        figure.savefig(path, dpi=90)
    except (OSError, ValueError) as error:
        raise RecordingError(f"picture {path} cannot be written: {error}") from error


def _seconds(contents: Contents, stamps: Sequence[int]) -> np.ndarray:
    return (np.asarray(stamps, dtype=np.int64) - contents.begin) / 1e9


def _joints(axes: Any, contents: Contents) -> None:
    """Measured (thick) and applied (thin, dark) joints."""
    if contents.joints:
        times = _seconds(contents, [at for at, _, _ in contents.joints])
        values = np.array([position for _, position, _ in contents.joints])
        for k, name in enumerate(JOINT_NAMES):
            axes.plot(times, values[:, k], label=name, linewidth=1.8)
    applied = [(trace.at, trace.applied) for trace in contents.traces if np.isfinite(trace.applied).all()]
    if applied:
        axes.plot(_seconds(contents, [at for at, _ in applied]), np.array([v for _, v in applied]), "k-", linewidth=0.5)
    axes.set_ylabel("joints [rad]\nblack: applied")
    axes.legend(loc="upper right", ncols=6, fontsize=7)
    axes.grid(alpha=0.3)


def _gripper(axes: Any, contents: Contents) -> None:
    if contents.joints:
        axes.plot(_seconds(contents, [at for at, _, _ in contents.joints]),
                  [1e3 * opening for _, _, opening in contents.joints], label="measured", linewidth=1.8)  # fmt: skip
    for name, style in (("requested", "r:"), ("filtered", "k-")):
        shown = [(trace.at, getattr(trace, f"{name}_gripper")) for trace in contents.traces]
        shown = [(at, value) for at, value in shown if np.isfinite(value)]
        if shown:
            axes.plot(
                _seconds(contents, [at for at, _ in shown]), [1e3 * v for _, v in shown], style, label=name, lw=0.8
            )
    axes.set_ylabel("gripper\nopening [mm]")
    axes.legend(loc="upper right", ncols=3, fontsize=7)
    axes.grid(alpha=0.3)


def _actions(axes: Any, contents: Contents) -> None:
    """How far the TCP was sent beside where it was asked to go, what was clamped or refused, who had the lease."""
    shown = [t for t in contents.traces if np.isfinite(t.requested[:3]).all() and np.isfinite(t.filtered[:3]).all()]
    if shown:
        apart = [1e3 * float(np.linalg.norm(t.requested[:3] - t.filtered[:3])) for t in shown]
        axes.plot(_seconds(contents, [t.at for t in shown]), apart, "k-", linewidth=0.8, label="requested - filtered")
    for verdict, color in _COLORS.items():
        stamps = [trace.at for trace in contents.traces if trace.verdict == verdict]
        if stamps:
            axes.plot(
                _seconds(contents, stamps), np.zeros(len(stamps)), "|", color=color, label=f"{verdict} {len(stamps)}"
            )
    for holder, color in _HOLDERS.items():
        for k, (begin, end) in enumerate(contents.spans(holder)):
            axes.axvspan(begin, end, alpha=0.12, color=color, label=f"lease: {holder}" if k == 0 else None)
    axes.set_ylabel("filter [mm]")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper right", ncols=6, fontsize=7)
    axes.grid(alpha=0.3)
