"""Markdown to passages: paragraphs, headings, list items and table cells, without code blocks and comments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tools.prose.model import MARKDOWN, Passage

__all__ = ["blocks", "markdown_passages"]

_FENCE = re.compile(r"\s*(?:>\s*)?(`{3,}|~{3,})")
_HEADING = re.compile(r"\s{0,3}#{1,6}\s+")
_ITEM = re.compile(r"\s*(?:[-*+]|\d{1,3}[.)])\s+")
_QUOTE = re.compile(r"\s{0,3}>\s?")
_RULE = re.compile(r"\s*(?:[-*_=]\s*){3,}$")
_DEFINITION = re.compile(r"\s{0,3}\[[^\]]+\]:\s")
_CELL = re.compile(r"(?<!\\)\|")
_CODE_SPAN = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")


def markdown_passages(path: Path, source: str) -> Iterator[Passage]:
    """Yield the passages of a Markdown file."""
    for line, text in blocks(source, 1):
        yield Passage(path, line, MARKDOWN, text)


def blocks(source: str, first: int) -> Iterator[tuple[int, str]]:
    """Yield the blocks of prose in Markdown, each with the number of its first line.

    Args:
        source: The Markdown text, not indented as a whole.
        first: The number of the text's first line.
    """
    block = _Block()
    fence = ""
    in_code = False  # an indented code block, which starts after an empty line outside a list
    in_list = False
    after_blank = True
    for number, line in enumerate(_without_comments(source).split("\n"), first):
        opening = _FENCE.match(line)
        if fence:
            if opening and opening[1].startswith(fence):
                fence = ""
            continue
        if opening:
            yield from block.end()
            fence, after_blank = opening[1], True
            continue
        line = _QUOTE.sub("", line, count=1) if _QUOTE.match(line) else line
        if not line.strip():
            yield from block.end()
            after_blank = True
            continue
        in_list = (in_list and not (after_blank and line[0] not in " \t")) or bool(_ITEM.match(line))
        in_code = line.startswith(("    ", "\t")) and not in_list and (in_code or after_blank)
        after_blank = False
        if in_code or _DEFINITION.match(line) or _RULE.match(line):
            yield from block.end()
        elif line.lstrip().startswith("|"):
            yield from block.end()
            yield from ((number, cell) for cell in _cells(line))
        elif _HEADING.match(line):
            yield from block.end()
            yield number, _HEADING.sub("", line)
        else:
            if item := _ITEM.match(line):
                yield from block.end()
                line = " " * item.end() + line[item.end() :]
            block.add(number, line)
    yield from block.end()


class _Block:
    """The lines of the block that is being read."""

    def __init__(self) -> None:
        self._line = 0
        self._lines: list[str] = []

    def add(self, number: int, line: str) -> None:
        """Append a line."""
        if not self._lines:
            self._line = number
        self._lines.append(line)

    def end(self) -> Iterator[tuple[int, str]]:
        """Yield the block, if it has a line, and start the next one."""
        if self._lines:
            yield self._line, "\n".join(self._lines)
            self._lines = []


def _without_comments(source: str) -> str:
    return re.sub(r"<!--.*?-->", lambda found: "\n" * found[0].count("\n"), source, flags=re.DOTALL)


def _cells(line: str) -> Iterator[str]:
    masked = _CODE_SPAN.sub(lambda found: "`" * len(found[0]), line)  # a bar in code separates no cells
    start = 0
    for end in [*(bar.start() for bar in _CELL.finditer(masked)), len(line)]:
        cell = line[start:end].strip()
        if re.search(r"\w", cell):
            yield cell
        start = end + 1
