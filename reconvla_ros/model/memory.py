"""How much memory there is and is held, and what would fit: told before a load runs into the wall."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from pathlib import Path

import torch

from reconvla_ros.errors import CheckpointError

_STATUS = Path("/proc/self/status")
_HOST = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")


def _kilobytes(path: Path, *keys: str) -> int | None:
    """Sum [bytes] of the lines ``key: N kB`` of a file of /proc, None where it has none of them."""
    try:
        rows = (line.split(":") for line in path.read_text(encoding="utf-8").splitlines())
        found = [int(value.split()[0]) for key, value in rows if key in keys]
    except (OSError, ValueError, IndexError):
        return None
    return sum(found) * 1024 if found else None


def held(device: torch.device) -> int:
    """Bytes this process holds now: tensors on a GPU, resident memory otherwise."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    now = _kilobytes(_STATUS, "VmRSS")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if now is None else now


def _group_free() -> int | None:
    """Bytes a container leaves to its processes, None without a limit (control groups v2); its cache can be dropped."""
    try:
        limit, used = ((_GROUP / f"memory.{name}").read_text(encoding="utf-8").strip() for name in ("max", "current"))
        rows = (_GROUP / "memory.stat").read_text(encoding="utf-8").splitlines()
        cache = sum(int(line.split()[1]) for line in rows if line.split()[0] in ("inactive_file", "active_file"))
        return None if limit == "max" else int(limit) - int(used) + cache
    except (OSError, ValueError, IndexError):
        return None


def free(device: torch.device) -> int | None:
    """Bytes that can be had on `device`, None where nobody says."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    host, group = _kilobytes(_HOST, "MemAvailable", "SwapFree"), _group_free()
    return min((n for n in (host, group) if n is not None), default=None)


@dataclass(frozen=True)
class Option:
    """Something to choose instead: what to set, and the bytes it needs and finds (None = unknown)."""

    text: str
    needs: int
    free: int | None

    @property
    def fits(self) -> bool:
        """Whether there is room, as far as anybody knows."""
        return self.free is None or self.needs <= self.free


def options(parameters: int, dtype: torch.dtype, device: torch.device) -> list[Option]:
    """What else `parameters` numbers could be held as and where, the nearest to what was asked for first."""
    found = []
    here, host = free(device), torch.device("cpu")
    if dtype == torch.float32:
        found.append(Option("dtype bfloat16", 2 * parameters, here))
    if device.type != "cpu":
        found.append(Option(f"device cpu with dtype {str(dtype)[6:]}", dtype.itemsize * parameters, free(host)))
        if dtype == torch.float32:
            found.append(Option("device cpu with dtype bfloat16", 2 * parameters, free(host)))
    return found


def shortage(what: str, parameters: int, dtype: torch.dtype, device: torch.device) -> CheckpointError:
    """The refusal that names what is needed, what is free and which option fits."""
    needs, here = parameters * dtype.itemsize, free(device)
    fitting = [f"{o.text} ({o.needs / 1e9:.1f} GB)" for o in options(parameters, dtype, device) if o.fits]
    way_out = (
        f"what fits: {', or '.join(fitting)}"
        if fitting
        else f"nothing fits here: it takes a device with {2 * parameters / 1e9:.1f} GB free, as bfloat16"
    )
    room = "not so much free" if here is None else f"{here / 1e9:.1f} GB free"
    return CheckpointError(
        f"{what} needs {needs / 1e9:.1f} GB as {str(dtype)[6:]} on {device}, which has {room}; {way_out}"
    )


def check_room(what: str, parameters: int, dtype: torch.dtype, device: torch.device) -> None:
    """Refuse a load that cannot fit, before it takes the machine down with it.

    Raises:
        CheckpointError: names what is needed, what is free and which option fits.
    """
    here = free(device)
    if here is not None and parameters * dtype.itemsize > here:
        raise shortage(what, parameters, dtype, device)
