"""`reconvla episodes`: what was recorded: list, show, relabel, delete, restore, purge, verify, recover, replay."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from reconvla_ros.errors import RecordingError, SetupError
from reconvla_ros.recording.episode import OUTCOMES, Episode, EpisodeStore, read_sidecar
from reconvla_ros.recording.repair import bag_file, recover_episode, state_of

_LAST, _ALL = "last", "all"


def _root(options: argparse.Namespace) -> Path:
    if options.folder is not None:
        return Path(options.folder).expanduser()
    from reconvla_ros.cli.places import share
    from reconvla_ros.config import load
    from reconvla_ros.recording.settings import RecorderConfig, episodes_folder

    return episodes_folder(load(RecorderConfig, share() / "config" / "recorder.yaml", "recorder"))


def _pick(options: argparse.Namespace) -> list[tuple[EpisodeStore, str]]:
    """The episodes that are named: names, paths, `last`, `all`.

    Raises:
        RecordingError: there is none of that name.
    """
    picked = []
    for word in options.episode:
        path = Path(word)
        if "/" in word or (path.is_dir() and not (_root(options) / word).is_dir()):
            store, name = EpisodeStore(path.absolute().parent), path.absolute().name
            store.existing(name)
            picked.append((store, name))
            continue
        store = EpisodeStore(_root(options))
        names = store.names()
        if word in (_LAST, _ALL) and word not in names:
            if not names:
                raise RecordingError(f"no episodes in {store.root}")
            picked += [(store, name) for name in (names[-1:] if word == _LAST else names)]
        else:
            store.existing(word)
            picked.append((store, word))
    return picked


def _flags(episode: Episode) -> list[str]:
    """What a person should know before using it, in words."""
    flags = list(episode.quality.get("flags", ()))
    lost = sum(episode.dropped.values())
    flags += [f"{lost} lost"] if lost else []
    flags += [f"{len(episode.interventions)} interventions"] if episode.interventions else []
    return flags


def _sidecar(folder: Path) -> Episode:
    try:
        return read_sidecar(folder)
    except RecordingError as error:
        return Episode(name=folder.name, instruction="?", note=str(error))


def _write_json(path: Path | None, value: object) -> None:
    if path is not None:
        try:
            path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise SetupError(f"--json {path}: cannot be written ({error.strerror})") from error


def _list(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    store = EpisodeStore(_root(options))
    table, rows = Table(box=None, pad_edge=False), []
    for column in ("episode", "instruction", "outcome", "state", "s", "MB", "operator", "flags"):
        table.add_column(column, justify="right" if column in ("s", "MB") else "left", overflow="fold")
    for name in store.names():
        folder = store.root / name
        episode, state = _sidecar(folder), state_of(folder)
        row = (name, episode.instruction, episode.outcome, state, f"{episode.duration:.1f}", f"{episode.bytes / 1e6:.0f}",
               episode.operator, ", ".join([*_flags(episode), *filter(None, [episode.note])]))  # fmt: skip
        table.add_row(*row)
        rows.append(dict(zip(("name", "instruction", "outcome", "state"), row[:4], strict=True))
                    | {"duration": episode.duration, "bytes": episode.bytes, "operator": episode.operator,
                       "tags": list(episode.tags), "flags": _flags(episode), "note": episode.note})  # fmt: skip
    _write_json(options.json, rows)
    trashed = store.trashed()
    if rows:
        Console(width=None if sys.stdout.isatty() else 200).print(table)
    print(f"{len(rows)} episodes in {store.root}" + (f", {len(trashed)} in the trash" if trashed else ""))
    return 0


def _show(options: argparse.Namespace) -> int:
    from reconvla_ros.recording import reading, sheet
    from reconvla_ros.recording.settings import COLORS

    for store, name in _pick(options):
        folder = store.root / name
        file, episode = bag_file(folder), _sidecar(folder)
        contents = reading.read(file, rates=reading.rates_of(episode.parameters))
        color = [topic for topic in contents.types if topic in COLORS]
        pictures = {t.split("/")[0]: reading.pictures(file, t, sheet.COLUMNS) for t in color if contents.counts[t]}
        flags = [*contents.quality["flags"]]
        verdicts = contents.verdicts
        flags += [f"{verdicts[v]} {v}" for v in ("clamped", "refused") if verdicts[v]]
        flags += [f"{len(contents.spans('teleop'))} interventions"] if contents.spans("teleop") else []
        flags += [] if episode.outcome != "unlabeled" else ["unlabeled"]
        out = options.output or folder / "show.png"
        sheet.draw(out, episode, contents, pictures, flags)
        print(
            f"{name}: {episode.instruction!r}, {episode.outcome}, {episode.duration:.1f} s, flags: {', '.join(flags) or 'none'}"
        )
        print(out)
    return 0


def _relabel(options: argparse.Namespace) -> int:
    for store, name in _pick(options):
        changed = store.relabel(name, options.outcome, options.instruction, options.tag)
        print(f"{name}: {changed.outcome}, {changed.instruction!r}, tags {', '.join(changed.tags) or 'none'}")
    return 0


def _delete(options: argparse.Namespace) -> int:
    for store, name in _pick(options):
        if state_of(store.root / name) == "recording":
            raise RecordingError(f"episode {name} is being recorded; reconvla record stop --discard throws it away")
        store.delete(name)
        print(f"{name} is in the trash; reconvla episodes restore {name} brings it back, purge deletes for good")
    return 0


def _restore(options: argparse.Namespace) -> int:
    for name in options.episode:
        print(EpisodeStore(_root(options)).restore(name))
    return 0


def _purge(options: argparse.Namespace) -> int:
    print(f"{EpisodeStore(_root(options)).purge()} episodes deleted for good")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from reconvla_ros.recording.verify import verify

    verdicts = [verify(store.root / name) for store, name in _pick(options)]
    for verdict in verdicts:
        print(f"{verdict.name}: {'good' if verdict.flawless else 'good, with flaws' if verdict.ok else 'BAD'}")
        for check in verdict.checks:
            if options.verbose or not check.ok:
                word = "ok" if check.ok else "flaw" if check.warning else "BAD"
                print(f"  {word:<5} {check.name:<12} {check.detail}")
    _write_json(options.json, [verdict.as_json() for verdict in verdicts])
    good = [v.flawless if options.strict else v.ok for v in verdicts]
    return 0 if all(good) else 1


def _recover(options: argparse.Namespace) -> int:
    options.episode = options.episode or [_ALL]
    status, rows = 0, []
    for store, name in _pick(options):
        try:
            before = state_of(store.root / name)
            if before == "recording":
                print(f"{name}: is being recorded; left alone")
                continue
            episode, found = recover_episode(store, name)
            print(f"{name}: {'whole' if before == 'ok' else episode.note}")
            rows.append({"episode": name, "before": before, "messages": found.messages, "end_ns": found.end_ns,
                         "lost_bytes": found.lost_bytes, "damaged": found.damaged})  # fmt: skip
        except RecordingError as error:
            print(f"{name}: NOT recovered: {error}", file=sys.stderr)
            status = 1
    _write_json(options.json, rows)
    return status


def _replay(options: argparse.Namespace) -> int:
    from reconvla_ros.cli.episodes_replay import replay
    from reconvla_ros.recording import reading
    from reconvla_ros.recording.replay import plan

    picked = _pick(options)
    if len(picked) != 1:
        raise RecordingError(f"replay takes one episode, got {len(picked)}")
    store, name = picked[0]
    folder = store.root / name
    wanted = plan(reading.read(bag_file(folder), images=False))
    simulator = _sidecar(folder).parameters.get("simulator", {})
    result = replay(wanted, options, (str(simulator.get("scene", "fruit_in_bowl")), str(simulator.get("seed", 0))))
    _write_json(options.json, {"episode": name, **result})
    reasons = ", ".join(f"{reason} {count}" for reason, count in result["reasons"].items()) or "none"
    print(f"{name}: {result['targets']} targets in {result['seconds']:g} s; off the recorded path rms {result['rms_mm']:g} mm, "
          f"at most {result['largest_mm']:g} mm and {result['largest_deg']:g} deg; reasons of the filter: {reasons}")  # fmt: skip
    return 0 if result["largest_mm"] <= options.within else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("reconvla episodes", description="What was recorded.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str, episodes: str = "") -> Any:
        made = commands.add_parser(name, help=text, description=text)
        made.add_argument("--folder", help="of the episodes [as config/recorder.yaml says]")
        if episodes:
            made.add_argument("episode", nargs=episodes, help="name, path, last or all")
        made.set_defaults(run=run)
        return made

    add("list", _list, "what there is").add_argument("--json", type=Path, help="write it here too")
    show = add("show", _show, "pictures, joints, gripper and flags as one picture", "+")
    show.add_argument("--output", type=Path, help="PNG, PDF or SVG [show.png in the episode]")
    relabel = add("relabel", _relabel, "change the label of an episode", "+")
    relabel.add_argument("--outcome", default="", choices=("", *OUTCOMES))
    relabel.add_argument("--instruction", default="", help="what was demonstrated")
    relabel.add_argument("--tag", action="append", default=[], help="free word; may be given several times")
    add("delete", _delete, "move episodes to the trash", "+")
    add("restore", _restore, "bring episodes back from the trash", "+")
    add("purge", _purge, "delete for good what is in the trash")
    verify = add("verify", _verify, "read every message with code that is not the recorder's; 0 = good", "+")
    verify.add_argument("--strict", action="store_true", help="flaws (gaps, skew, losses, no label) are bad too")
    verify.add_argument("--verbose", action="store_true", help="show what is well, too")
    verify.add_argument("--json", type=Path, help="write it here too")
    recover = add("recover", _recover, "make episodes readable that a crash cut; all that need it by default", "*")
    recover.add_argument("--json", type=Path, help="write it here too")
    replay = add("replay", _replay, "the arm repeats an episode, through the driver and its filter", "+")
    replay.add_argument(
        "--arm", choices=("sim", "graph"), default="sim", help="a simulated arm of its own, or the running graph"
    )
    replay.add_argument("--speed", type=_speed, default=1.0, help="share of the recorded pace, 0.1 to 1 [1]")
    replay.add_argument("--within", type=float, default=20.0, help="largest distance from the recorded path [20 mm]")
    replay.add_argument("--namespace", default="", help="of the running graph")
    replay.add_argument("--json", type=Path, help="write the result here")
    return parser


def _speed(word: str) -> float:
    value = float(word)
    if not 0.1 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"must be in 0.1..1, got {value:g}")
    return value


def main(words: Sequence[str]) -> int:
    """0 = done, or good; 1 = not good; 2 = could not be tried."""
    options = _parser().parse_args(words)
    return int(options.run(options))
