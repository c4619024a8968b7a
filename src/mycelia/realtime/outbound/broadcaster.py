"""One message to many connections: encoded once per dialect, written as the same bytes to each.

A recipient costs one write, no task and no copy; one that cannot take it now has it queued, dropped or is
closed, by the policy of the sending, and the sender is told how many of each.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import Any

import msgspec

from mycelia.errors import InvalidMessage
from mycelia.realtime.connection.connection import WebSocketConnection
from mycelia.realtime.connection.encoder import Dialect
from mycelia.realtime.connection.registry import Connections
from mycelia.realtime.connection.send_queue import Overflow, Verdict

__all__ = ["BroadcastResult", "Broadcaster", "Filter"]

logger = logging.getLogger("mycelia.websocket")

Filter = Callable[[WebSocketConnection], object] | Mapping[str, Any]
"""Which connections: a predicate, or a mapping whose every entry equals the connection's metadata."""


class BroadcastResult(msgspec.Struct, frozen=True, gc=False):
    """How many recipients had it written, queued, or dropped (a slow one that was closed counts as dropped)."""

    written: int = 0
    queued: int = 0
    dropped: int = 0


class _Sending:
    """A broadcast on its way; `recipients` None stands for everybody who is open when it is delivered."""

    __slots__ = (
        "data", "done", "dropped", "key", "overflow", "packets", "payloads", "queued", "recipients", "written",
    )  # fmt: skip

    def __init__(
        self, data: Any, recipients: list[WebSocketConnection] | None, overflow: Overflow, key: str | None
    ) -> None:
        self.data, self.recipients, self.overflow, self.key = data, recipients, overflow, key
        self.payloads: dict[str, bytes] = {}  # by the name of the codec
        self.packets: dict[Dialect, bytes] = {}
        self.written = self.queued = self.dropped = 0
        self.done: asyncio.Future[BroadcastResult] = asyncio.get_running_loop().create_future()

    def payload(self, dialect: Dialect) -> bytes:
        """The encoded message, which all dialects of one codec share."""
        payload = self.payloads.get(dialect.codec.name)
        if payload is None:
            payload = self.payloads[dialect.codec.name] = dialect.codec.encode_value(self.data)
        return payload

    def packet(self, dialect: Dialect) -> bytes:
        """The packet for a dialect; made when somebody gets it."""
        packet = self.packets.get(dialect)
        if packet is None:
            packet = self.packets[dialect] = dialect.wrap(self.payload(dialect))
        return packet


class Broadcaster:
    """Writes to the open connections of one subsystem.

    What is broadcast to everybody in one turn of the loop leaves together: each recipient gets one write. That is
    worth most when handlers of several requests broadcast at once, and costs a single broadcast nothing but the turn.
    """

    def __init__(self, connections: Connections, dialects: Callable[[], Iterable[Dialect]]) -> None:
        self._connections = connections
        self._dialects = dialects
        self._waiting: list[_Sending] = []

    async def broadcast(
        self,
        data: Any,
        chosen: Filter | None = None,
        overflow: Overflow = Overflow.DISCONNECT,
        key: str | None = None,
    ) -> BroadcastResult:
        """Sends `data` to all open connections that `chosen` selects; returns when that has been tried.

        Raises InvalidMessage before anybody has been sent anything: when it cannot be encoded for one of the codecs
        in use, or `chosen` is no filter. Broadcasts leave in the order of the calls.
        """
        sending = _Sending(data, None if chosen is None else self.select(chosen), overflow, key)
        for dialect in self._dialects():
            dialect.check_size(sending.payload(dialect))
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._deliver)
        self._waiting.append(sending)
        return await sending.done

    def _deliver(self) -> None:
        waiting, self._waiting = self._waiting, []
        for everybody, run in groupby(waiting, lambda sending: sending.recipients is None):
            if everybody:
                self._send(list(run), self._connections.open())
            else:
                for sending in run:
                    self._send([sending], sending.recipients or [])

    def _send(self, run: list[_Sending], recipients: list[WebSocketConnection]) -> None:
        written = 0
        last: Dialect | None = None
        packets: list[bytes] = []
        for connection in recipients:
            try:
                if connection.dialect is not last:
                    last = connection.dialect
                    packets = [sending.packet(last) for sending in run]
                    if last.framed and len(packets) > 1:
                        packets = [b"".join(packets)]
                if connection.plain:
                    for packet in packets:
                        connection.write(packet)
                    written += 1
                else:
                    self._push(run, connection)
            except Exception:
                last = None
                logger.exception("a broadcast could not be written to %s", connection.id)
                for sending in run:
                    sending.dropped += 1
        for sending in run:
            if not sending.done.done():
                result = BroadcastResult(sending.written + written, sending.queued, sending.dropped)
                sending.done.set_result(result)

    def _push(self, run: list[_Sending], connection: WebSocketConnection) -> None:
        for sending in run:
            before = connection.dropped
            verdict = connection.push(sending.packet(connection.dialect), sending.overflow, sending.key)
            sending.dropped += connection.dropped - before  # of this packet, or of older ones that made room for it
            sending.queued += verdict is Verdict.QUEUED
            sending.written += verdict is None

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
