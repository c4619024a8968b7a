"""Python source to passages: docstrings, comments, and message strings.

A message is a string, an f-string, or a `%` or `format` template among the arguments of `raise X(…)`,
`logger.warning(…)` or `warnings.warn(…)`. Messages also pass through constants and helpers. Therefore every other
string that looks like a sentence (five words or more) counts as a message too.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

from tools.prose.docstrings import docstring_blocks, docstring_nodes
from tools.prose.model import COMMENT, DOCSTRING, MESSAGE, Passage
from tools.prose.sentences import MASK

__all__ = ["python_passages"]

_LOG_METHODS = frozenset({"critical", "debug", "error", "exception", "info", "log", "warning"})
_DIRECTIVE = re.compile(r"#(?:!| ?(?:noqa|type:|pragma|fmt:|mypy:|ruff:|-{3,}|={3,}))")
_PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[-+ #0]*\d*(?:\.\d+)?[srdifgxX]|\{\w*(?:[.!:][^{}]*)?\}")
_SEVERAL_WORDS = re.compile(rf"[\w{MASK}]\s+\S*[\w{MASK}]")
_SENTENCE_LIKE = re.compile(r"^(?:[\w'’\"(]+[\w'’\",;:.()-]*\s+){4,}\S+$")


def python_passages(path: Path, source: str, *, messages: bool = True) -> Iterator[Passage]:
    """Yield the passages of a Python file.

    Args:
        path: The file.
        source: Its content.
        messages: Whether to include comments and messages, or only docstrings.
    """
    tree = ast.parse(source)
    skipped = set()
    for node in docstring_nodes(tree):
        skipped.add(id(node))
        for line, text in docstring_blocks(node):
            yield Passage(path, line, DOCSTRING, text)
    if messages:
        for line, text in _comments(source):
            yield Passage(path, line, COMMENT, text)
        for line, text in _messages(tree, skipped):
            yield Passage(path, line, MESSAGE, text)


def _comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield each comment. Comments on lines of their own, directly below each other, are one."""
    start, column, lines = 0, 0, list[str]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or _DIRECTIVE.match(token.string):
            continue
        text = token.string.lstrip("#: ")
        own_line = not token.line[: token.start[1]].strip()
        if own_line and lines and token.start == (start + len(lines), column):
            lines.append(text)
            continue
        if lines:
            yield start, "\n".join(lines)
        start, column, lines = token.start[0], token.start[1] if own_line else -1, [text]
    if lines:
        yield start, "\n".join(lines)


def _messages(tree: ast.Module, skipped: set[int]) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        for argument in _message_arguments(node):
            for part in _strings(argument):
                if id(part) not in skipped:
                    skipped.update(id(inner) for inner in ast.walk(part))
                    if _SEVERAL_WORDS.search(text := _text(part)):
                        yield part.lineno, text
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in skipped:
            skipped.update(id(inner) for inner in ast.walk(node))
            if _SENTENCE_LIKE.match((text := _text(node)).strip()):
                yield node.lineno, text


def _message_arguments(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        return [*node.exc.args, *(keyword.value for keyword in node.exc.keywords)]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        owner, method = ast.unparse(node.func.value).lower(), node.func.attr
        if (owner.endswith(("log", "logger")) and method in _LOG_METHODS) or (owner, method) == ("warnings", "warn"):
            return list(node.args)
    return []


def _strings(node: ast.expr) -> Iterator[ast.expr]:
    """Yield the strings that an argument may become."""
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        yield node
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield from (part for side in (node.left, node.right) for part in _strings(side))
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        yield from _strings(node.left)
    elif isinstance(node, ast.IfExp):
        yield from (part for side in (node.body, node.orelse) for part in _strings(side))
    elif isinstance(node, ast.BoolOp):
        yield from (part for value in node.values for part in _strings(value))
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        yield from _strings(node.func.value)


def _text(node: ast.expr) -> str:
    """Return the string with every interpolated value masked."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else MASK for part in node.values)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _PLACEHOLDER.sub(MASK, node.value)
    return ""
