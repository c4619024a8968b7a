"""Refusing new requests of connections that stay: answered OVERLOADED at once, whatever was accepted goes on.

A connection is switched by exchanging what it calls for a message, so one that is not switched pays nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mycelia.realtime.connection.connection import WebSocketConnection
    from mycelia.realtime.core import Runtime

__all__ = ["Shedding"]


class _Refusal:
    """Takes the place of `connection.received`. Answers to the server's own requests still pass."""

    __slots__ = ("before", "connection", "final", "runtime")

    def __init__(self, runtime: Runtime, connection: WebSocketConnection) -> None:
        self.runtime, self.connection = runtime, connection
        self.before: Callable[[bytes, bool], None] = connection.received
        self.final = False  # nothing switches it back

    def __call__(self, payload: bytes, binary: bool) -> None:
        connection = self.connection
        transformed = self.runtime.config.routing.transform_incoming is not None
        if binary is not connection.dialect.binary or (transformed and connection.asking is not None):
            self.before(payload, binary)  # it is refused there, or may be an answer that a handler waits for
            return
        connection.active_at = time()
        self.runtime.dispatch.intake.refuse(connection, None, payload)


class Shedding:
    """Switches the connections of one subsystem."""

    __slots__ = ("_runtime",)

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def begin(self, connection: WebSocketConnection, *, final: bool = False) -> None:
        """From now on what this open connection sends is refused; `final` for one that is on its way out."""
        if connection.is_open:
            refusal = connection.received
            if not isinstance(refusal, _Refusal):
                refusal = connection.received = _Refusal(self._runtime, connection)
            refusal.final = refusal.final or final

    def everybody(self, on: bool) -> None:
        """Begins for all that are open and have not begun, or ends for all but the final ones."""
        for connection in self._runtime.connections.open():
            if on:
                self.begin(connection)
            elif isinstance(refusal := connection.received, _Refusal) and not refusal.final:
                connection.received = refusal.before
