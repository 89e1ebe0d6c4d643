"""Is an episode what it says it is? Read independently (`reading.py`), check by check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from reconvla_ros.errors import RecordingError
from reconvla_ros.recording.audit import BACKWARDS, MISSING, NAN
from reconvla_ros.recording.disk import is_being_written
from reconvla_ros.recording.episode import Episode, read_sidecar
from reconvla_ros.recording.metadata import METADATA_FILE
from reconvla_ros.recording.reading import Contents, rates_of, read
from reconvla_ros.recording.repair import bag_file

_FATAL_FLAGS = (MISSING, BACKWARDS, NAN)  # the others are flaws an episode may be used with


@dataclass(frozen=True)
class Check:
    """One check; a `warning` that is not ok does not spoil the episode."""

    name: str
    ok: bool
    detail: str = ""
    warning: bool = False


@dataclass
class Verdict:
    """All checks of one episode."""

    name: str
    checks: list[Check] = field(default_factory=list)
    episode: Episode | None = None
    contents: Contents | None = None

    @property
    def ok(self) -> bool:
        """Nothing is wrong that spoils it."""
        return all(check.ok or check.warning for check in self.checks)

    @property
    def flawless(self) -> bool:
        """Nothing is wrong at all."""
        return all(check.ok for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """For a program."""
        return {
            "episode": self.name,
            "ok": self.ok,
            "flawless": self.flawless,
            "checks": {c.name: {"ok": c.ok, "warning": c.warning, "detail": c.detail} for c in self.checks},
            "quality": self.contents.quality if self.contents else {},
        }


def verify(folder: Path) -> Verdict:
    """Read the whole episode and judge it; what cannot be read is a failed check, not an exception."""
    verdict = Verdict(folder.name)
    add = verdict.checks.append
    try:
        verdict.episode = read_sidecar(folder)
        add(Check("sidecar", True, f"{verdict.episode.instruction!r}, {verdict.episode.outcome}"))
    except RecordingError as error:
        add(Check("sidecar", False, str(error)))
    try:
        file = bag_file(folder)
        if is_being_written(file):
            raise RecordingError("it is being recorded")
        rates = rates_of(verdict.episode.parameters) if verdict.episode else {}
        verdict.contents = read(file, rates=rates)
        add(Check("readable", True, f"{verdict.contents.decoded} messages, every checksum fits"))
    except RecordingError as error:
        add(Check("readable", False, str(error)))
        return verdict
    contents, episode = verdict.contents, verdict.episode
    verdict.checks += _of_bag(contents)
    verdict.checks.append(_metadata(folder, file, contents))
    if episode is not None:
        verdict.checks += _against_sidecar(contents, episode)
    verdict.checks += _quality(contents)
    return verdict


def _of_bag(contents: Contents) -> list[Check]:
    broken = ", ".join(f"{name} {count}" for name, count in contents.broken.items())
    return [
        Check("definitions", not contents.undefined, ", ".join(contents.undefined) or "every type is defined in the bag"),
        Check("decodes", not contents.broken,
              f"{broken}; e.g. {'; '.join(contents.examples)}" if broken else f"{contents.decoded} of {contents.decoded}"),
    ]  # fmt: skip


def _metadata(folder: Path, file: Path, contents: Contents) -> Check:
    """metadata.yaml beside the bag says what the bag holds."""
    try:
        text = (folder / METADATA_FILE).read_text(encoding="utf-8")
        info = yaml.safe_load(text)["rosbag2_bagfile_information"]
        held = sum(contents.counts.values())
        same = info["message_count"] == held and info["relative_file_paths"] == [file.name]
        return Check("metadata", same, f"{info['message_count']} of {held} messages in {METADATA_FILE}")
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        return Check("metadata", False, f"{METADATA_FILE}: {type(error).__name__}: {error}")


def _differences(said: Mapping[str, int], held: Mapping[str, int]) -> str:
    """Counts that differ, by topic; the sidecar names topics with their namespace."""
    words = []
    for topic, count in said.items():
        found = next((n for name, n in held.items() if topic == name or topic.endswith(f"/{name}")), 0)
        if found != count:
            words.append(f"{topic}: sidecar {count}, bag {found}")
    return "; ".join(words)


def _against_sidecar(contents: Contents, episode: Episode) -> list[Check]:
    wrong = _differences(episode.counts, contents.counts)
    checks = [
        Check("closed", bool(episode.ended), "" if episode.ended else "it has no end; remedy: reconvla episodes recover"),
        Check("counts", not wrong, wrong or "as in the sidecar"),
        Check("labelled", episode.outcome != "unlabeled", episode.outcome, warning=True),
    ]  # fmt: skip
    if contents.contracts or episode.contract_digest:
        same = contents.contracts == {episode.contract_digest}
        held = ", ".join(sorted(contents.contracts)) or "none"
        checks.append(Check("contract", same, f"sidecar {episode.contract_digest or 'none'}, bag {held}"))
    cameras = episode.calibration.get("cameras", {})
    if episode.version > 1 and contents.intrinsics:
        differ = [name for name, k in contents.intrinsics.items() if list(cameras.get(name, {}).get("k", ())) != k]
        checks.append(
            Check("calibration", not differ, f"differs for {', '.join(differ)}" if differ else "as in the bag")
        )
    lost = sum(episode.dropped.values())
    checks.append(Check("lost", not lost, f"{lost} messages never came", warning=True))
    if episode.note:
        checks.append(Check("note", False, episode.note, warning=True))
    return checks


def _quality(contents: Contents) -> list[Check]:
    """The audit's flags, one check each with figures; those that did not occur are one line."""
    quality, checks = contents.quality, list[Check]()
    for flag in quality["flags"]:
        words = []
        for topic, figures in quality["topics"].items():
            count = figures.get("gaps") if flag == "gap" else figures.get(flag)
            if count:
                extra = f" (worst {figures['worst_gap_s']:g} s)" if flag == "gap" else ""
                words.append(f"{topic} {count}{extra}")
            elif flag == MISSING and not figures["count"]:
                words.append(topic)
            elif flag == "silent" and figures["ended_early_s"]:
                words.append(f"{topic} ended {figures['ended_early_s']:g} s early")
        if flag == "skew":
            words.append(f"{quality['skewed']} pairs, worst {quality['skew_worst_s']:g} s")
        checks.append(Check(flag, False, ", ".join(words), warning=flag not in _FATAL_FLAGS))
    rates = ", ".join(f"{n.split('/')[0]} {f['rate_hz']:g}" for n, f in quality["topics"].items() if f["rate_hz"])
    return [*checks, Check("rates", True, f"{rates} Hz")]
