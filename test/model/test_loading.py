"""Loading: never twice in memory, from any type to any other, told how far it is, called off, refused when it cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_checkpoint import SHARD_2

from reconvla_ros.errors import Cancelled, CheckpointError
from reconvla_ros.model import checkpoint as reading
from reconvla_ros.model import memory, safetensor
from reconvla_ros.model.checkpoint import Hooks, Loading
from reconvla_ros.model.model import Loaded, load_model
from reconvla_ros.model.safetensor import Reader, Stored, read_header, write_file

CPU = torch.device("cpu")
NORM = "model.vision_tower.vision_tower.vision_model.encoder.layers.0.layer_norm1.weight"
TOLD = r"model\.vision_tower\.vision_tower\.encoder\.layers\.0\.layer_norm1\.weight"
# Loads one file as `sys.argv[2]` in blocks of 1 MB; prints how far resident memory rose, and the weights [bytes].
PEAK = """
import sys, resource, torch
from pathlib import Path
from reconvla_ros.model import safetensor
from reconvla_ros.model.checkpoint import check_finite
from reconvla_ros.model.safetensor import Reader, read_header
torch.set_num_threads(1)
safetensor.BLOCK = 1 << 20
dtype = getattr(torch, sys.argv[2])
def peak():
    return int([l for l in open("/proc/self/status") if l.startswith("VmHWM")][0].split()[1]) * 1024
def load(path):
    weights = []
    with Reader(path, torch.device("cpu"), lambda count: None) as reader:
        for tensor in read_header(path).values():
            weights.append(torch.empty(tensor.shape, dtype=dtype))
            reader.into(tensor, weights[-1])
            check_finite(tensor.name, weights[-1], tensor)
    return weights
load(Path(sys.argv[1] + ".small"))  # pages of the libraries are counted too, and come when they are first used
start = peak()
weights = load(Path(sys.argv[1]))
print(peak() - start, sum(w.numel() * w.element_size() for w in weights))
"""


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 4 kB, so that tensors of a test come in many."""
    monkeypatch.setattr(safetensor, "BLOCK", 4096)


def edit(folder: Path, change: dict[str, torch.Tensor]) -> None:
    tensors = load_file(folder / SHARD_2)
    assert change.keys() <= tensors.keys()
    (folder / SHARD_2).unlink()
    save_file({**tensors, **change}, folder / SHARD_2)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_file_is_never_held_twice(dtype: str, tmp_path: Path) -> None:
    """A mapped file counted as memory until it was closed: one file of 15 GB took 30. The check for NaN doubled it too."""
    path = tmp_path / "one.safetensors"
    layout = {f"w{k}": (torch.bfloat16, (5_000, 3_000)) for k in range(4)}
    write_file(path, layout, lambda name: [torch.zeros(5000, 3000, dtype=torch.bfloat16)])
    save_file({"w": torch.zeros(10, dtype=torch.bfloat16)}, tmp_path / "one.safetensors.small")
    told = subprocess.run(
        [sys.executable, "-c", PEAK, str(path), dtype], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    peak, weights = map(int, told.stdout.split())
    assert weights == 60e6 * getattr(torch, dtype).itemsize
    assert peak <= weights + 30e6, f"{peak / weights:.2f} times the weights"


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("wanted", [torch.bfloat16, torch.float16, torch.float32])
def test_every_type_becomes_every_other(
    stored: torch.dtype, wanted: torch.dtype, tmp_path: Path, small_blocks: None
) -> None:
    values = torch.randn(97, 131, generator=torch.Generator().manual_seed(1)).to(stored)
    save_file({"odd": torch.zeros(3, dtype=stored), "w": values}, tmp_path / "x.safetensors")
    out = torch.empty(80, 131, dtype=wanted)
    with Reader(tmp_path / "x.safetensors", CPU, lambda count: None) as reader:
        reader.into(read_header(tmp_path / "x.safetensors")["w"], out)
    assert torch.equal(out, values[:80].to(wanted))


def test_written_files_are_those_of_the_library(tmp_path: Path, small_blocks: None) -> None:
    generator = torch.Generator().manual_seed(2)
    tensors = {f"t{k}": torch.randn(5, 3 + k, generator=generator).to(d) for k, d in enumerate(safetensor.NAMES)}
    write_file(
        tmp_path / "x", {n: (t.dtype, tuple(t.shape)) for n, t in tensors.items()}, lambda n: tensors[n].split(2)
    )
    back = load_file(tmp_path / "x")
    assert back.keys() == tensors.keys() and all(torch.equal(back[n], t) for n, t in tensors.items())


def test_a_tensor_that_is_not_as_announced_is_not_written(tmp_path: Path) -> None:
    layout = {"w": (torch.float32, (2, 2))}
    with pytest.raises(ValueError, match=r"announced as torch\.float32, got torch\.float16"):
        write_file(tmp_path / "x", layout, lambda n: [torch.zeros(2, 2).half()])
    with pytest.raises(ValueError, match="came with 8 bytes"):
        write_file(tmp_path / "x", layout, lambda n: [torch.zeros(2)])


def test_a_file_cut_while_it_is_read(tmp_path: Path) -> None:
    """Mapped, this would have ended the process."""
    path = tmp_path / "x"
    write_file(path, {"w": (torch.float32, (1000,))}, lambda n: [torch.zeros(1000)])
    tensor = read_header(path)["w"]
    os.truncate(path, 2000)
    with Reader(path, CPU, lambda count: None) as reader, pytest.raises(CheckpointError, match="cut short while w was"):
        reader.into(tensor, torch.empty(1000))


def test_a_shape_that_does_not_fit_its_place(tmp_path: Path) -> None:
    path = tmp_path / "x"
    text = b'{"w":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}'
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * 8)
    with pytest.raises(CheckpointError, match=r"w F32 \[3\] needs 12 bytes, got place 0\.\.8"):
        read_header(path)


def test_progress_tells_tensors_bytes_and_memory(checkpoint: Path) -> None:
    counts: list[tuple[int, int]] = []
    told: list[Loading] = []
    loaded = load_model(checkpoint, CPU, torch.float32, hooks=Hooks(lambda a, b: counts.append((a, b)), told.append))
    parameters = sum(1 for _ in loaded.model.parameters())
    assert counts == [(k, parameters) for k in range(1, parameters + 1)]
    assert [t.tensors for t in told] == [k for k, _ in counts]
    assert told[-1].bytes == told[-1].bytes_total == sum(p.numel() * 2 for p in loaded.model.parameters())
    assert all(a.bytes < b.bytes for a, b in pairwise(told))
    assert told[-1].memory > sum(p.numel() * 4 for p in loaded.model.parameters())
    assert f"{parameters} of {parameters} tensors, 0.04 of 0.04 GB" in str(told[-1])


def test_the_old_way_to_hear_of_progress(checkpoint: Path) -> None:
    counts: list[tuple[int, int]] = []
    load_model(checkpoint, CPU, torch.float32, 0, lambda a, b: counts.append((a, b)))
    assert counts[-1][0] == counts[-1][1] == len(counts)


def test_a_load_in_a_thread_is_called_off_between_blocks(checkpoint: Path, small_blocks: None) -> None:
    begun, stop, ended = threading.Event(), threading.Event(), []

    def load() -> None:
        def report(now: Loading) -> None:
            begun.set()
            stop.wait(20)

        try:
            load_model(checkpoint, CPU, torch.float32, hooks=Hooks(report=report, cancel=stop.is_set))
        except Cancelled as error:
            ended.append(str(error))

    thread = threading.Thread(target=load)
    thread.start()
    assert begun.wait(20)
    stop.set()
    thread.join(20)
    assert not thread.is_alive() and len(ended) == 1 and "after 1 of" in ended[0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_numbers_are_named(bad: float, copy: Path) -> None:
    weight = load_file(copy / SHARD_2)[NORM].clone()
    weight[17] = bad
    edit(copy, {NORM: weight})
    with pytest.raises(CheckpointError, match=rf"{SHARD_2}: {TOLD} must be finite, 1 of 48 .* \[17\] is {bad}"):
        load_model(copy, CPU, torch.float32)


def test_weights_too_large_for_float16_say_what_would_hold_them(copy: Path) -> None:
    edit(copy, {NORM: torch.full((48,), 1e5, dtype=torch.bfloat16)})
    with pytest.raises(CheckpointError, match=rf"{TOLD} must be finite, 48 of 48.*choose dtype bfloat16 or float32"):
        load_model(copy, CPU, torch.float16)
    assert load_model(copy, CPU, torch.bfloat16)


def test_sums_that_cancel_out_hide_nothing() -> None:
    place = Stored(Path("x"), "w", (2,), "F32")
    with pytest.raises(CheckpointError, match="2 of 2 entries"):
        reading.check_finite("w", torch.tensor([float("inf"), float("-inf")]), place)
    reading.check_finite("w", torch.full((3,), 3e38), place)  # an infinite sum of finite numbers is no fault


def test_what_does_not_fit_is_refused_before_it_is_loaded(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free", lambda device: 60_000_000)
    monkeypatch.setattr(Reader, "into", lambda *_: pytest.fail("read although there is no room"))
    with pytest.raises(
        CheckpointError, match=r"needs 0\.1 GB as float32 on cpu, .*0\.1 GB free; what fits: dtype bfloat16"
    ):
        load_model(checkpoint, CPU, torch.float32)
    monkeypatch.setattr(memory, "free", lambda device: 10_000_000)
    with pytest.raises(CheckpointError, match=r"nothing fits here: it takes a device with 0\.0 GB free, as bfloat16"):
        load_model(checkpoint, CPU, torch.float32)


def test_out_of_gpu_memory_names_the_option_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The full model as float32 on a card of 24 GB beside a host of 64 GB."""
    rooms = {"cuda": 23.5e9, "cpu": 64e9}
    monkeypatch.setattr(memory, "free", lambda device: int(rooms[device.type]))
    gpu, parameters = torch.device("cuda:0"), 8_034_000_000
    with pytest.raises(CheckpointError) as caught:
        memory.check_room("checkpoint: x", parameters, torch.float32, gpu)
    text = str(caught.value)
    assert "needs 32.1 GB as float32 on cuda:0, which has 23.5 GB free" in text
    assert "what fits: dtype bfloat16 (16.1 GB), or device cpu with dtype float32 (32.1 GB)" in text
    memory.check_room("checkpoint: x", parameters, torch.bfloat16, gpu)
    rooms["cuda"] = 8e9
    assert "what fits: device cpu with dtype bfloat16" in str(memory.shortage("x", parameters, torch.bfloat16, gpu))


def test_memory_that_runs_out_on_the_way_says_the_same(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(reading, "fill", full)
    with pytest.raises(CheckpointError, match=r"needs .* GB as float32 on cpu.*what fits: dtype bfloat16"):
        load_model(checkpoint, CPU, torch.float32)


def test_a_container_may_leave_less_than_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    host = memory.free(CPU)
    assert host is not None and host > 0
    for name, text in (("max", "5000000\n"), ("current", "2000000\n"), ("stat", "anon 1\ninactive_file 1000000\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert memory.free(CPU) == 4_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free(CPU) != 4_000_000


def test_half_of_the_names_in_the_newer_spelling(copy: Path, loaded: Loaded) -> None:
    """Newer transformers drop `vision_model.` from the tower's names; either way is the same tower."""
    tensors = load_file(copy / SHARD_2)
    tower = [n for n in tensors if ".vision_model." in n]
    assert tower
    renamed = {n.replace("vision_model.", "") if n in tower[::2] else n: t for n, t in tensors.items()}
    (copy / SHARD_2).unlink()
    save_file(renamed, copy / SHARD_2)
    index = copy / reading.INDEX
    text = index.read_text()
    for name in tower[::2]:
        text = text.replace(f'"{name}"', f'"{name.replace("vision_model.", "")}"')
    index.unlink()
    index.write_text(text)
    again = load_model(copy, CPU, torch.float32)
    for (name, a), (_, b) in zip(again.model.named_parameters(), loaded.model.named_parameters(), strict=True):
        assert torch.equal(a, b), name
