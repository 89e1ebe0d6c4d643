"""Episodes: a folder each, a sidecar that says what it shows, and the rules of starting, ending and discarding.

The sidecar ``episode.json`` is written when the episode starts (outcome unlabeled), so a crash leaves an episode that
still says what it was, and written again when it ends.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from reconvla_ros.errors import RecordingError, choices
from reconvla_ros.recording.metadata import replace_file

SIDECAR = "episode.json"
SIDECAR_VERSION = 2
OUTCOMES = ("success", "failure", "unlabeled")
MAX_INSTRUCTION = 500  # as the task service
DISCARDED = ".discarded-"
RESERVE, _RESERVE_BYTES = ".reserve", 1 << 16  # room for the last sidecar on a disk that is full by then
TRASH = ".trash"  # where `delete` moves episodes; `purge` empties it
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
        contract_digest: of the policy's contract while it was recorded; empty without a policy.
        checkpoint: of that policy.
        calibration: `cameras`: intrinsics as the camera said them, by topic; `frames`: fixed transforms as tf_static said them.
        parameters: of every node that answered, by node.
        quality: what the audit found, as `Auditor.quality` gives it.
        interventions: spans in which a person had the lease: [source, begin, end] with times [s] since `started_ns`.
        started_ns: log time of the first message [ns]; 0 when there is none.
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
    contract_digest: str = ""
    checkpoint: str = ""
    calibration: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    quality: Mapping[str, Any] = field(default_factory=dict)
    interventions: Sequence[Sequence[Any]] = ()
    started_ns: int = 0
    version: int = SIDECAR_VERSION


def check_outcome(outcome: str) -> str:
    """The outcome, '' meaning unlabeled.

    Raises:
        RecordingError: not one of OUTCOMES.
    """
    if outcome and outcome not in OUTCOMES:
        raise RecordingError(f"outcome {choices(outcome, OUTCOMES)}")
    return outcome or "unlabeled"


def check_instruction(instruction: str) -> str:
    """The instruction without blanks around it.

    Raises:
        RecordingError: empty or too long.
    """
    text = instruction.strip()
    if not 1 <= len(text) <= MAX_INSTRUCTION:
        raise RecordingError(f"instruction: must have 1 to {MAX_INSTRUCTION} characters, got {len(text)}")
    return text


def episode_name(instruction: str, at: datetime.datetime) -> str:
    """`20260131T142501Z_put-fruit-in-bowl`: sorts by time and says what it is."""
    slug = re.sub(r"[^a-z0-9]+", "-", instruction.lower())[:_SLUG_LENGTH].strip("-")
    return f"{at.astimezone(datetime.timezone.utc):%Y%m%dT%H%M%SZ}_{slug or 'episode'}"


def write_sidecar(folder: Path, episode: Episode) -> None:
    """Replace the sidecar of `folder` in one step.

    Raises:
        RecordingError: the folder cannot be written.
    """
    try:
        replace_file(folder / SIDECAR, json.dumps(asdict(episode), indent=2, ensure_ascii=False) + "\n")
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
    if isinstance(data.get("version"), int) and data["version"] > SIDECAR_VERSION:
        raise RecordingError(f"{path}: version {data['version']}, this software knows up to {SIDECAR_VERSION}")
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

    def plan(
        self, instruction: str, operator: str, tags: Sequence[str], at: datetime.datetime,
        software: Mapping[str, str] | None = None,
    ) -> Episode:  # fmt: skip
        """A new episode with a free name; nothing is written yet.

        Raises:
            RecordingError: the instruction is empty or too long.
        """
        text = check_instruction(instruction)
        base = episode_name(text, at)
        name, n = base, 1
        while (self.root / name).exists():
            n += 1
            name = f"{base}-{n}"
        started = at.astimezone(datetime.timezone.utc).isoformat(timespec="milliseconds")
        return Episode(name, text, operator.strip(), tuple(tags), started=started, software=dict(software or {}))

    def folder(self, episode: Episode) -> Path:
        """Where it lives."""
        return self.root / episode.name

    def begin(self, episode: Episode) -> None:
        """Write the first sidecar; the bag writer has made the folder."""
        folder = self.folder(episode)
        write_sidecar(folder, episode)
        try:
            (folder / RESERVE).write_bytes(bytes(_RESERVE_BYTES))
        except OSError as error:
            raise RecordingError(f"episode {folder} cannot be written: {error.strerror}") from error

    def finish(self, episode: Episode, outcome: str, at: datetime.datetime, **figures: Any) -> Episode:
        """Write the sidecar again with the outcome, the end and `figures` (counts, dropped, bytes, duration, note)."""
        ended = at.astimezone(datetime.timezone.utc).isoformat(timespec="milliseconds")
        done = replace(episode, outcome=check_outcome(outcome), ended=ended, **figures)
        (self.folder(done) / RESERVE).unlink(missing_ok=True)
        write_sidecar(self.folder(done), done)
        return done

    def relabel(self, name: str, outcome: str = "", instruction: str = "", tags: Sequence[str] = ()) -> Episode:
        """Change what an episode on disk says of itself; what is empty stays as it is.

        Raises:
            RecordingError: no such episode, unknown outcome, instruction too long, or nothing to change.
        """
        if not (outcome or instruction or tags):
            raise RecordingError(f"relabel {name}: give an outcome ({', '.join(OUTCOMES)}), an instruction or tags")
        folder = self.existing(name)
        was = read_sidecar(folder)
        changed = replace(
            was,
            outcome=check_outcome(outcome) if outcome else was.outcome,
            instruction=check_instruction(instruction) if instruction else was.instruction,
            tags=tuple(dict.fromkeys([*was.tags, *tags])),
        )
        write_sidecar(folder, changed)
        return changed

    def delete(self, name: str) -> Path:
        """Move an episode to the trash folder, in one step; `restore` brings it back, `purge` deletes it for good.

        Raises:
            RecordingError: no such episode, or the file system refuses.
        """
        folder, trash = self.existing(name), self.root / TRASH
        grave, n = trash / name, 1
        try:
            trash.mkdir(exist_ok=True)
            while grave.exists():
                n += 1
                grave = trash / f"{name}-{n}"
            folder.rename(grave)
        except OSError as error:
            raise RecordingError(f"episode {folder} cannot be deleted: {error.strerror}") from error
        return grave

    def restore(self, name: str) -> Path:
        """Bring an episode back from the trash.

        Raises:
            RecordingError: it is not in the trash, its name is taken, or the file system refuses.
        """
        grave, folder = self.root / TRASH / name, self.root / name
        held = self.trashed()
        if name not in held:
            raise RecordingError(f"episode {choices(name, held[-10:])} is not in {self.root / TRASH}")
        if folder.exists():
            raise RecordingError(f"episode {folder} exists; nothing is overwritten")
        try:
            grave.rename(folder)
        except OSError as error:
            raise RecordingError(f"episode {grave} cannot be restored: {error.strerror}") from error
        return folder

    def trashed(self) -> list[str]:
        """Episodes in the trash, oldest first."""
        trash = self.root / TRASH
        return sorted(p.name for p in trash.iterdir() if p.is_dir()) if trash.is_dir() else []

    def purge(self) -> int:
        """Delete what is in the trash, and what a discard that was cut short left; returns how many.

        Raises:
            RecordingError: the file system refuses.
        """
        graves = [self.root / TRASH / name for name in self.trashed()] + list(self.root.glob(f"{DISCARDED}*"))
        for grave in graves:
            try:
                shutil.rmtree(grave)
            except OSError as error:
                raise RecordingError(f"{grave} cannot be deleted: {error.strerror}") from error
        with contextlib.suppress(OSError):
            (self.root / TRASH).rmdir()
        return len(graves)

    def discard(self, name: str) -> None:
        """Rename, then delete: a crash half-way leaves a hidden folder, never half an episode under its name.

        Raises:
            RecordingError: no such episode, or the file system refuses.
        """
        folder = self.existing(name)
        grave = folder.with_name(DISCARDED + folder.name)
        try:
            folder.rename(grave)
            shutil.rmtree(grave)
        except OSError as error:
            raise RecordingError(f"episode {folder} cannot be deleted: {error.strerror}") from error

    def names(self) -> list[str]:
        """Episodes on disk, oldest first; a folder that a crash left with a bag and no sidecar counts too."""
        if not self.root.is_dir():
            return []
        folders = [p for p in self.root.iterdir() if not p.name.startswith(".")]
        return sorted(p.name for p in folders if (p / SIDECAR).is_file() or next(p.glob("*.mcap"), None) is not None)

    def existing(self, name: str) -> Path:
        """The folder of an episode.

        Raises:
            RecordingError: there is none of that name.
        """
        folder = self.root / name
        if name not in self.names():
            raise RecordingError(f"episode {choices(name, self.names()[-10:])} is not in {self.root}")
        return folder
