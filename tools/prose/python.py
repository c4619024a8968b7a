"""Python source to passages: docstrings, comments, and message strings.

Messages also pass through constants and helpers. Therefore every other string that looks like a sentence (five words
or more) counts as a message too.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

from tools.prose.docstrings import docstring_blocks, docstring_nodes
from tools.prose.messages import messages, other_sentences, text_of
from tools.prose.model import COMMENT, DOCSTRING, MESSAGE, Passage

__all__ = ["python_passages"]

_DIRECTIVE = re.compile(r"#(?:!| ?(?:noqa|type:|pragma|fmt:|mypy:|ruff:|-{3,}|={3,}))")


def python_passages(path: Path, source: str, *, only_docstrings: bool = False) -> Iterator[Passage]:
    """Yield the passages of a Python file.

    Args:
        path: The file.
        source: Its content.
        only_docstrings: Whether to leave out comments and messages.
    """
    tree = ast.parse(source)
    docstrings = list(docstring_nodes(tree))
    for node in docstrings:
        for line, text in docstring_blocks(node):
            yield Passage(path, line, DOCSTRING, text)
    if only_docstrings:
        return
    for line, text in _comments(source):
        yield Passage(path, line, COMMENT, text)
    found = list(messages(tree))
    for message in [*found, *other_sentences(tree, {id(node) for node in [*docstrings, *found]})]:
        yield Passage(path, message.lineno, MESSAGE, text_of(message))


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
