"""The selection of files, and the rules for each kind of file."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from tools.prose.markdown import markdown_passages
from tools.prose.model import Finding, Passage
from tools.prose.public_api import public_functions
from tools.prose.public_docstrings import check_public_docstrings
from tools.prose.python import python_passages
from tools.prose.rules import check_sentences
from tools.prose.summaries import check_summaries

__all__ = ["check", "configured_paths", "files", "passages"]

_SOURCE = Path("src")


def configured_paths(root: Path) -> list[Path]:
    """Return the paths that `[tool.prose]` in pyproject.toml switches on.

    Raises:
        SystemExit: If one of them does not exist, as after a rename.
    """
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["prose"]
    paths = [Path(name) for name in settings["paths"]]
    missing = [str(path) for path in paths if not (root / path).exists()]
    if missing:
        raise SystemExit(f"pyproject.toml: [tool.prose] paths: no such file or folder: {', '.join(missing)}")
    return paths


def files(paths: Collection[Path]) -> Sequence[Path]:
    """Return the Markdown and Python files among the paths and below them, sorted."""
    found = set[Path]()
    for path in paths:
        below = [path] if path.is_file() else path.rglob("*")
        found.update(file for file in below if file.suffix in (".md", ".py") and "node_modules" not in file.parts)
    return sorted(found)


def passages(path: Path) -> Iterator[Passage]:
    """Yield the passages of one file. Comments and messages count in `src` only."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield from markdown_passages(path, source)
    else:
        yield from python_passages(path, source, only_docstrings=not _in_source(path))


def check(paths: Collection[Path]) -> list[Finding]:
    """Return the findings of all rules in the files of `paths`, sorted by file and line."""
    public = public_functions() if any(path.suffix == ".py" and _in_source(path) for path in files(paths)) else ()
    return sorted(finding for path in files(paths) for finding in _check(path, public))


def _check(path: Path, public: Collection[tuple[str, str]]) -> Iterator[Finding]:
    for passage in passages(path):
        yield from check_sentences(passage)
    if path.suffix == ".py":
        tree = ast.parse(path.read_text(encoding="utf-8"))
        yield from check_summaries(path, tree)
        yield from check_public_docstrings(path, tree, _module(path), public)


def _in_source(path: Path) -> bool:
    return _SOURCE.name in path.parts


def _module(path: Path) -> str:
    parts = path.with_suffix("").parts
    if _SOURCE.name in parts:
        parts = parts[parts.index(_SOURCE.name) + 1 :]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
