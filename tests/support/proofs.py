"""Pages that name the tests which prove what they say."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

__all__ = ["ROOT", "missing"]

ROOT = Path(__file__).resolve().parents[2]
_TEST = re.compile(r"^`(tests/[\w/]+\.py)::(test_\w+)`$")


def missing(proof: str) -> str | None:
    """What is wrong with a proof as it stands on a page, `tests/….py::test_…` between backticks; None for nothing."""
    test = _TEST.match(proof)
    if test is None:
        return f"expected `tests/….py::test_…`, got {proof!r}"
    path, name = test.groups()
    if not (ROOT / path).exists():
        return f"there is no {path}"
    return None if name in _names_in(path) else f"{path} has no {name}"


@cache
def _names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
