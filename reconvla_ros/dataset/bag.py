"""Our own episodes as a source."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from reconvla_ros.dataset.bag_reader import BagReader, Tick
from reconvla_ros.dataset.frame import ACTIONS, Frame, Info, Refused, Request
from reconvla_ros.errors import DatasetError, ObservationError, RecordingError, ShapeError, choices
from reconvla_ros.observation.assemble import NS
from reconvla_ros.policy.contract import Contract
from reconvla_ros.recording.episode import SIDECAR, TRASH, EpisodeStore, read_sidecar
from reconvla_ros.recording.repair import bag_file, state_of

DISCARDED = "discarded"
# [s] how long a frame waits for what was done after it, beyond its last step, before that counts as a gap
_PATIENCE = 1.0
# [ns] a command may be recorded a little later than the pose of the same stamp
_SETTLED_NS = 50_000_000
_HEAD = 1 << 16  # bytes of a bag's two ends that go into its digest, beside size and sidecar


class BagSource:
    """The episodes of a folder, as `reconvla record` leaves them.

    Args:
        root: the folder. names: only these; all by default. discarded: the trash too.

    Raises:
        DatasetError: no such episode.
    """

    kind = "bag"

    def __init__(self, root: Path, names: tuple[str, ...] = (), discarded: bool = False) -> None:
        self._store = EpisodeStore(root)
        self._folders = {name: root / name for name in self._store.names()}
        if discarded:
            self._folders |= {name: root / TRASH / name for name in self._store.trashed() if name not in self._folders}
        for name in names:
            if name not in self._folders:
                raise DatasetError(f"episode {choices(name, list(self._folders)[-10:])} is not in {root}")
        if names:
            self._folders = {name: self._folders[name] for name in names}
        self._notes: dict[str, Counter[str]] = {}

    def folder(self, name: str) -> Path:
        """Where an episode lies."""
        if name not in self._folders:
            raise DatasetError(f"episode {choices(name, self._folders)}")
        return self._folders[name]

    def infos(self) -> list[Info]:
        """Every episode; one that cannot be read says why."""
        return [self._info(name) for name in sorted(self._folders)]

    def contract(self) -> Contract:
        """A PiPER's."""
        return Contract()

    def _info(self, name: str) -> Info:
        folder = self.folder(name)
        state = state_of(folder)
        if state not in ("ok", "unfinished"):
            remedy = "; remedy: reconvla episodes recover" if state == "cut" else ""
            return Info(name, "", "unlabeled", f"{state}{remedy}")
        try:
            episode = read_sidecar(folder)
        except RecordingError as error:
            return Info(name, "", "unlabeled", f"sidecar: {error}; remedy: reconvla episodes recover")
        outcome = DISCARDED if folder.parent.name == TRASH else episode.outcome
        return Info(name, episode.instruction, outcome, "", _digest(folder), episode.duration)

    def instruction(self, name: str) -> str:
        """What the sidecar says."""
        return read_sidecar(self.folder(name)).instruction

    def notes(self, name: str) -> dict[str, int]:
        """Messages that were left out, by reason."""
        return dict(sorted(self._notes.get(name, Counter()).items()))

    def frames(self, name: str, request: Request) -> Iterator[Frame | Refused]:
        """The ticks of one episode; see Source."""
        folder = self.folder(name)
        reader = BagReader(bag_file(folder), request, read_sidecar(folder).instruction)
        self._notes[name] = reader.notes
        waiting: deque[Tick] = deque()
        seen, again, resets = -1, 0, 0
        for tick in reader.ticks():
            if reader.resets != resets:
                resets = reader.resets
                yield from (Refused(t.number, "backwards", "stamps went back") for t in waiting)
                waiting.clear()
            while waiting and _ready(waiting[0], reader, request, tick.at_ns):
                yield _frame(waiting.popleft(), reader, request, False)
            if tick.observation is None:
                reason, _, detail = tick.refused.partition(": ")
                yield Refused(tick.number, reason, detail)
                continue
            again = again + 1 if tick.observation.stamp_ns == seen else 0
            if again > request.repeats:
                yield Refused(tick.number, "repeat", f"no new pair of images for {(again + 1) / request.rate:g} s")
            else:
                waiting.append(tick)
                seen = tick.observation.stamp_ns
        for tick in waiting:
            yield _frame(tick, reader, request, True)


def _times(tick: Tick, request: Request) -> list[int]:
    assert tick.observation is not None
    begin = tick.observation.stamp_ns
    return [begin + round((k + 1) * NS / request.rate) for k in range(request.steps)]


def _ready(tick: Tick, reader: BagReader, request: Request, now_ns: int) -> bool:
    last = _times(tick, request)[-1]
    known = min(reader.tracks.tcp.end or 0, reader.tracks.opening.end or 0)
    return (known >= last and now_ns >= last + _SETTLED_NS) or now_ns > last + round(_PATIENCE * NS)


def _frame(tick: Tick, reader: BagReader, request: Request, final: bool) -> Frame | Refused:
    found, times, tracks = tick.observation, _times(tick, request), reader.tracks
    assert found is not None
    measured = request.actions == ACTIONS[1]
    try:
        path = tracks.path(times, measured, round(request.limits.state_gap * NS), final)
        before = None if measured else tracks.grip(found.stamp_ns)
        commands = tracks.commands(times[0])
    except (ObservationError, ShapeError) as error:
        return Refused(tick.number, "unreadable", f"arm/action_trace: {error}")
    if path is None:
        if final:
            return Refused(tick.number, "end", "the episode ends before the first step")
        return Refused(tick.number, "gap", f"arm/ee_pose or joint_states unknown within {request.steps} steps")
    targets, valid = path
    contract = Contract()
    middle = (contract.gripper_open + contract.gripper_closed) / 2.0
    openings = np.array([opening for _, opening in targets])
    return Frame(
        tick=tick.number,
        at_ns=tick.at_ns,
        stamp_ns=found.stamp_ns,
        base=found.base,
        wrist=found.wrist,
        tcp=found.tcp,
        gripper=found.state.gripper,
        joints=found.state.position,
        open_before=(found.state.gripper if before is None else before) > middle,
        positions=np.array([pose.position for pose, _ in targets]),
        quaternions=np.array([pose.quaternion for pose, _ in targets]),
        opens=openings > middle,
        openings=openings,
        valid=valid,
        human=tick.human,
        commands=commands,
        goal=tracks.joints.nearest(times[0], round(request.limits.state_gap * NS)),
    )


def _digest(folder: Path) -> str:
    """Changes with the bag, its label or its gaze regions; reads little of it, so that planning stays cheap."""
    file, digest = bag_file(folder), hashlib.sha256()
    size = file.stat().st_size
    digest.update(str(size).encode())
    with file.open("rb") as stream:
        digest.update(stream.read(_HEAD))
        stream.seek(max(0, size - _HEAD))
        digest.update(stream.read(_HEAD))
    for side in (folder / SIDECAR, folder / "gaze.json"):
        digest.update(side.read_bytes() if side.is_file() else b"-")
    return digest.hexdigest()[:16]
