"""The values that the linter's parts exchange: passages of prose and findings about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["COMMENT", "DOCSTRING", "MARKDOWN", "MESSAGE", "Finding", "Passage"]

MARKDOWN = "markdown"
DOCSTRING = "docstring"
COMMENT = "comment"
MESSAGE = "message"


@dataclass(frozen=True, slots=True)
class Passage:
    """A block of prose: a paragraph, a list item, a table cell, a comment, or one message.

    Args:
        path: The file.
        line: The number of the passage's first line.
        kind: One of `MARKDOWN`, `DOCSTRING`, `COMMENT` and `MESSAGE`.
        text: The text as it is written, with its line breaks.
    """

    path: Path
    line: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One violation of one rule."""

    path: Path
    line: int
    rule: str
    quote: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.advice}\n    {self.quote}"
