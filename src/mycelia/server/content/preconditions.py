"""Conditional and range requests for files (RFC 9110 §13 and §14)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from mycelia.protocol.http.request import Handshake, Headers

__all__ = ["Span", "is_not_modified", "requested_span"]

_TAG = re.compile(r'(?:W/)?("[^"]*")')
_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,19})-([0-9]{0,19})[ \t]*", re.ASCII | re.IGNORECASE)


class Span(NamedTuple):
    """The bytes of a file from `begin` up to `end`; `partial` is True if the client requested a range."""

    begin: int
    end: int
    partial: bool


def is_not_modified(headers: Headers, tag: str, modified: int) -> bool:
    """Return True if the client's copy is current: by its entity tags if it sends any, else by its date."""
    lines = headers.lines("if-none-match")
    if lines:
        joined = ",".join(lines).strip(" \t")
        return joined == "*" or tag in _TAG.findall(joined)
    dates = headers.lines("if-modified-since")
    moment = _date(dates[0]) if len(dates) == 1 else None
    return moment is not None and modified <= moment


def requested_span(request: Handshake, tag: str, modified: int, size: int) -> Span | None:
    """Return the span that a request asks for; None for a range that lies outside the file.

    The span is the whole file if the request has no range, several ranges, or a range of another version of the file.
    """
    whole = Span(0, size, False)
    lines = request.headers.lines("range")
    found = _RANGE.fullmatch(lines[0]) if len(lines) == 1 and request.method == "GET" else None
    if found is None or not (found[1] or found[2]) or not _range_applies(request.headers, tag, modified):
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


def _range_applies(headers: Headers, tag: str, modified: int) -> bool:
    """Return True unless `If-Range` names another version of the file than the current one."""
    lines = headers.lines("if-range")
    if not lines:
        return True
    given = lines[0].strip(" \t")
    if '"' in given:
        return len(lines) == 1 and given == tag  # A weak tag never matches.
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
