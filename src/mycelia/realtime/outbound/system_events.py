"""Events of the subsystem itself, for clients that negotiated a subprotocol of Mycelia."""

from __future__ import annotations

from typing import Any

from mycelia.protocol.wire.envelope import Event
from mycelia.realtime.connection.connection import WebSocketConnection

__all__ = ["system_event"]


def system_event(connection: WebSocketConnection, event: str, data: dict[str, Any]) -> bytes:
    """Return the packet of an event; empty for a client that did not ask for such events by its subprotocol."""
    encoder = connection.link.encoder
    if connection.client.subprotocol == encoder.codec.subprotocol is not None:
        return encoder.pack(Event(event, data))
    return b""
