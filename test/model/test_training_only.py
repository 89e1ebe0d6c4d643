"""The reconstruction branch is left out at inference: nothing that the policy imports, directly or not, imports it."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "reconvla_ros"
BRANCH = {f"reconvla_ros.model.{name}" for name in ("denoiser", "diffusion", "gaze_latents", "reconstruction")}


def imported(module: str) -> set[str]:
    """Modules of the package that `module` imports, inside functions too."""
    path = PACKAGE.parent / (module.replace(".", "/") + ".py")
    if not path.is_file():
        return set()
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("reconvla_ros"):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("reconvla_ros")}
    return found


def reached(start: set[str]) -> set[str]:
    """All that is imported from there on."""
    seen: set[str] = set()
    while start:
        seen |= start
        start = set().union(*(imported(module) for module in start)) - seen
    return seen


def test_the_policy_never_imports_the_branch_or_the_trainer() -> None:
    policy = {f"reconvla_ros.policy.{p.stem}" for p in (PACKAGE / "policy").glob("*.py")}
    nodes = {f"reconvla_ros.nodes.{p.stem}" for p in (PACKAGE / "nodes").glob("*.py")}
    found = reached(policy | nodes)
    assert found & BRANCH == set()
    assert not [module for module in found if module.startswith("reconvla_ros.training")]


def test_the_walk_sees_the_branch_where_it_is_used() -> None:
    assert reached({"reconvla_ros.training.finetune"}) >= BRANCH
