"""Episodes: a folder each, a sidecar that says what it shows, and the rules of starting, ending and discarding.

The sidecar ``episode.json`` is written when the episode starts (outcome unlabeled), so a crash leaves an episode that
still says what it was, and written again when it ends.
"""

from __future__ import annotations

import datetime
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from reconvla_ros.errors import RecordingError, choices

SIDECAR = "episode.json"
SIDECAR_VERSION = 1
OUTCOMES = ("success", "failure", "unlabeled")
MAX_INSTRUCTION = 500  # as the task service
DISCARDED = ".discarded-"
_SLUG_LENGTH = 40


@dataclass(frozen=True)
class Episode:
    """What the sidecar holds.

    Attributes:
        name: of the folder. instruction: what is demonstrated. operator: who demonstrates. tags: free words.
        outcome: success, failure or unlabeled.
        started, ended: UTC, ISO 8601; `ended` is empty while it runs and after a crash.
        duration: [s], first to last message.
        counts: messages per topic. dropped: messages known to be lost, per topic.
        bytes: serialised [B].
        note: what went wrong, if anything.
        software: versions of what wrote it.
        version: of this layout.
    """

    name: str
    instruction: str
    operator: str = ""
    tags: tuple[str, ...] = ()
    outcome: str = "unlabeled"
    started: str = ""
    ended: str = ""
    duration: float = 0.0
    counts: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    bytes: int = 0
    note: str = ""
    software: Mapping[str, str] = field(default_factory=dict)
    version: int = SIDECAR_VERSION


def check_outcome(outcome: str) -> str:
    """The outcome, '' meaning unlabeled.

    Raises:
        RecordingError: not one of OUTCOMES.
    """
    if outcome and outcome not in OUTCOMES:
        raise RecordingError(f"outcome {choices(outcome, OUTCOMES)}")
    return outcome or "unlabeled"


def episode_name(instruction: str, at: datetime.datetime) -> str:
    """`20260131T142501Z_put-fruit-in-bowl`: sorts by time and says what it is."""
    slug = re.sub(r"[^a-z0-9]+", "-", instruction.lower())[:_SLUG_LENGTH].strip("-")
    return f"{at.astimezone(datetime.timezone.utc):%Y%m%dT%H%M%SZ}_{slug or 'episode'}"


def write_sidecar(folder: Path, episode: Episode) -> None:
    """Replace the sidecar of `folder` in one step.

    Raises:
        RecordingError: the folder cannot be written.
    """
    partial = folder / f".{SIDECAR}.part"
    try:
        partial.write_text(json.dumps(asdict(episode), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(folder / SIDECAR)
    except OSError as error:
        raise RecordingError(f"sidecar {folder / SIDECAR} cannot be written: {error.strerror}") from error


def read_sidecar(folder: Path) -> Episode:
    """The sidecar of an episode folder.

    Raises:
        RecordingError: there is none, it is not JSON, or it has keys this version does not know.
    """
    path = folder / SIDECAR
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordingError(f"{path} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise RecordingError(f"{path}: expected a mapping, got {type(data).__name__}")
    known = Episode.__dataclass_fields__
    for key in data:
        if key not in known:
            raise RecordingError(f"{path}: unknown key {choices(key, known)}")
    for key in ("name", "instruction"):
        if key not in data:
            raise RecordingError(f"{path}: key {key!r} is missing")
    return Episode(**{**data, "tags": tuple(data.get("tags", ()))})


class EpisodeStore:
    """The folder that holds the episodes.

    Args:
        root: made when the first episode starts.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def plan(self, instruction: str, operator: str, tags: Sequence[str], at: datetime.datetime) -> Episode:
        """A new episode with a free name; nothing is written yet.

        Raises:
            RecordingError: the instruction is empty or too long.
        """
        text = instruction.strip()
        if not 1 <= len(text) <= MAX_INSTRUCTION:
            raise RecordingError(f"instruction: must have 1 to {MAX_INSTRUCTION} characters, got {len(text)}")
        base = episode_name(text, at)
        name, n = base, 1
        while (self.root / name).exists():
            n += 1
            name = f"{base}-{n}"
        started = at.astimezone(datetime.timezone.utc).isoformat(timespec="milliseconds")
        return Episode(name=name, instruction=text, operator=operator.strip(), tags=tuple(tags), started=started)

    def folder(self, episode: Episode) -> Path:
        """Where it lives."""
        return self.root / episode.name

    def begin(self, episode: Episode) -> None:
        """Write the first sidecar; the bag writer has made the folder."""
        write_sidecar(self.folder(episode), episode)

    def finish(self, episode: Episode, outcome: str, at: datetime.datetime, **figures: Any) -> Episode:
        """Write the sidecar again with the outcome, the end and `figures` (counts, dropped, bytes, duration, note)."""
        ended = at.astimezone(datetime.timezone.utc).isoformat(timespec="milliseconds")
        done = replace(episode, outcome=check_outcome(outcome), ended=ended, **figures)
        write_sidecar(self.folder(done), done)
        return done

    def relabel(self, name: str, outcome: str) -> Episode:
        """Change the outcome of an episode on disk.

        Raises:
            RecordingError: no such episode, unknown outcome.
        """
        folder = self._existing(name)
        changed = replace(read_sidecar(folder), outcome=check_outcome(outcome))
        write_sidecar(folder, changed)
        return changed

    def discard(self, name: str) -> None:
        """Rename, then delete: a crash half-way leaves a hidden folder, never half an episode under its name.

        Raises:
            RecordingError: no such episode, or the file system refuses.
        """
        folder = self._existing(name)
        grave = folder.with_name(DISCARDED + folder.name)
        try:
            folder.rename(grave)
            shutil.rmtree(grave)
        except OSError as error:
            raise RecordingError(f"episode {folder} cannot be deleted: {error.strerror}") from error

    def names(self) -> list[str]:
        """Episodes on disk, oldest first."""
        if not self.root.is_dir():
            return []
        return sorted(p.name for p in self.root.iterdir() if (p / SIDECAR).is_file() and not p.name.startswith("."))

    def _existing(self, name: str) -> Path:
        folder = self.root / name
        if name.startswith(".") or "/" in name or not (folder / SIDECAR).is_file():
            raise RecordingError(f"episode {choices(name, self.names()[-10:])} is not in {self.root}")
        return folder
