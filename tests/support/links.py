"""The link of a connection, with everything that only the subsystem itself may use."""

from __future__ import annotations

from mycelia.realtime.connection.link import Link
from mycelia.websocket import WebSocketConnection

__all__ = ["link_of"]


def link_of(connection: WebSocketConnection) -> Link:
    link = connection.link
    assert isinstance(link, Link), "expected a connection whose `disconnect` has not run"
    return link
