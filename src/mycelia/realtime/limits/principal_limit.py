"""The limit on the connections of one principal."""

from __future__ import annotations

from typing import Any

from mycelia.observability.counters import Counter, EventCounters
from mycelia.protocol.wire.codes import Close
from mycelia.realtime.connection.connection import WebSocketConnection
from mycelia.realtime.connection.link import Link
from mycelia.realtime.connection.principal import WatchedMetadata
from mycelia.realtime.connection.registry import ConnectionRegistry

__all__ = ["TOO_MANY", "PrincipalLimit"]

TOO_MANY = Close.ABUSE, "too many connections of this user"


class PrincipalLimit:
    """Counts accepted connections for their principals.

    A connection is counted again whenever the application writes `userId` into its metadata, because that may name
    another principal.

    Args:
        registry: Keeps the counts.
        most: The most connections of one principal; 0 for no limit.
        counters: Counts refused connections.
    """

    def __init__(self, registry: ConnectionRegistry, most: int, counters: EventCounters) -> None:
        self._registry, self._most, self._counters = registry, most, counters

    def claim(self, link: Link) -> bool:
        """Count a connection for its principal. Return False if the principal has enough connections."""
        if not self._most or self._registry.claim(link, link.session.options.principal_id, self._most):
            return True
        self._counters.add(Counter.CONNECTIONS_PER_PRINCIPAL)
        return False

    def new_metadata(self, connection: WebSocketConnection) -> dict[str, Any]:
        """Return a metadata mapping; with a limit, one that counts the connection again when its `userId` changes."""
        return WatchedMetadata(connection, self._renamed) if self._most else {}

    def _renamed(self, connection: WebSocketConnection) -> None:
        """Count an open connection for its new principal; close it (4429) if that principal has enough."""
        link = self._registry.get(connection.id)
        if link is not None and link.is_open and not self.claim(link):
            link.close(*TOO_MANY)
