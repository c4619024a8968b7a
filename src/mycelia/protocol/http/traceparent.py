"""The header `traceparent` of W3C Trace Context, level 1: which trace a request belongs to."""

from __future__ import annotations

import re

from mycelia.protocol.http.request import Headers

__all__ = ["trace_id_of"]

# version, trace-id, parent-id, trace-flags (§3.2.2); a later version may add what follows a further dash (§4.3).
_VALUE = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", re.ASCII)
_NO_TRACE, _NO_PARENT = "0" * 32, "0" * 16


def trace_id_of(headers: Headers) -> str | None:
    """The trace-id of the one valid `traceparent`; None when there is none, or several, or it breaks a rule."""
    lines = headers.lines("traceparent")
    found = _VALUE.fullmatch(lines[0]) if len(lines) == 1 else None
    if found is None:
        return None
    version, trace_id, parent_id, rest = found.groups()
    if version == "ff" or (version == "00" and rest is not None):
        return None
    return None if trace_id == _NO_TRACE or parent_id == _NO_PARENT else trace_id
