"""The picture of `reconvla bench policy`: every ratio with its extremes beside its bound, and the stages of a chunk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reconvla_ros.errors import SetupError


def require(path: Path) -> None:
    """Raise where the picture could not be drawn.

    Raises:
        SetupError: matplotlib or the folder is missing.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise SetupError("--plot needs matplotlib: pip install matplotlib, or leave --plot out") from error
    if not path.parent.is_dir():
        raise SetupError(f"--plot {path}: folder {path.parent} does not exist")


def rows(result: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(label, figure) of every figure that was measured, parts instead of their whole."""
    found = []
    for name, entry in result.items():
        if name == "host" or entry.get("ratio") is None:
            continue
        parts = entry.get("parts") or {"": entry}
        found += [(f"{name} {part}".strip(), figure) for part, figure in parts.items()]
    return found


def draw(result: dict[str, Any], path: Path) -> None:
    """Write the picture."""
    require(path)
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figures = rows(result)
    figure, axes = pyplot.subplots(figsize=(8, 0.42 * len(figures) + 1.2), layout="constrained")
    for place, (_, entry) in enumerate(figures):
        colour = "#777777" if "kept" not in entry else "#588157" if entry["kept"] else "#c8553d"
        low, high = entry.get("ratio_min", entry["ratio"]), entry.get("ratio_max", entry["ratio"])
        axes.plot([low, high], [place, place], color=colour, linewidth=2)
        axes.plot(entry["ratio"], place, "o", color=colour)
        if "bound" in entry:
            sense, _, value = entry["bound"].partition(" ")
            marker = {">=": ">", "<=": "<"}.get(sense, "|")
            axes.plot(float(value), place, marker, color="#222222", markersize=9, markerfacecolor="none")
    axes.set_yticks(range(len(figures)), [label for label, _ in figures])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("ratio: median and extremes; > at least, < at most")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
