"""The metadata of a request: what a client may ask for besides the path and the body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["timeout_seconds", "wants_no_reply"]

_LONGEST_MS = 86_400_000


def wants_no_reply(metadata: Mapping[str, Any] | None) -> bool:
    """Return True if `noReply` asks for no response."""
    return metadata is not None and metadata.get("noReply") is True


def timeout_seconds(metadata: Mapping[str, Any]) -> float | None:
    """Return `timeoutMs` in seconds; None if it is absent or not a positive number of at most one day."""
    given = metadata.get("timeoutMs")
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 < given <= _LONGEST_MS:
        return None
    return given / 1000
