"""The connection manager: who is here, by id, and how many there may be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from mycelia.errors import ConfigError
from mycelia.websocket.connection import WebSocketConnection
from mycelia.websocket.phase import Phase

__all__ = ["Connections"]


class Connections:
    """Every connection from its handshake until its `disconnect` has run.

    Open ones are seen by everybody. Pending and departing ones are found by id only, and pending ones count
    against `max_connections`.
    """

    __slots__ = ("_all", "_open", "_reserved", "emptied", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._all: dict[str, WebSocketConnection] = {}
        self._open: dict[str, WebSocketConnection] = {}
        self._reserved: set[WebSocketConnection] = set()
        self.emptied = asyncio.Event()  # set when the last transport goes; cleared by whoever waits

    @property
    def full(self) -> bool:
        """Whether another handshake would exceed the limit."""
        return len(self._reserved) >= self.limit

    def add(self, connection: WebSocketConnection) -> None:
        """A handshake was accepted. Raises ConfigError for an id that is taken: ids must be unique."""
        if connection.id in self._all:
            raise ConfigError("connection.generate_connection_id", f"gave {connection.id!r} twice")
        self._all[connection.id] = connection
        self._reserved.add(connection)

    def show(self, connection: WebSocketConnection) -> None:
        """`connect` accepted it."""
        self._open[connection.id] = connection

    def hide(self, connection: WebSocketConnection) -> None:
        """It is closing: nobody is to write to it any more."""
        self._open.pop(connection.id, None)

    def leave(self, connection: WebSocketConnection) -> None:
        """Its transport is gone: its place is free, and it can still be read by id."""
        self.hide(connection)
        self._reserved.discard(connection)
        if not self._reserved:
            self.emptied.set()

    def forget(self, connection: WebSocketConnection) -> None:
        """Its `disconnect` has run."""
        self.leave(connection)
        if self._all.get(connection.id) is connection:
            del self._all[connection.id]

    def get(self, connection_id: str) -> WebSocketConnection | None:
        """The connection of that id, pending and departing ones included."""
        return self._all.get(connection_id)

    def open(self) -> list[WebSocketConnection]:
        """A snapshot of the open ones."""
        return list(self._open.values())

    def living(self) -> list[WebSocketConnection]:
        """A snapshot of all that still have a transport."""
        return [each for each in self._all.values() if each.phase is not Phase.CLOSED]

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[WebSocketConnection]:
        return iter(self.open())
