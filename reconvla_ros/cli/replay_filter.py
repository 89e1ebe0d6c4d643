"""`reconvla replay-filter BAG`: what the driver's filter would make of a recorded episode, before an arm has power.

Every step that was due in the recording goes the driver's way: a fresh reference at the joints measured then, `Motion.set_pose`
(filter, inverse kinematics, filter), and the ticks until the next step (trajectory, filter). Steps that were late or replaced by
a newer chunk before they were due are counted and not judged; so the end of a task is not looked for.
0 = nothing was refused, 1 = something was, 2 = it could not be tried.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from reconvla_ros.arm import firmware
from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.arm.motion import Motion, motion_of
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.cli import places
from reconvla_ros.cli.replay_bag import Episode, Refused, Withdrawn, read
from reconvla_ros.config import build, node_parameters
from reconvla_ros.errors import ConfigError, SetupError
from reconvla_ros.safety.filter import Verdict
from reconvla_ros.task.chunk_player import FUTURE_SLACK_NS
from reconvla_ros.types import ActionChunk, EeCommand, Pose

_EXAMPLES = 3  # of each reason
_HOLD = 0.1  # [s] a single command is followed for, when no other comes; chunks say their step


@dataclass(frozen=True, eq=False)
class Due:
    """One target that was due at `at_ns` for `span` [s]; `why` it is refused before it is looked at, or empty."""

    at_ns: int
    source: str
    name: str
    pose: Pose | None
    gripper: float | None
    age: float
    span: float
    why: tuple[str, str] | tuple[()] = ()


@dataclass
class Findings:
    """Counts of verdicts and of (verdict, reason); the first examples of each; `unjudged` says why and how many."""

    verdicts: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, Counter[str]] = field(default_factory=lambda: {"clamped": Counter(), "refused": Counter()})
    unjudged: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, due: Due, begin_ns: int, verdict: Verdict, reason: str, detail: str) -> None:
        """Count one judgement."""
        word = verdict.name.lower()
        self.verdicts[word] += 1
        if verdict is Verdict.PASSED:
            return
        self.reasons[word][reason] += 1
        if self.reasons[word][reason] <= _EXAMPLES:
            self.examples.append({
                "verdict": word, "reason": reason, "stamp_ns": due.at_ns, "time_s": round((due.at_ns - begin_ns) / 1e9, 3),
                "source": due.source, "command": due.name, "detail": detail,
            })  # fmt: skip


def due_targets(episode: Episode, findings: Findings, max_age: float) -> Iterator[Due]:
    """What the driver would have followed, in order: the rules of `ChunkPlayer`, by the clock of the recording.

    Args:
        findings: takes the count of what was never due.
        max_age: a chunk whose observation is older is refused [s].
    """
    for index, (received, source, command) in enumerate(episode.commands):
        until = next((r for r, s, _ in episode.commands[index + 1 :] if s == source), None)
        if isinstance(command, Withdrawn):
            continue
        if isinstance(command, Refused):
            yield Due(received, source, "message", None, None, 0.0, 0.0, ("shape", command.detail))
        elif isinstance(command, EeCommand):
            span = _HOLD if until is None else min(_HOLD, (until - received) / 1e9)
            age = (received - command.stamp_ns) / 1e9
            yield Due(received, source, "ee_command", command.pose, command.gripper, age, span)
        else:
            yield from _steps(command, received, until, findings, max_age)


def _steps(chunk: ActionChunk, received: int, until: int | None, findings: Findings, max_age: float) -> Iterator[Due]:
    name, age = f"chunk {chunk.sequence}", (received - chunk.stamp_ns) / 1e9
    if not -FUTURE_SLACK_NS / 1e9 <= age <= max_age:
        why = ("chunk_age", f"observation {age:.3f} s old, allowed {max_age:g}")
        yield Due(received, "policy", name, None, None, 0.0, 0.0, why)
        return
    for step in range(chunk.steps):
        begin = chunk.stamp_ns + int(step * chunk.step_dt * 1e9)
        end = begin + int(chunk.step_dt * 1e9)
        if end <= received:
            findings.unjudged["late: over before the chunk came"] += 1
        elif until is not None and begin >= until:
            findings.unjudged["replaced by a newer chunk"] += 1
        else:
            at = max(begin, received)
            span = ((end if until is None else min(end, until)) - at) / 1e9
            yield Due(at, "policy", f"{name} step {step}", chunk.pose(step), float(chunk.gripper[step]), 0.0, span)


def replay(episode: Episode, config: DriverConfig) -> tuple[Findings, int]:
    """Judge every target that was due; also the time [ns] of the first command.

    Raises:
        LimitError: a limit is looser than the hard table or contradicts another.
    """
    limits, findings = config.limits(), Findings()
    variant = firmware.dh_variant(episode.firmware)
    kinematics = Kinematics(variant, config.tcp_offset, config.joint_lower, config.joint_upper)
    begin = episode.commands[0][0]
    for due in due_targets(episode, findings, config.chunk_age):
        measured = episode.measured(due.at_ns)
        if due.why:
            findings.add(due, begin, Verdict.REFUSED, *due.why)
        elif measured is None:
            findings.unjudged["before the first joint_states"] += 1
        else:
            motion = motion_of(config, kinematics, limits)
            why = motion.anchor(*measured)
            outcome = (Verdict.REFUSED, *why) if why else _follow(motion, due, max(1, round(due.span * config.rate)))
            findings.add(due, begin, *outcome)
    return findings, begin


def _follow(motion: Motion, due: Due, ticks: int) -> tuple[Verdict, str, str]:
    """The worst of what the goal and the ticks on the way to it are told."""
    assert due.pose is not None
    goal = motion.set_pose(due.pose, due.gripper, due.age)
    worst = (goal.verdict, goal.reason, goal.detail)
    for _ in range(0 if goal.verdict is Verdict.REFUSED else ticks):
        step = motion.advance()
        if step.verdict > worst[0]:
            worst = (step.verdict, step.reason, step.detail)
    return worst


def result_of(findings: Findings, episode: Episode, bag: Path, begin_ns: int) -> dict[str, Any]:
    """The findings as JSON: counts, shares, reasons, examples (refused first)."""
    judged = sum(findings.verdicts.values())
    words = ("passed", "clamped", "refused")
    return {
        "bag": str(bag), "messages": len(episode.commands), "judged": judged, "begin_ns": begin_ns,
        **{word: findings.verdicts[word] for word in words},
        "shares": {word: round(findings.verdicts[word] / judged, 6) if judged else 0.0 for word in words},
        "reasons": {word: dict(counts.most_common()) for word, counts in findings.reasons.items()},
        "not_judged": dict(findings.unjudged),
        "examples": sorted(findings.examples, key=lambda e: (e["verdict"] != "refused", e["stamp_ns"])),
    }  # fmt: skip


def table(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    lines = [f"{result['bag']}: {result['messages']} command messages, {result['judged']} targets were due"]
    for word in ("passed", "clamped", "refused"):
        lines.append(f"  {word:<18} {result[word]:>7}  {result['shares'][word]:8.2%}")
        lines += [f"    {reason:<16} {count:>7}" for reason, count in result["reasons"].get(word, {}).items()]
    lines += [f"  not judged         {count:>7}  {why}" for why, count in result["not_judged"].items()]
    if result["examples"]:
        lines.append("the first of each reason (time since the first command):")
    for example in result["examples"]:
        lines.append(f"  {example['time_s']:9.3f} s  {example['verdict']:<8} {example['source']} {example['command']}: "
                     f"{example['detail']}")  # fmt: skip
    return "\n".join(lines)


def parameters(file: Path, settings: list[str]) -> DriverConfig:
    """The driver's parameters from `file`, with ``name=value`` settings on top.

    Raises:
        ConfigError: a setting of another form, an unknown name (with the nearest), a value out of range.
    """
    values = node_parameters(file, "driver")
    for setting in settings:
        name, separator, text = setting.partition("=")
        if not separator or not name.strip():
            raise ConfigError(f"--set {setting!r}: write name=value, e.g. --set tcp_speed=0.05")
        try:
            values[name.strip()] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {setting!r}: the value cannot be read") from error
    return build(DriverConfig, values, where="driver")


def main(words: list[str]) -> int:
    """0 = nothing was refused, 1 = something was."""
    parser = argparse.ArgumentParser(
        "reconvla replay-filter",
        description="What the driver's filter would make of a recorded episode: share passed, clamped and refused, by reason.",
        epilog="exit status: 0 = nothing was refused, 1 = something was, 2 = it could not be tried",
    )
    parser.add_argument("bag", type=Path, help="folder of an episode, or its .mcap file")
    parser.add_argument("--config", type=Path, help="parameters of the driver [config/piper.yaml]")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="another limit, to try; repeatable"
    )
    parser.add_argument("--json", type=Path, help="write the result here")
    options = parser.parse_args(words)
    config = parameters(options.config or places.share() / "config" / "piper.yaml", options.set)
    config.limits()  # refuses before the bag is read
    episode = read(options.bag)
    findings, begin = replay(episode, config)
    result = result_of(findings, episode, options.bag, begin) | {"set": options.set}
    if options.json:
        try:
            options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise SetupError(f"--json {options.json}: cannot be written ({error})") from error
    print(table(result))
    return 1 if result["refused"] else 0
