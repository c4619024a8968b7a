"""Docstrings to blocks of prose: paragraphs and list items, and the entries of Google-style sections."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from textwrap import dedent

from tools.prose.markdown import blocks

__all__ = ["docstring_blocks", "docstring_nodes", "sections"]

_HEADER = re.compile(
    r"(Args|Arguments|Attributes|Example|Examples|Note|Notes|Raises|Returns|See Also|Warning|Warnings|Warns|Yields):$"
)
_WITH_NAMES = frozenset({"Args", "Arguments", "Attributes", "Raises", "Warns"})
_WITH_CODE = frozenset({"Example", "Examples"})
_ENTRY = re.compile(r"(\*{0,2}[\w.`]+)(?:\s*\([^()]*\))?:(?:\s+|$)")
_DOCTEST = re.compile(r"\s*>>> ")


def docstring_nodes(tree: ast.Module) -> Iterator[ast.Constant]:
    """Yield the docstrings of a module: its own, and those of classes, functions, attributes and `property(doc=…)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "doc" and isinstance(node.value, ast.Constant):
            yield node.value
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for index, statement in enumerate(node.body):
            if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
                continue
            follows_attribute = index > 0 and isinstance(node.body[index - 1], ast.Assign | ast.AnnAssign)
            if isinstance(statement.value.value, str) and (index == 0 or follows_attribute):
                yield statement.value


def docstring_blocks(node: ast.Constant) -> Iterator[tuple[int, str]]:
    """Yield the blocks of prose of one docstring, each with the number of its first line."""
    for name, line, text in sections(str(node.value), node.lineno):
        if name in _WITH_CODE:
            continue
        if name in _WITH_NAMES:
            for number, entry in _entries(line, text):
                yield from blocks(_ENTRY.sub("", entry, count=1), number)
        else:
            yield from blocks(_without_doctests(text), line)


def sections(docstring: str, first: int = 1) -> Iterator[tuple[str, int, str]]:
    """Yield the parts of a docstring: the name of the section, its first line's number, and its dedented text.

    The part before the first section has the name "". A section ends at the next line that is not indented.

    Args:
        docstring: The string as it stands in the source.
        first: The number of its first line.
    """
    summary, _, rest = docstring.partition("\n")
    name, start, lines = "", first, [summary.strip()]
    for number, line in enumerate(dedent(rest).split("\n") if rest else [], first + 1):
        header = _HEADER.match(line.rstrip())
        if header or (name and line[:1].strip()):
            yield name, start, dedent("\n".join(lines))
            name, start, lines = (header[1], number + 1, []) if header else ("", number, [line])
        else:
            lines.append(line)
    yield name, start, dedent("\n".join(lines))


def _entries(first: int, text: str) -> Iterator[tuple[int, str]]:
    """Yield the entries of a section: each starts on a line that is not indented."""
    start, lines = first, list[str]()
    for number, line in enumerate(text.split("\n"), first):
        if line[:1].strip() and lines:
            yield start, "\n".join(lines)
            start, lines = number, []
        lines.append(line.strip())
    yield start, "\n".join(lines)


def _without_doctests(text: str) -> str:
    kept, in_doctest = list[str](), False
    for line in text.split("\n"):
        in_doctest = bool(_DOCTEST.match(line)) or (in_doctest and bool(line.strip()))
        kept.append("" if in_doctest else line)
    return "\n".join(kept)
