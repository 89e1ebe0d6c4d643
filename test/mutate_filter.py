"""Mutation check of the filter: does a test notice when a check is missing or bent?

    PYTHONPATH=. python test/mutate_filter.py [--list] [WORD ...]

Each mutant is one change of one of the files below, made in the memory of a forked process, which then runs
test/safety/test_filter*.py until the first failure. Kinds: every rule of RULES left out; every condition taken for true and for
false; every comparison reversed; every minimum and maximum swapped; every clamp undone. A mutant that
no test notices has survived. Exit status 1 when one has that is not among EQUAL, which change nothing that could be seen.
"""

from __future__ import annotations

import ast
import importlib
import io
import os
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SAFETY = ROOT / "reconvla_ros" / "safety"
FILES = ("filter.py", "case.py", "rules_input.py", "rules_place.py", "rules_motion.py")
# Those that take long last.
TESTS = sorted((str(p) for p in (ROOT / "test" / "safety").glob("test_filter*.py")), key=lambda p: "propert" in p)
SWAPPED = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum"}
# Mutants that cannot be told from the original, with the reason. A word of `Mutant.name` each.
EQUAL: dict[str, str] = {}


class Mutant:
    """One changed file: `name`, and its text parsed anew for every mutant."""

    def __init__(self, file: str, name: str, tree: ast.Module) -> None:
        self.file, self.name, self.tree = file, name, tree


def parse(file: str) -> ast.Module:
    return ast.parse((SAFETY / file).read_text(encoding="utf-8"))


def count(file: str, kind: type[ast.AST]) -> int:
    return sum(isinstance(node, kind) for node in ast.walk(parse(file)))


def nth(tree: ast.Module, kind: type[ast.AST], number: int) -> ast.AST:
    return [node for node in ast.walk(tree) if isinstance(node, kind)][number]


def rules() -> Iterator[Mutant]:
    """Each rule left out."""
    number = 0
    while True:
        tree = parse("filter.py")
        table = next(n for n in ast.walk(tree) if isinstance(n, ast.AnnAssign) and ast.unparse(n.target) == "RULES")
        assert isinstance(table.value, ast.Tuple)
        if number >= len(table.value.elts):
            return
        gone = table.value.elts.pop(number)
        yield Mutant("filter.py", f"without the rule {ast.unparse(gone)}", tree)
        number += 1


def conditions(file: str) -> Iterator[Mutant]:
    """Each `if` and each conditional expression taken for true and for false."""
    for kind in (ast.If, ast.IfExp):
        for number in range(count(file, kind)):
            for value in (True, False):
                tree = parse(file)
                node = nth(tree, kind, number)
                assert isinstance(node, (ast.If, ast.IfExp))
                name = f"line {node.lineno}: {ast.unparse(node.test)} -> {value}"
                node.test = ast.copy_location(ast.Constant(value), node.test)
                yield Mutant(file, name, tree)


def comparisons(file: str) -> Iterator[Mutant]:
    """Each comparison reversed."""
    reverse = {ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt}
    for number in range(count(file, ast.Compare)):
        tree = parse(file)
        node = nth(tree, ast.Compare, number)
        assert isinstance(node, ast.Compare)
        for place, operator in enumerate(node.ops):
            if type(operator) in reverse:
                tree = parse(file)
                node = nth(tree, ast.Compare, number)
                assert isinstance(node, ast.Compare)
                before = ast.unparse(node)
                node.ops[place] = reverse[type(operator)]()
                yield Mutant(file, f"line {node.lineno}: {before} -> {ast.unparse(node)}", tree)


def extremes(file: str) -> Iterator[Mutant]:
    """Each minimum and maximum swapped."""
    for number in range(count(file, ast.Call)):
        tree = parse(file)
        node = nth(tree, ast.Call, number)
        assert isinstance(node, ast.Call)
        before, call = ast.unparse(node), node.func
        if isinstance(call, ast.Name) and call.id in SWAPPED:
            call.id = SWAPPED[call.id]
        elif isinstance(call, ast.Attribute) and call.attr in SWAPPED and node.args:
            call.attr = SWAPPED[call.attr]
        else:
            continue
        yield Mutant(file, f"line {node.lineno}: {before} -> {ast.unparse(node)}", tree)


def clamps(file: str) -> Iterator[Mutant]:
    """Each `replace(...)` of a command undone."""
    for number in range(count(file, ast.Call)):
        tree = parse(file)
        node = nth(tree, ast.Call, number)
        assert isinstance(node, ast.Call)
        if isinstance(node.func, ast.Name) and node.func.id == "replace":
            name = f"line {node.lineno}: {ast.unparse(node)} undone"
            node.keywords = []
            yield Mutant(file, name, tree)


def mutants() -> Iterator[Mutant]:
    """All of them, the rules first."""
    yield from rules()
    for file in FILES[1:]:
        for kind in (conditions, comparisons, extremes, clamps):
            yield from kind(file)


def survives(mutant: Mutant) -> bool:
    """Whether every test passes, in a process of its own."""
    child = os.fork()
    if child == 0:
        os._exit(_run(mutant))
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def _run(mutant: Mutant) -> int:
    module = importlib.import_module(f"reconvla_ros.safety.{mutant.file.removesuffix('.py')}")
    code = compile(ast.fix_missing_locations(mutant.tree), mutant.file, "exec")
    exec(code, module.__dict__)
    for name in FILES[2:]:  # who took names from the changed module takes them anew
        other = importlib.import_module(f"reconvla_ros.safety.{name.removesuffix('.py')}")
        if other is not module:
            importlib.reload(other)
    if mutant.file != "filter.py":
        importlib.reload(importlib.import_module("reconvla_ros.safety.filter"))
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        return int(pytest.main(["-x", "-q", "--timeout=60", "-p", "no:cacheprovider", f"--rootdir={ROOT}", *TESTS]))


def main(words: list[str]) -> int:
    """0 = every mutant that can be told from the original was noticed."""
    os.chdir(ROOT)
    os.environ["FILTER_EXAMPLES"] = "100"
    wanted = [m for m in mutants() if all(word in f"{m.file} {m.name}" for word in words if word != "--list")]
    if "--list" in words:
        print(*(f"{m.file} {m.name}" for m in wanted), sep="\n")
        return 0
    for name in (
        "reconvla_ros.arm.kinematics",
        "reconvla_ros.arm.settings",
        "hypothesis.extra.numpy",
        "scipy.spatial.transform",
    ):
        importlib.import_module(name)
    importlib.import_module("reconvla_ros.safety.filter")
    if not survives(Mutant("filter.py", "unchanged", parse("filter.py"))):
        print("the unchanged filter fails its tests")
        return 1
    started, left, equal = time.monotonic(), [], 0
    for mutant in wanted:
        if survives(mutant):
            known = next((why for word, why in EQUAL.items() if word in f"{mutant.file} {mutant.name}"), "")
            equal += bool(known)
            left += [] if known else [mutant]
            print(f"survived{f' ({known})' if known else ''}: {mutant.file} {mutant.name}", flush=True)
    killed = len(wanted) - len(left) - equal
    print(f"{len(wanted)} mutants: {killed} killed, {len(left)} survived, {equal} equal to the original, "
          f"{time.monotonic() - started:.0f} s")  # fmt: skip
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
