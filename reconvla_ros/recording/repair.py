"""An episode after a crash: its bag made whole, its sidecar brought in line with what the bag holds."""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict, replace
from pathlib import Path

from reconvla_ros.errors import RecordingError
from reconvla_ros.recording.disk import is_being_written
from reconvla_ros.recording.episode import RESERVE, SIDECAR, Episode, EpisodeStore, read_sidecar, write_sidecar
from reconvla_ros.recording.recover import Recovered, is_whole, recover_file

NOTE = "reconvla_ros.episode"  # metadata record of the bag: the sidecar as it was when the episode began
UNKNOWN = "unknown (recovered without a sidecar)"


def note_of(episode: Episode) -> dict[str, str]:
    """The sidecar as a metadata record of the bag, for the day the sidecar is lost."""
    return {"episode.json": json.dumps(asdict(episode), ensure_ascii=False)}


def bag_file(folder: Path) -> Path:
    """The one MCAP file of an episode.

    Raises:
        RecordingError: there is none, or there are several.
    """
    found = sorted(folder.glob("*.mcap"))
    if len(found) != 1:
        held = ", ".join(sorted(p.name for p in folder.iterdir())) if folder.is_dir() else "nothing"
        raise RecordingError(
            f"episode {folder}: expected one .mcap file, found {len(found)} (it holds {held or 'nothing'})"
        )
    return found[0]


def state_of(folder: Path) -> str:
    """ok; recording (somebody writes it); cut (`recover` makes it readable); unfinished (no end in its sidecar); no bag."""
    try:
        file = bag_file(folder)
    except RecordingError:
        return "no bag"
    if is_being_written(file):
        return "recording"
    if not is_whole(file) or not (folder / "metadata.yaml").exists():
        return "cut"
    try:
        return "ok" if read_sidecar(folder).ended else "unfinished"
    except RecordingError:
        return "unfinished"


def recover_episode(store: EpisodeStore, name: str) -> tuple[Episode, Recovered]:
    """Make bag and sidecar whole; an episode that is whole stays as it is.

    Raises:
        RecordingError: no such episode, it is being recorded, or its bag cannot be recovered.
    """
    folder = store.existing(name)
    file = bag_file(folder)
    found = recover_file(file)
    episode = _sidecar(folder, found)
    if found.whole and episode.ended:
        return episode, found
    duration = (found.end_ns - found.start_ns) / 1e9
    what = f"recovered: {found.messages} messages, {duration:.2f} s"
    if found.lost_bytes:
        what += f", {found.lost_bytes} bytes of an unfinished chunk left out"
    if found.damaged:
        what += f", {found.damaged} damaged places left out (original kept as {file.name}.damaged)"
    end = datetime.datetime.fromtimestamp(found.end_ns / 1e9 or file.stat().st_mtime, datetime.timezone.utc)
    mended = replace(
        episode,
        name=folder.name,
        ended=episode.ended or end.isoformat(timespec="milliseconds"),
        duration=duration,
        counts=dict(found.counts),
        bytes=found.bytes or episode.bytes,
        started_ns=found.start_ns,
        note="; ".join(filter(None, (episode.note, what))),
    )
    (folder / RESERVE).unlink(missing_ok=True)
    write_sidecar(folder, mended)
    return mended, found


def _sidecar(folder: Path, found: Recovered) -> Episode:
    """The sidecar on disk; else the one the bag began with; else one that says that nothing is known."""
    if (folder / SIDECAR).is_file():
        return read_sidecar(folder)
    text = found.notes.get(NOTE, {}).get("episode.json", "")
    if not text:
        return Episode(name=folder.name, instruction=UNKNOWN)
    known = {k: v for k, v in json.loads(text).items() if k in Episode.__dataclass_fields__}
    return Episode(**{**known, "tags": tuple(known.get("tags", ()))})
