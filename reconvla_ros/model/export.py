"""From a training checkpoint to one that holds what inference needs: the reconstruction branch is left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reconvla_ros.model.checkpoint import INDEX, SINGLE, TOWER, TRAINING_ONLY, check_finite, list_tensors
from reconvla_ros.model.config import read_json
from reconvla_ros.model.folder import check_disk, new_folder, plan_shards, shard_name, write_json
from reconvla_ros.model.model import survey
from reconvla_ros.model.random_init import TOWER_FOLDER, tower_files
from reconvla_ros.model.safetensor import FLOATS, Reader, Stored, write_file
from reconvla_ros.model.survey import Survey

COPIED = (
    *("vocab.json", "merges.txt", "added_tokens.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("tokenizer.json", "generation_config.json", "contract.yaml", "README.md", "LICENSE"),
)
"""Files that go along as they are. Those of the trainer (its state, its pickled arguments) stay behind."""
RECONSTRUCTION_KEYS = (
    *("mm_pixel_decoder", "mm_inv_projector_type", "mm_inv_hidden_size", "mm_inv_projector_lr", "decode_image_size"),
    *("reconstruct_image", "reconstruct_image_num", "reconstruct_image_savefolder"),
)
"""Keys of config.json that only the reconstruction branch reads."""
SHARD_BYTES = 5_000_000_000
"""Where the HF Trainer cuts [bytes]."""


@dataclass(frozen=True)
class Group:
    """Tensors of one part: how many, and their bytes as they were stored."""

    name: str
    count: int
    size: int


@dataclass(frozen=True)
class Exported:
    """What an export left out, kept and wrote; `size` is that of the new weights [bytes]."""

    dropped: tuple[Group, ...]
    kept: tuple[Group, ...]
    size: int
    shards: int


def is_dropped(name: str, tensor: Stored) -> bool:
    """Whether a tensor serves training alone (denoiser, pixel decoder) or is no weight (saved position numbers)."""
    return name.startswith(TRAINING_ONLY) or tensor.dtype not in FLOATS


def groups(tensors: Iterable[Stored]) -> tuple[Group, ...]:
    """Tensors by part, in order of appearance: ``model.layers``, ``model.pixel_decoder``, ``lm_head``, ..."""
    found: dict[str, list[int]] = {}
    for tensor in tensors:
        words = tensor.name.split(".")
        found.setdefault(".".join(words[:2] if words[0] == "model" else words[:1]), []).append(tensor.size)
    return tuple(Group(name, len(sizes), sum(sizes)) for name, sizes in found.items())


def stripped_config(data: Mapping[str, Any], tower: str, dtype: torch.dtype | None) -> dict[str, Any]:
    """``config.json`` without the reconstruction branch; the original and this package both load by it."""
    kept = {key: value for key, value in data.items() if key not in RECONSTRUCTION_KEYS}
    kept |= {"recon_enable": False, "use_mm_inv_proj": False, "mm_vision_tower": f"./{tower}"}
    if dtype is not None:
        kept["torch_dtype"] = str(dtype).removeprefix("torch.")
        if "dtype" in kept:  # how newer transformers spell it
            kept["dtype"] = kept["torch_dtype"]
    return kept


def _blocks(tensor: Stored, dtype: torch.dtype) -> Iterator[Tensor]:
    """The tensor as `dtype`, block by block."""
    cpu = torch.device("cpu")
    with Reader(tensor.file, cpu, lambda count: None) as reader:
        for _, block in reader.blocks(tensor):
            converted = block.to(dtype)
            check_finite(tensor.name, converted, tensor)
            yield converted


class _Writer:
    """The tensors of an export, in the type they get."""

    def __init__(self, tensors: Mapping[str, Stored], dtype: torch.dtype | None) -> None:
        self.tensors = tensors
        self.types = {n: dtype or FLOATS[t.dtype] for n, t in tensors.items()}

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each tensor as it will be written."""
        return {n: t.size // FLOATS[t.dtype].itemsize * self.types[n].itemsize for n, t in self.tensors.items()}

    def write(self, path: Path, names: Iterable[str]) -> int:
        """One file; returns the bytes of its tensors."""
        layout = {n: (self.types[n], self.tensors[n].shape) for n in names}
        return write_file(path, layout, lambda name: _blocks(self.tensors[name], self.types[name]))


def _tower_name(found: Survey, data: Mapping[str, Any]) -> str:
    """Folder of the tower inside the export; the original tells the kind of a tower by its folder's name."""
    name = Path(str(data.get("mm_vision_tower") or TOWER_FOLDER)).name
    return name if "siglip" in name.lower() else TOWER_FOLDER


def _tower_tensors(found: Survey) -> dict[str, Stored]:
    """The tower's tensors under the names of its own folder: from that folder where there is one with weights."""
    if found.tower is not None and any((found.tower / n).is_file() for n in (SINGLE, INDEX)):
        outside = list_tensors(found.tower)
        kept = {n: t for n, t in outside.items() if not n.startswith(("text_model.", "logit_")) and t.dtype in FLOATS}
        return {f"vision_model.{n.removeprefix('vision_model.')}": t for n, t in kept.items()}
    inside = {n.removeprefix(TOWER): t for n, t in found.stored.items() if n.startswith(TOWER) and t.dtype in FLOATS}
    return {f"vision_model.{n}": t for n, t in inside.items()}


def _write_tower(folder: Path, found: Survey, writer: _Writer) -> None:
    """The tower's own folder, which the original reads and which states the head count."""
    folder.mkdir()
    tower_files(folder, found.config.vision)
    for name in ("config.json", "preprocessor_config.json"):
        if found.tower is not None and (found.tower / name).is_file():
            shutil.copyfile(found.tower / name, folder / name)
    writer.write(folder / SINGLE, writer.tensors)


def export(
    folder: Path,
    out: Path,
    dtype: torch.dtype | None = None,
    shard_bytes: int = SHARD_BYTES,
    heads: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> Exported:
    """Write what inference needs of the checkpoint `folder` into `out`, tensor by tensor, all or nothing.

    The result stands alone: tokenizer, contract and the tower's folder go along, and a tower that lay outside the
    checkpoint comes into it. Names are those of the original, so that its code loads the result too.

    Args:
        dtype: type of the new tensors; None keeps each as it is.
        shard_bytes: most that one file holds (or one tensor, when that is larger).
        heads: attention heads of the tower where its folder is not there to say it, 0 = unknown.
        say: gets a line for each file.

    Raises:
        CheckpointError: what is wrong with `folder`; it is checked as for loading.
        ConfigError: `out` holds something.
        SetupError: the disk is too small.
    """
    found, _ = survey(folder, heads)
    stored = {_original_name(n): t for n, t in found.stored.items()}
    dropped = [t for n, t in stored.items() if is_dropped(n, t)]
    main = _Writer({n: t for n, t in stored.items() if not is_dropped(n, t)}, dtype)
    tower = _Writer(_tower_tensors(found), dtype)
    shards = plan_shards(main.sizes, shard_bytes)
    data = read_json(folder / "config.json")
    name = _tower_name(found, data)
    with new_folder(out) as partial:
        check_disk(partial, sum(main.sizes.values()) + sum(tower.sizes.values()), str(out))
        index: dict[str, str] = {}
        total = 0
        for k, names in enumerate(shards, start=1):
            file = shard_name(k, len(shards)) if len(shards) > 1 else SINGLE
            total += main.write(partial / file, names)
            index |= dict.fromkeys(names, file)
            say(f"{file}: {len(names)} tensors, {total / 1e9:.2f} GB so far")
        if len(shards) > 1:
            write_json(partial / INDEX, {"metadata": {"total_size": total}, "weight_map": dict(sorted(index.items()))})
        write_json(partial / "config.json", stripped_config(data, name, dtype))
        for file in COPIED:
            if (folder / file).is_file():
                shutil.copyfile(folder / file, partial / file)
        _write_tower(partial / name, found, tower)
        survey(partial)
    return Exported(groups(dropped), groups(main.tensors.values()), total, len(shards))


def _original_name(name: str) -> str:
    """The original's spelling of a mapped name."""
    return f"{TOWER}vision_model.{name.removeprefix(TOWER)}" if name.startswith(TOWER) else name
