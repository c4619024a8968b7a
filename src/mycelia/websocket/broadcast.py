"""One message to many connections: encoded once per dialect, written as the same bytes to each.

A recipient costs one write, no task and no copy; one that cannot take it now has it queued, dropped or is
closed, by the policy of the sending, and the sender is told how many of each.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from mycelia.errors import InvalidMessage
from mycelia.websocket.connection import WebSocketConnection
from mycelia.websocket.connections import Connections
from mycelia.websocket.dialect import Dialect
from mycelia.websocket.outbox import Overflow, Verdict

__all__ = ["BroadcastResult", "Broadcaster", "Filter"]

logger = logging.getLogger("mycelia.websocket")

Filter = Callable[[WebSocketConnection], object] | Mapping[str, Any]
"""Which connections: a predicate, or a mapping whose every entry equals the connection's metadata."""


class BroadcastResult(msgspec.Struct, frozen=True, gc=False):
    """How many recipients had it written, queued, or dropped (a slow one that was closed counts as dropped)."""

    written: int = 0
    queued: int = 0
    dropped: int = 0


class Broadcaster:
    """Writes to the open connections of one subsystem."""

    def __init__(self, connections: Connections, dialects: Callable[[], Iterable[Dialect]]) -> None:
        self._connections = connections
        self._dialects = dialects

    def broadcast(
        self,
        data: Any,
        chosen: Filter | None = None,
        overflow: Overflow = Overflow.DISCONNECT,
        key: str | None = None,
    ) -> BroadcastResult:
        """Sends `data` to all open connections that `chosen` selects.

        Raises InvalidMessage before anybody has been sent anything: when it cannot be encoded for one of the codecs
        in use, or `chosen` is no filter.
        """
        packets = {dialect: dialect.pack_value(data) for dialect in self._dialects()}
        recipients = self._connections.open() if chosen is None else self.select(chosen)
        written = queued = dropped = 0
        last: Dialect | None = None
        packet = b""
        for connection in recipients:
            if connection.dialect is not last:
                last = connection.dialect
                packet = packets[last]
            if connection.plain:
                connection.write(packet)
                written += 1
                continue
            before = connection.dropped
            verdict = connection.push(packet, overflow, key)
            dropped += connection.dropped - before  # of this packet, or of older ones that made room for it
            written += verdict is None
            queued += verdict is Verdict.QUEUED
        return BroadcastResult(written, queued, dropped)

    def select(self, chosen: Filter) -> list[WebSocketConnection]:
        """The open connections that a filter selects."""
        if callable(chosen):
            if inspect.iscoroutinefunction(chosen):
                raise InvalidMessage("filter: expected a plain function, got an async one, which is always true")
            return self._chosen(chosen)
        if not isinstance(chosen, Mapping):
            raise InvalidMessage(f"filter: expected an object or a function, got {type(chosen).__name__}")
        wanted = list(chosen.items())
        return [each for each in self._connections.open() if _matches(each, wanted)]

    def _chosen(self, predicate: Callable[[WebSocketConnection], object]) -> list[WebSocketConnection]:
        """Those for which the predicate is true; one for which it raises is left out, and that is logged."""
        chosen: list[WebSocketConnection] = []
        failed: list[Exception] = []
        for connection in self._connections.open():
            try:
                if predicate(connection):
                    chosen.append(connection)
            except Exception as error:
                failed.append(error)
        if failed:
            logger.warning("a filter raised for %d connections, which are left out", len(failed), exc_info=failed[0])
        return chosen


_ABSENT = object()


def _matches(connection: WebSocketConnection, wanted: list[tuple[str, Any]]) -> bool:
    metadata = connection.metadata if connection.has_metadata else {}
    for name, value in wanted:
        held = metadata.get(name, _ABSENT)
        if held is _ABSENT or held != value or isinstance(held, bool) is not isinstance(value, bool):
            return False
    return True
