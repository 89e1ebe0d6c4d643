"""`reconvla convert`: recorded episodes to a data set that a model is trained on."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reconvla_ros.dataset.options import CODECS, FORMATS, INTERVENTIONS, MORE, Options, Place
from reconvla_ros.errors import DatasetError

_ALL, _LAST = "all", "last"


def place_of(words: Sequence[str], folder: Path | None, discarded: bool) -> Place:
    """The episodes that are named: a folder of episodes, or episodes of one folder by path or name, `all`, `last`.

    Raises:
        DatasetError: nothing of that name, or episodes of several folders.
    """
    from reconvla_ros.recording.episode import SIDECAR, EpisodeStore

    roots: dict[Path, list[str]] = {}
    for word in words:
        path = Path(word).expanduser()
        if path.is_dir() and not ((path / SIDECAR).is_file() or next(path.glob("*.mcap"), None)):
            roots.setdefault(path.absolute(), [])
        elif path.is_dir():
            roots.setdefault(path.absolute().parent, []).append(path.absolute().name)
        else:
            root = (folder or _default()).absolute()
            names = EpisodeStore(root).names()
            if word not in (_ALL, _LAST, *names):
                raise DatasetError(f"{word!r} is neither a folder nor an episode of {root}")
            roots.setdefault(root, []).extend([] if word == _ALL else names[-1:] if word == _LAST else [word])
    if len(roots) != 1:
        raise DatasetError(f"episodes must lie in one folder, got {', '.join(map(str, roots))}")
    root, names = next(iter(roots.items()))
    return Place("bag", root, tuple(dict.fromkeys(names)), discarded)


def _default() -> Path:
    from reconvla_ros.cli.places import share
    from reconvla_ros.config import load
    from reconvla_ros.recording.settings import RecorderConfig, episodes_folder

    return episodes_folder(load(RecorderConfig, share() / "config" / "recorder.yaml", "recorder"))


def add_common(parser: argparse.ArgumentParser) -> None:
    """Arguments that converting and importing share."""
    parser.add_argument("--out", type=Path, required=True, help="folder to make; it must not exist")
    parser.add_argument("--contract", help="contract.yaml to convert by, with its statistics; a name or a path "
                        "[the data's own, statistics of this data]")  # fmt: skip
    parser.add_argument("--quality", type=int, default=95, help="of the JPEG; 75 is the original's, 0 = PNG [95]")
    parser.add_argument("--workers", type=_count, default=os.cpu_count() or 1,
                        help="processes; the result is the same [one per core]")  # fmt: skip
    parser.add_argument("--sheet", type=Path, help="draw a contact sheet of the samples here (PNG)")
    parser.add_argument("--json", type=Path, help="write the report here too")


def _count(word: str) -> int:
    value = int(word)
    if not 1 <= value <= 256:
        raise argparse.ArgumentTypeError(f"must be in 1..256, got {value}")
    return value


def contract_text(choice: str | None) -> str:
    """YAML of the contract that is named; empty for none."""
    if not choice:
        return ""
    from reconvla_ros.policy.contract import choose_contract, to_yaml

    return to_yaml(choose_contract(choice))


def run(place: Place, options: Options, words: argparse.Namespace) -> int:
    """Convert, with a bar where somebody looks, and say what became of it.

    Raises:
        DatasetError: what stands in the way; then nothing of the name --out is there.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from reconvla_ros.dataset.convert import convert

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("ticks"),
               TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
    # No refreshing thread: without one the workers are forked (dataset/convert.py).
    quiet = not console.is_terminal
    with Progress(*columns, console=console, disable=quiet, transient=True, auto_refresh=False) as bar:
        task = bar.add_task("converting", total=None)
        report = convert(
            place, words.out, options, words.workers,
            lambda done, total: bar.update(task, completed=done, total=max(done, total), refresh=True),
        )  # fmt: skip
    found = report.as_json()
    if words.json is not None:
        try:
            words.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise DatasetError(f"--json {words.json}: cannot be written ({error.strerror})") from error
    show(found, words.out)
    if words.sheet is not None:
        from reconvla_ros.dataset.sheet import draw

        draw(words.out, words.sheet)
        print(words.sheet)
    return 0


def show(found: dict[str, Any], out: Path) -> None:
    """The report for a person."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("episode", "instruction", "outcome", "frames", "left out", "first reason"):
        table.add_column(column, justify="right" if column == "frames" else "left", overflow="fold")
    for row in found["by_episode"]:
        left = ", ".join(f"{count} {reason}" for reason, count in {**row["refused"], **row["notes"]}.items())
        table.add_row(row["name"], row["instruction"], row["outcome"], str(row["used"]), left or "nothing",
                      next(iter(row["examples"].values()), ""))  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    for name, reason in found["skipped"].items():
        print(f"left out: {name}: {reason}")
    refused = ", ".join(f"{count} {reason}" for reason, count in found["refused"].items()) or "none"
    print(f"{found['frames']} frames of {found['episodes']} episodes in {out}; ticks without a frame: {refused}")
    if "samples" in found:
        clipped = {axis: share for axis, share in found["clipped"].items() if share}
        print(f"{found['without_gaze']} samples without a gaze region (reconvla gaze); "
              f"{found['still']:.1%} stand still; beyond the contract's step and cut: "
              + (", ".join(f"{axis} {share:.1%}" for axis, share in clipped.items()) or "none"))  # fmt: skip
    if "short" in found:
        print(f"{found['pieces']} LeRobot episodes at {found['fps']} fps; {found['short']} frames in pieces too short")


def main(words: Sequence[str]) -> int:
    """0 = done, 2 = could not be done."""
    parser = argparse.ArgumentParser(
        "reconvla convert", description="Recorded episodes to a data set; a run that was cut goes on where it was."
    )
    parser.add_argument("episodes", nargs="+", help="a folder of episodes, or episodes by path or name; all, last")
    parser.add_argument("--folder", type=Path, help="where names are looked up [as config/recorder.yaml says]")
    parser.add_argument("--to", choices=FORMATS, required=True, help="format")
    parser.add_argument("--include", choices=MORE, action="append", default=[],
                        help="take these besides successes; may be given again")  # fmt: skip
    parser.add_argument("--actions", choices=("filtered", "measured"), default="filtered",
                        help="targets that the filter let through, or the path that was measured [filtered]")  # fmt: skip
    parser.add_argument("--interventions", choices=INTERVENTIONS, default="keep",
                        help="ticks in which a person had the arm [keep]")  # fmt: skip
    parser.add_argument("--rate", type=float, default=0.0, help="LeRobot frames per second [the contract's, 10]")
    parser.add_argument("--codec", choices=CODECS, default="h264", help="of LeRobot's videos [h264]")
    parser.add_argument("--crf", type=int, default=20, help="their quality, lower is better [20]")
    add_common(parser)
    options = parser.parse_args(words)
    if options.sheet is not None and options.to != "reconvla":
        raise DatasetError("--sheet shows ReconVLA samples; use it with --to reconvla")
    place = place_of(options.episodes, options.folder, "discarded" in options.include)
    wanted = Options(options.to, tuple(sorted(set(options.include))), options.actions, options.interventions,
                     contract_text(options.contract), options.rate, options.quality, options.codec, options.crf)  # fmt: skip
    return run(place, wanted, options)
