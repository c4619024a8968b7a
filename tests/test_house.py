"""Rules of the house that no linter of ours knows."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "src").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LONGEST = 320

# The one waits for another process to listen; the other skips, outside CI, tests of a missing program.
EXEMPT = {ROOT / "tests" / "docs" / "snippets.py", ROOT / "tests" / "support" / "parts.py"}


def names(path: Path) -> str:
    return str(path.relative_to(ROOT))


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("path", MODULES, ids=names)
def test_a_module_is_one_noun(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= LONGEST, f"expected at most {LONGEST} lines, got {lines}: it is probably two nouns"


@pytest.mark.parametrize("path", MODULES, ids=names)
def test_a_module_says_what_it_offers_and_offers_it(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if not tree.body or path.name == "__main__.py":
        return
    assert ast.get_docstring(tree), "expected a docstring that says what the module promises"
    offered = [value for target, value in _assignments(tree) if target == "__all__"]
    assert len(offered) == 1, "expected one `__all__`"
    listed = ast.literal_eval(offered[0])
    defined = {name for node in tree.body for name in _defined(node)}
    assert set(listed) - defined == set(), "these names of `__all__` do not exist"
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("path", [path for path in TESTS if path not in EXEMPT], ids=names)
def test_tests_wait_for_events_and_are_never_skipped(path: Path) -> None:
    for name, call in calls(path):
        if name.endswith("asyncio.sleep") and not (call.args and ast.unparse(call.args[0]) == "0"):
            pytest.fail(f"line {call.lineno}: wait for the event, with a timeout, not for time to pass")
        if name in ("pytest.skip", "pytest.importorskip", "pytest.mark.skip", "pytest.mark.skipif"):
            pytest.fail(f"line {call.lineno}: expected a test that runs, got {name}")


def _assignments(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in tree.body:
        if isinstance(node, ast.Assign):
            yield from ((ast.unparse(target), node.value) for target in node.targets)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield ast.unparse(node.target), node.value


def _defined(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.split(".")[0] for alias in node.names)
    elif isinstance(node, ast.Assign):
        yield from (ast.unparse(target) for target in node.targets)
    elif isinstance(node, ast.AnnAssign):
        yield ast.unparse(node.target)
    elif isinstance(node, ast.If | ast.Try):
        yield from (name for part in [*node.body, *node.orelse] for name in _defined(part))
