"""Whether a client has a file already, and which part of it is wanted (RFC 9110 §13 and §14)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from mycelia.protocol.ws.handshake import Handshake, Headers

__all__ = ["Span", "chosen_span", "unchanged"]

_TAG = re.compile(r'(?:W/)?("[^"]*")')
_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,19})-([0-9]{0,19})[ \t]*", re.ASCII | re.IGNORECASE)


class Span(NamedTuple):
    """The bytes from `begin` up to `end`; `partial` says that they were asked for by a range."""

    begin: int
    end: int
    partial: bool


def unchanged(headers: Headers, tag: str, modified: int) -> bool:
    """Whether what the client has is still good: by its entity tags where it sends any, else by its date."""
    lines = headers.lines("if-none-match")
    if lines:
        joined = ",".join(lines).strip(" \t")
        return joined == "*" or tag in _TAG.findall(joined)
    dates = headers.lines("if-modified-since")
    moment = _date(dates[0]) if len(dates) == 1 else None
    return moment is not None and modified <= moment


def chosen_span(request: Handshake, tag: str, modified: int, size: int) -> Span | None:
    """The part that a request asks for; the whole where it asks for none, for several, or for one of another file.

    None for a range that the file does not have.
    """
    whole = Span(0, size, False)
    lines = request.headers.lines("range")
    found = _RANGE.fullmatch(lines[0]) if len(lines) == 1 and request.method == "GET" else None
    if found is None or not (found[1] or found[2]) or not _still(request.headers, tag, modified):
        return whole
    first, last = found[1], found[2]
    if not first:
        length = min(int(last), size)
        return Span(size - length, size, True) if length else None
    begin = int(first)
    if last and int(last) < begin:
        return whole
    if begin >= size:
        return None
    return Span(begin, min(int(last) + 1, size) if last else size, True)


def _still(headers: Headers, tag: str, modified: int) -> bool:
    """`If-Range`: a range counts for the very file that the client has a part of already."""
    lines = headers.lines("if-range")
    if not lines:
        return True
    given = lines[0].strip(" \t")
    if '"' in given:
        return len(lines) == 1 and given == tag  # a weak tag never equals
    return len(lines) == 1 and _date(given) == modified


def _date(text: str) -> int | None:
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    except OverflowError:
        return None
