"""What went wrong in handlers, newest last, in memory: bounded, and without the text of any exception.

A record holds what brings a client's complaint and a line of the log together (the error id), and what tells a new
fault from an old one (the fingerprint). Exceptions, their messages and their frames are not kept: they may hold
secrets, and they would keep whatever they refer to alive.
"""

from __future__ import annotations

from collections import deque
from contextvars import ContextVar
from dataclasses import dataclass
from time import time
from types import TracebackType
from typing import Any
from uuid import uuid4

import msgspec

from mycelia.config.sections import between, check_fields

__all__ = ["RECORDING", "ErrorLog", "ErrorRecord", "ErrorsConfig"]


@dataclass(frozen=True, slots=True)
class ErrorsConfig:
    """How much is remembered of what went wrong (section `errors`)."""

    records: int = 100
    fingerprints: int = 1000

    def __post_init__(self) -> None:
        check_fields("errors", self)
        between("errors.records", self.records, 1, 100_000)
        between("errors.fingerprints", self.fingerprints, 1, 1_000_000)


class ErrorRecord(msgspec.Struct, frozen=True, gc=False):
    """One failure. `place` is the innermost line that raised, `count` how many of its kind there were so far."""

    id: str
    at: float
    what: str
    path: str
    exception: str
    place: str
    connection_id: str
    trace_id: str
    count: int

    def describe(self) -> dict[str, Any]:
        """As `websocket://errors` answers it."""
        return {
            "id": self.id,
            "at": int(self.at * 1000),
            "what": self.what,
            "path": self.path,
            "exception": self.exception,
            "place": self.place,
            "connectionId": self.connection_id,
            "traceId": self.trace_id,
            "count": self.count,
        }


class ErrorLog:
    """The newest failures of one way in (`source`: whose logger they go to), and how often each kind has happened.

    Two bounds: of the records the oldest gives way, of the kinds the one that was not seen for longest, whose count
    then begins anew.
    """

    def __init__(self, config: ErrorsConfig, source: str = "websocket") -> None:
        self.source = source
        self.total = 0
        self._records: deque[ErrorRecord] = deque(maxlen=config.records)
        self._counts: dict[tuple[str, str, str], int] = {}
        self._kinds = config.fingerprints

    def __len__(self) -> int:
        return len(self._records)

    def add(self, what: str, error: BaseException, *, path: str, connection_id: str, trace_id: str) -> ErrorRecord:
        """Keeps a failure and returns its record, with a new id."""
        name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
        kind = (path or what, name, place := _place(error.__traceback__))
        count = self._counts.pop(kind, 0) + 1
        if len(self._counts) >= self._kinds:
            del self._counts[next(iter(self._counts))]
        self._counts[kind] = count
        self.total += 1
        record = ErrorRecord(uuid4().hex, time(), what, path, name, place, connection_id, trace_id, count)
        self._records.append(record)
        return record

    def newest(self, most: int) -> list[ErrorRecord]:
        """Up to `most` records, the newest first."""
        return [record for record, _ in zip(reversed(self._records), range(most), strict=False)]

    def report(self, body: Any = None) -> dict[str, Any]:
        """What `websocket://errors` answers: `{total, errors}`; a body's `limit` says how many (20 otherwise)."""
        limit = body.get("limit", 20) if isinstance(body, dict) else 20
        most = limit if isinstance(limit, int) and limit > 0 else 20
        return {"total": self.total, "errors": [record.describe() for record in self.newest(most)]}


RECORDING: ContextVar[ErrorLog | None] = ContextVar("mycelia.recording", default=None)
"""Where the failures of the running task are kept; set for every task of a subsystem, inherited by theirs."""


def _place(traceback: TracebackType | None) -> str:
    """The innermost line: `function (file.py:12)`; empty for an exception that was never raised."""
    if traceback is None:
        return ""
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    code = traceback.tb_frame.f_code
    return f"{code.co_qualname} ({code.co_filename.replace(chr(92), '/').rpartition('/')[2]}:{traceback.tb_lineno})"
