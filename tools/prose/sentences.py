"""The split of prose into sentences and words.

Inline code, URLs and interpolated values are masked first: each counts as one word and matches no term.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["MASK", "Sentence", "sentences", "words"]

MASK = "¤"  # stands for code; no prose contains it

_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)
_URL = re.compile(r"<?\bhttps?://[^\s>)]+>?")
_LINK_TARGET = re.compile(r"(?<=\])(\([^()\s]*(?:\s+(?:\"[^\"]*\"|'[^']*'))?\)|\[[^\]]*\])")
_MARKUP = re.compile(
    r"</?[a-zA-Z][^<>]*>"  # HTML tags
    r"|\*\*|__(?=\W|$)|(?<=\W)__"  # bold
    r"|(?<!\w)[*_](?=\w)|(?<=[\w.,:;!?)])[*_](?!\w)"  # italic
    r"|!(?=\[)|[\[\]]"  # images and links
)
_END = re.compile(r"[.!?…][\"'”’)*]*(?=\s)")
_ABBREVIATION = re.compile(r"(?:^|[\s(\"'])(?:e\.g|i\.e|etc|vs|cf|approx|incl|resp|no|fig|sec|St)\.$", re.IGNORECASE)
_WORD = re.compile(rf"[\w{MASK}]")


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of a passage.

    Args:
        text: The sentence on one line, with its code masked.
        quote: The sentence on one line, as it is written.
        offset: How many lines below the passage's first line it starts.
    """

    text: str
    quote: str
    offset: int


def sentences(text: str) -> Iterator[Sentence]:
    """Yield the sentences of a passage. A semicolon or colon ends no sentence."""
    masked = _mask(text)
    start = 0
    for end in [*_ends(masked), len(masked)]:
        part = masked[start:end]
        if _WORD.search(part):
            first = start + len(part) - len(part.lstrip())
            yield Sentence(_one_line(part), _one_line(text[start:end]).lstrip("*_ "), text.count("\n", 0, first))
        start = end


def words(sentence: str) -> int:
    """Count the words of a masked sentence: what stands between spaces and has a letter, a digit or code."""
    return sum(1 for token in sentence.split() if _WORD.search(token))


def _ends(masked: str) -> Iterator[int]:
    for found in _END.finditer(masked):
        following = masked[found.end() :].lstrip()[:1]
        is_ellipsis = "…" in found[0] or masked[: found.end()].rstrip("\"'”’)*").endswith("..")
        if is_ellipsis and (following.islower() or not following):
            continue
        if not _ABBREVIATION.search(masked[: found.end()]):
            yield found.end()


def _mask(text: str) -> str:
    """Return a string of equal length without markup, in which code and URLs are runs of `MASK`."""
    text = _CODE.sub(_code, text)
    text = _LINK_TARGET.sub(_blank, text)
    text = _URL.sub(_code, text)
    return _MARKUP.sub(_blank, text)


def _code(found: re.Match[str]) -> str:
    return MASK * len(found[0])


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found[0])


def _one_line(text: str) -> str:
    return re.sub(r"\s+([.,;:!?])(?=\s|$)", r"\1", " ".join(text.split()))
