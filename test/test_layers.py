"""The arrows of the house: a file imports only lower layers, its own folder, or a folder left of it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = "reconvla_ros"
ROOT = Path(__file__).resolve().parent.parent / PACKAGE

# Left to right, lowest first. Within a layer a folder may import those left of it.
ORDER = (
    ("types", "errors", "tables", "config", "graph"),  # L0
    ("observation", "safety", "task", "arm", "sim", "camera", "calibration", "teleop", "recording"),  # L1, L2
    ("model", "policy", "training", "evaluation"),  # L3
    ("nodes",),  # L4
    ("bench", "cli"),  # L5
)
GENERATED = ("msg", "srv", "action")  # by the interface generator; only nodes and above may use them
# What a layer may import from outside beyond the standard library.
PURE = {"numpy", "scipy", "yaml"}
PURE_FILES = {"arm/protocol.py", "tables.py", "camera/protocol.py", "camera/settings.py", "camera/clock.py",
              "camera/streams.py", "camera/usb.py", "camera/keeper.py", "sim/frames.py", "sim/firmware.py",
              "sim/settings.py", "sim/shared_state.py", "recording/episode.py", "recording/settings.py"}  # fmt: skip
TORCH = ("model", "policy", "training", "evaluation")


def place(module: str) -> tuple[int, int] | None:
    """(layer, position in it) of the first part of a module path inside the package."""
    for layer, names in enumerate(ORDER):
        if module in names:
            return layer, names.index(module)
    return None


def imports(path: Path) -> list[tuple[int, str]]:
    """Every imported module with its line, those inside functions too."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            # `from reconvla_ros import tables` imports reconvla_ros.tables
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


FILES = sorted(ROOT.rglob("*.py"))
IDS = [str(p.relative_to(ROOT)) for p in FILES]


def violations(relative: str, found: list[tuple[int, str]]) -> list[str]:
    parts = relative.split("/")
    own = parts[0].removesuffix(".py")
    here = place(own)
    bad = []
    for line, module in found:
        words = module.split(".")
        if words[0] == PACKAGE:
            target = words[1] if len(words) > 1 else ""
            if target in GENERATED:
                if here is not None and here[0] < 3:
                    bad.append(f"{relative}:{line}: messages belong to nodes and above, not to {own}")
                continue
            there = place(target)
            if there is None or here is None:
                bad.append(f"{relative}:{line}: {module} is in no layer")
            elif there > here and not (here[0] == there[0] == 0):
                bad.append(f"{relative}:{line}: {own} may not import {target}")
        elif words[0] == "rclpy" and (here is None or here[0] < 3):
            bad.append(f"{relative}:{line}: rclpy below the nodes")
        elif words[0] in ("torch", "transformers") and own not in (*TORCH, "bench", "cli", "nodes"):
            bad.append(f"{relative}:{line}: {words[0]} outside {', '.join(TORCH)}")
    return bad


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_a_file_imports_only_what_lies_below_it(path: Path) -> None:
    relative = str(path.relative_to(ROOT))
    if relative == "__init__.py":
        assert not imports(path), "the top __init__ holds its docstring only"
        return
    assert violations(relative, imports(path)) == []


@pytest.mark.parametrize("relative", sorted(PURE_FILES))
def test_pure_files_use_numpy_scipy_and_yaml_only(relative: str) -> None:
    import sys

    foreign = (
        {m.split(".")[0] for _, m in imports(ROOT / relative)} - set(sys.stdlib_module_names) - {PACKAGE, "__future__"}
    )
    assert foreign <= PURE


@pytest.mark.parametrize("path", [p for p in FILES if p.name == "__init__.py"], ids=lambda p: str(p.relative_to(ROOT)))
def test_init_files_hold_a_docstring_and_nothing_else(path: Path) -> None:
    body = ast.parse(path.read_text()).body
    assert len(body) == 1
    assert isinstance(body[0], ast.Expr)
    assert isinstance(body[0].value, ast.Constant)


def test_the_law_is_enforced() -> None:
    """The checker itself: an arrow that points up is seen."""
    assert violations("arm/x.py", [(1, "reconvla_ros.policy.contract")])
    assert violations("model/x.py", [(1, "rclpy.node")])
    assert violations("types.py", [(1, "reconvla_ros.arm.control")])
    assert violations("safety/x.py", [(1, "reconvla_ros.msg.ArmStatus")])
    assert violations("sim/x.py", [(1, "torch")])
    assert not violations("cli/x.py", [(1, "reconvla_ros.nodes.qos")])
    assert not violations("camera/sim.py", [(1, "reconvla_ros.sim.scenes")])


def test_no_function_is_longer_than_sixty_lines() -> None:
    long = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                size = (node.end_lineno or 0) - node.lineno + 1
                if size > 60:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} {size}")
    assert long == []
