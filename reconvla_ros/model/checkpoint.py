"""Tensors of a checkpoint folder: which there are, in which shard, of which shape; read one at a time.

Only safetensors are read. The headers are parsed before any tensor, so a shard that was cut short, a tensor that is
missing or has another shape is named before memory is spent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from reconvla_ros.errors import Cancelled, CheckpointError
from reconvla_ros.model import memory, safetensor
from reconvla_ros.model.config import read_json
from reconvla_ros.model.safetensor import FLOATS, Reader, Stored, read_header

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
HARMLESS_PICKLES = ("training_args.bin", "optimizer.pt", "scheduler.pt")  # of the HF Trainer; never opened
TRAINING_ONLY = ("model.mm_inv_projector.", "model.pixel_decoder.")
TOWER = "model.vision_tower.vision_tower."


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


def put(module: nn.Module, path: str, value: Tensor) -> None:
    """Make `value` the parameter `path` of `module`, in the place of one on the meta device."""
    parent, _, leaf = path.rpartition(".")
    setattr(module.get_submodule(parent), leaf, nn.Parameter(value, requires_grad=False))


@dataclass(frozen=True)
class Loading:
    """How far a load is: tensors and bytes of the files read and in all, and the memory held now [bytes]."""

    tensors: int
    tensors_total: int
    bytes: int
    bytes_total: int
    memory: int

    def __str__(self) -> str:
        return (
            f"{self.tensors} of {self.tensors_total} tensors, {self.bytes / 1e9:.2f} of {self.bytes_total / 1e9:.2f} GB, "
            f"{self.memory / 1e9:.2f} GB of memory held"
        )


@dataclass(frozen=True)
class Hooks:
    """What a load tells while it runs, and whether it shall go on; it may run in a thread of its own.

    Attributes:
        progress: gets (tensors done, tensors in all) after each tensor.
        report: gets the same with bytes and memory.
        cancel: asked before each block of at most 64 MB; true calls the load off.
    """

    progress: Callable[[int, int], None] | None = None
    report: Callable[[Loading], None] | None = None
    cancel: Callable[[], bool] | None = None


def fill(
    modules: dict[str, nn.Module],
    stored: dict[str, Stored],
    device: torch.device,
    dtype: torch.dtype,
    rows: int,
    hooks: Hooks | None = None,
) -> None:
    """Put the stored tensors into modules that were built on the meta device, one tensor at a time.

    Besides the weights no more than one block (64 MB) is held, whatever the sizes and types of the files.

    Args:
        modules: prefix of the stored name -> module; a parameter `p` of it is stored as prefix + p.
        rows: rows of the vocabulary tables that are kept; the others are not read.

    Raises:
        CheckpointError: a file that ends too soon, an entry that is not finite.
        Cancelled: `hooks.cancel` said so.
    """
    hooks = hooks or Hooks()
    homes = {prefix + n: (module, n, p) for prefix, module in modules.items() for n, p in module.named_parameters()}
    order = sorted(homes, key=lambda name: (str(stored[name].file), stored[name].offset))
    sizes = {n: homes[n][2].numel() * FLOATS[stored[n].dtype].itemsize for n in order}
    done, total, read = 0, sum(sizes.values()), 0

    def before(count: int) -> None:
        if hooks.cancel is not None and hooks.cancel():
            raise Cancelled(f"loading was called off after {done} of {len(order)} tensors")

    for file in dict.fromkeys(stored[name].file for name in order):
        with Reader(file, device, before) as reader:
            for name in [n for n in order if stored[n].file == file]:
                module, path, shape = homes[name]
                value = torch.empty(shape.shape, dtype=dtype, device=device)
                reader.into(stored[name], value)
                check_finite(name, value, stored[name])
                put(module, path, value)
                done, read = done + 1, read + sizes[name]
                if hooks.progress:
                    hooks.progress(done, len(order))
                if hooks.report:
                    hooks.report(Loading(done, len(order), read, total, memory.held(device)))


def check_finite(name: str, value: Tensor, stored: Stored) -> None:
    """Refuse a tensor with an entry that is not a number; one pass over it.

    Raises:
        CheckpointError: names tensor, place and value, and the type that would hold it.
    """
    # Any NaN or infinity makes the sum one; the sum of finite weights stays far from the end of float32. In blocks: on a
    # CPU the sum of narrow numbers is taken over a float32 copy.
    sums = [block.sum(dtype=torch.float32) for block in value.view(-1).split(safetensor.BLOCK // 4)]
    if not sums or bool(torch.isfinite(torch.stack(sums)).all()):
        return
    bad = (~torch.isfinite(value)).nonzero()
    if not len(bad):
        return
    place, worst = bad[0].tolist(), float(value[tuple(bad[0])])
    narrow = value.dtype == torch.float16 and stored.dtype != "F16"
    hint = "; float16 ends at 65504, choose dtype bfloat16 or float32" if narrow else ""
    raise CheckpointError(
        f"{stored.file}: {name} must be finite, {len(bad)} of {value.numel()} entries are not, the first at {place} "
        f"is {worst} as {str(value.dtype)[6:]}{hint}"
    )
