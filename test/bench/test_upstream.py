"""The original's loop, built anew, gives the tokens of the original itself, so that B1 races against the real thing."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from reconvla_ros.bench.upstream import Upstream, pixels
from reconvla_ros.model.model import Loaded, load_model

pytestmark = pytest.mark.golden
torch.set_num_threads(1)
SHARES = 7  # tests that the cases of the file are shared out to


@pytest.fixture(scope="module")
def folder() -> Path:
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
    found = Path(os.environ.get("RECONVLA_GOLDEN", beside))
    if not (found / "golden.json").is_file():
        pytest.skip(f"the original's vectors are not in {found}; RECONVLA_GOLDEN names another folder")
    return found


@pytest.fixture(scope="module")
def served(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "golden.json").read_text(encoding="utf-8"))["serve"]
    return found


@pytest.fixture(scope="module")
def cases(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_cases", folder / "cases.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def loaded(folder: Path) -> Loaded:
    return load_model(folder / "tiny_checkpoint", torch.device("cpu"), torch.float32)


def views(case: dict[str, Any], cases: ModuleType) -> tuple[np.ndarray, np.ndarray]:
    _, base, wrist, *_ = cases.CASE[case["case"]]
    return cases.synth_image(*base), cases.synth_image(*wrist)


def test_pixels_are_those_of_the_original(served: list[dict[str, Any]], cases: ModuleType) -> None:
    for case in served:
        found = pixels(*views(case, cases)).numpy()
        assert cases.sha(found) == case["pixel_sha"]


@pytest.mark.parametrize("place", range(SHARES))
def test_the_loop_gives_the_tokens_of_the_original(
    place: int, served: list[dict[str, Any]], cases: ModuleType, loaded: Loaded
) -> None:
    """Every case of the file, the two forms of the prompt in turns; the seventh runs into the limit of 128 tokens."""
    peer = Upstream(loaded.model, eos_ids=loaded.model.config.eos_ids)
    names = sorted({case["case"] for case in served})
    for number in range(place, len(names), SHARES):
        forms = [case for case in served if case["case"] == names[number]]
        case = forms[number % len(forms)]
        wanted = case["runs"]["fp16img"]["generated_ids"]
        assert peer.answer(*views(case, cases), case["input_ids"], 128) == wanted[:-1], names[number]


def test_it_does_so_without_rounding_the_image(served: list[dict[str, Any]], cases: ModuleType, loaded: Loaded) -> None:
    peer, case = Upstream(loaded.model, half_image=False, eos_ids=loaded.model.config.eos_ids), served[0]
    wanted = case["runs"]["fp32img"]["generated_ids"]
    assert peer.generate(pixels(*views(case, cases)), case["input_ids"], 128) == wanted


def test_it_keeps_the_maps_of_every_layer_and_the_logits_of_every_position(
    served: list[dict[str, Any]], cases: ModuleType, loaded: Loaded
) -> None:
    """What makes the original slow is there: else the race would be against something else."""
    peer, case = Upstream(loaded.model), served[0]
    seen: list[tuple[int, ...]] = []
    handle = peer.language.lm_head.register_forward_hook(lambda module, given, out: seen.append(tuple(out.shape)))
    kept: list[Any] = []
    inner = peer.language.generate

    def watched(**options: Any) -> Any:
        kept.append(inner(**options))
        return kept[-1]

    peer.language.generate = watched
    new = peer.generate(pixels(*views(case, cases)), case["input_ids"], 3)
    handle.remove()
    positions = len(case["input_ids"]) - 1 + loaded.model.config.vision.tokens
    assert len(new) == 3
    assert [shape[1] for shape in seen] == [positions, 1, 1]
    maps = kept[0]["attentions"]
    assert len(maps) == 3 and len(maps[0]) == loaded.model.config.language.layers
    assert maps[0][0].shape[-2:] == (positions, positions)
    assert peer.language.config._attn_implementation == peer.tower.config._attn_implementation == "eager"


def test_weights_of_the_same_dtype_are_shared(loaded: Loaded) -> None:
    peer = Upstream(loaded.model)
    assert peer.language.lm_head.weight.data_ptr() == loaded.model.lm_head.weight.data_ptr()
    assert not any(b.is_meta for m in (peer.language, peer.tower) for b in m.buffers())
    assert Upstream(loaded.model, torch.bfloat16).language.dtype == torch.bfloat16
