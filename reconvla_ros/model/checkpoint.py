"""Tensors of a checkpoint folder: which there are, in which shard, of which shape; read one at a time.

Only safetensors are read. The headers are parsed before any tensor, so a shard that was cut short, a tensor that is
missing or has another shape is named before memory is spent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from reconvla_ros.errors import CheckpointError
from reconvla_ros.model.config import read_json

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
HARMLESS_PICKLES = ("training_args.bin", "optimizer.pt", "scheduler.pt")  # of the HF Trainer; never opened
TRAINING_ONLY = ("model.mm_inv_projector.", "model.pixel_decoder.")
TOWER = "model.vision_tower.vision_tower."
FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
MAX_HEADER = 100_000_000  # [bytes], the limit of the safetensors format


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies and what it is."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: str


def read_header(path: Path) -> dict[str, Stored]:
    """The tensors of one safetensors file, without reading them.

    Raises:
        CheckpointError: not a safetensors file, or shorter or longer than its header says.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or not 2 <= length <= min(MAX_HEADER, size - 8):
                raise CheckpointError(f"{path}: not a safetensors file, or cut short within its header ({size} bytes)")
            header = json.loads(file.read(length))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: shard is missing") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: header cannot be read: {error}") from error
    header.pop("__metadata__", None)
    try:
        end = max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
        tensors = {k: Stored(path, k, tuple(e["shape"]), str(e["dtype"])) for k, e in header.items()}
    except (TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: header entry is malformed: {error}") from error
    if size != 8 + length + end:
        raise CheckpointError(f"{path}: shard is cut short: {size} bytes, its header asks for {8 + length + end}")
    return tensors


def list_tensors(folder: Path) -> dict[str, Stored]:
    """Every tensor of the folder, sharded or single.

    Raises:
        CheckpointError: no folder, no safetensors, only pickled weights, an index that contradicts the shards.
    """
    if not folder.is_dir():
        raise CheckpointError(
            f"checkpoint: folder {folder} does not exist; give a checkpoint folder or make a random one with "
            "'reconvla make-checkpoint'"
        )
    if (folder / INDEX).is_file():
        return _sharded(folder)
    if (folder / SINGLE).is_file():
        return read_header(folder / SINGLE)
    pickled = sorted(p.name for pattern in PICKLED for p in folder.glob(pattern) if p.name not in HARMLESS_PICKLES)
    if pickled:
        raise CheckpointError(
            f"checkpoint: {folder} holds pickled weights ({', '.join(pickled)}); pickles can run code and are refused, "
            "convert them to safetensors"
        )
    held = ", ".join(sorted(p.name for p in folder.iterdir())[:12]) or "nothing"
    raise CheckpointError(f"checkpoint: {folder} holds neither {SINGLE} nor {INDEX} (it holds: {held})")


def _sharded(folder: Path) -> dict[str, Stored]:
    index = read_json(folder / INDEX).get("weight_map")
    if not isinstance(index, dict) or not index or not all(isinstance(v, str) for v in index.values()):
        raise CheckpointError(f"{folder / INDEX}: weight_map is missing or empty")
    outside = sorted({v for v in index.values() if Path(v).name != v})
    if outside:
        raise CheckpointError(f"{folder / INDEX}: shard names must be plain file names, got {outside[0]!r}")
    headers = {name: read_header(folder / name) for name in sorted(set(index.values()))}
    tensors = {}
    for name, shard in index.items():
        if name not in headers[shard]:
            raise CheckpointError(f"{folder / INDEX}: tensor {name} should be in {shard}, which does not hold it")
        tensors[name] = headers[shard][name]
    return tensors


def map_names(stored: dict[str, Stored]) -> dict[str, Stored]:
    """Give tower tensors one spelling: newer transformers drop ``vision_model.`` from their names."""
    mapped = {}
    for name, tensor in stored.items():
        if name.startswith(TOWER):
            name = TOWER + name[len(TOWER) :].removeprefix("vision_model.")
        mapped[name] = tensor
    return mapped


def is_ignored(name: str, vision_blocks: int) -> bool:
    """Whether a tensor is part of the format but not of inference.

    These are the training-only parts, the tower's last block, its last norm and its head, and saved rotary tables.
    """
    if name.startswith(TRAINING_ONLY) or name.endswith("rotary_emb.inv_freq"):
        return True
    if not name.startswith(TOWER):
        return False
    rest = name[len(TOWER) :]
    last = f"encoder.layers.{vision_blocks}."
    return rest.startswith(("post_layernorm.", "head.", last)) or rest == "embeddings.position_ids"


def check_names(wanted: dict[str, tuple[int, ...]], stored: dict[str, Stored], vision_blocks: int, rows: int) -> None:
    """Compare names, shapes and types. Tables of the vocabulary may have more rows than the `rows` that are used.

    Raises:
        CheckpointError: names every kind of difference, up to six tensors each.
    """
    problems = []
    missing = [n for n in wanted if n not in stored]
    extra = [n for n in stored if n not in wanted and not is_ignored(n, vision_blocks)]
    shapes = []
    for name in wanted.keys() & stored.keys():
        want, got = wanted[name], stored[name].shape
        taller = name in VOCABULARY_TABLES and len(got) == 2 and got[0] >= rows and got[1:] == want[1:]
        if want != got and not taller:
            shapes.append(f"{name} {list(got)} (expected {list(want)})")
    kinds = [f"{n} {stored[n].dtype}" for n in wanted.keys() & stored.keys() if stored[n].dtype not in FLOATS]
    for what, names in (("missing", missing), ("unexpected", extra), ("wrong shape", shapes), ("wrong dtype", kinds)):
        if names:
            more = f" and {len(names) - 6} more" if len(names) > 6 else ""
            problems.append(f"{what}: {', '.join(sorted(names)[:6])}{more}")
    if problems:
        raise CheckpointError(
            "checkpoint tensors do not fit the model its config.json describes: " + "; ".join(problems)
        )


VOCABULARY_TABLES = ("model.embed_tokens.weight", "lm_head.weight")


def read_tensors(
    stored: dict[str, Stored], names: Iterator[str] | list[str], device: torch.device
) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, tensor on `device`) shard by shard; only the tensor at hand is in memory."""
    by_file: dict[Path, list[str]] = {}
    for name in names:
        by_file.setdefault(stored[name].file, []).append(name)
    for file, members in by_file.items():
        with safe_open(str(file), framework="pt", device=str(device)) as handle:
            for name in members:
                yield name, handle.get_tensor(stored[name].name)


def put(module: nn.Module, path: str, value: Tensor) -> None:
    """Make `value` the parameter `path` of `module`, in the place of one on the meta device."""
    parent, _, leaf = path.rpartition(".")
    setattr(module.get_submodule(parent), leaf, nn.Parameter(value, requires_grad=False))


def fill(
    modules: dict[str, nn.Module],
    stored: dict[str, Stored],
    device: torch.device,
    dtype: torch.dtype,
    rows: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Put the stored tensors into modules that were built on the meta device, one tensor at a time.

    Args:
        modules: prefix of the stored name -> module; a parameter `p` of it is stored as prefix + p.
        rows: rows of the vocabulary tables that are kept.
        progress: called with (tensors done, tensors in all).
    """
    homes = {
        prefix + name: (module, name) for prefix, module in modules.items() for name, _ in module.named_parameters()
    }
    for done, (name, tensor) in enumerate(read_tensors(stored, list(homes), device), start=1):
        module, path = homes[name]
        if name in VOCABULARY_TABLES:
            tensor = tensor[:rows]
        put(module, path, tensor.to(device=device, dtype=dtype, copy=True))
        if progress:
            progress(done, len(homes))
