"""The picture of `reconvla bench policy`: every ratio with its extremes beside its bound, and the stages of a chunk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reconvla_ros.errors import SetupError

GOOD, BAD, GREY = "#588157", "#c8553d", "#9a9a9a"


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
    """(label, figure) of every ratio that was measured: the parts of a bench that has several, but one of B5's many."""
    found = []
    for name, entry in result.items():
        if name in ("host", "profile") or entry.get("ratio") is None:
            continue
        parts = {} if "worst" in entry else entry.get("parts", {})
        found += [(f"{name} {part}", figure) for part, figure in parts.items()] if len(parts) > 1 else [(name, entry)]
    return found


def draw(result: dict[str, Any], path: Path) -> None:
    """Write the picture: the ratios on the left, on the right what a draft is worth and where the time of a chunk goes."""
    require(path)
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [
        (panel, result[name]) for name, panel in (("B4b", _drafts), ("profile", _stages)) if _measured(result, name)
    ]
    height = max(0.36 * len(rows(result)) + 1.2, 2.6 * len(panels))
    figure = pyplot.figure(figsize=(11 if panels else 7, height), layout="constrained")
    grid = figure.add_gridspec(max(len(panels), 1), 2 if panels else 1)
    _ratios(figure.add_subplot(grid[:, 0]), rows(result))
    for place, (panel, entry) in enumerate(panels):
        panel(figure.add_subplot(grid[place, 1]), entry)
    host = result["host"]
    figure.suptitle(f"reconvla bench policy: size {host['size']}, {host['device']}, {host['dtype']}", fontsize=10)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _measured(result: dict[str, Any], name: str) -> bool:
    return result.get(name, {}).get("ratio") is not None


def _ratios(axes: Any, figures: list[tuple[str, dict[str, Any]]]) -> None:
    for place, (_, entry) in enumerate(figures):
        colour = GREY if "kept" not in entry else GOOD if entry["kept"] else BAD
        low, high = entry.get("ratio_min", entry["ratio"]), entry.get("ratio_max", entry["ratio"])
        axes.plot([low, high], [place, place], color=colour, linewidth=2)
        axes.plot(entry["ratio"], place, "o", color=colour)
        axes.annotate(
            f"{entry['ratio']:.2f}", (high, place), (6, 0), textcoords="offset points", va="center", fontsize=8
        )
        if "bound" in entry:
            sense, _, value = entry["bound"].partition(" ")
            marker = {">=": ">", "<=": "<"}.get(sense, "|")
            axes.plot(float(value), place, marker, color="#222222", markersize=9, markerfacecolor="none")
    axes.set_yticks(range(len(figures)), [label for label, _ in figures])
    axes.set_ylim(len(figures) - 0.5, -0.5)
    axes.set_xscale("log")
    axes.margins(x=0.15)
    low, high = axes.get_xlim()
    axes.set_xticks([tick for tick in (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16) if low <= tick <= high])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("ratio, median and extremes; hollow: the bound, > at least, < at most", fontsize=8)


def _drafts(axes: Any, entry: dict[str, Any]) -> None:
    """Gain over the accuracy of the draft, with the passes it took."""
    points = [(float(name.removeprefix("p=")), figure) for name, figure in entry["parts"].items()]
    axes.plot([p for p, _ in points], [figure["ratio"] for _, figure in points], "o-", color=GOOD)
    for p, figure in points:
        axes.annotate(
            f"{figure['passes']:g} passes", (p, figure["ratio"]), (0, 6), textcoords="offset points", fontsize=8
        )
    axes.axhline(1.0, color=GREY, linewidth=1)
    axes.axhline(entry["limit"], color=GREY, linewidth=1, linestyle=":")
    axes.margins(0.15)
    axes.set_xlabel("share of the draft's tokens that are right", fontsize=8)
    axes.set_title("B4b: gain of a draft over one token a step (dotted: the limit)", fontsize=9)


def _stages(axes: Any, entry: dict[str, Any]) -> None:
    """Time of each stage beside its floor."""
    for place, times in enumerate(entry["stages_ms"].values()):
        axes.barh(place, times["p50"], color=GREY)
        if times["floor"] is not None:
            axes.barh(place, times["floor"], color=GOOD, height=0.4)
    axes.set_yticks(range(len(entry["stages_ms"])), list(entry["stages_ms"]))
    axes.invert_yaxis()
    axes.set_xlabel("[ms]; green: the least that memory and products of this machine allow", fontsize=8)
    axes.set_title("Where a chunk's time goes", fontsize=9)
