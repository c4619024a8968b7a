"""Events of the subsystem itself, for clients that asked for them by a subprotocol of Mycelia."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mycelia.protocol.wire.envelope import Event

if TYPE_CHECKING:
    from mycelia.realtime.connection.connection import WebSocketConnection

__all__ = ["notice"]


def notice(connection: WebSocketConnection, event: str, data: dict[str, Any]) -> bytes:
    """The packet of an event; empty for a client that gets no frame that it did not ask for."""
    dialect = connection.dialect
    if connection.client.subprotocol == dialect.codec.subprotocol is not None:
        return dialect.pack(Event(event, data))
    return b""
